"""The task of notes: which pitches sound in each frame, and what a probe's outputs say of that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from .._types import Array
from .annotations import Annotation
from .frames import edges_of, runs
from .linear import Kind
from .local import LocalTask, Tally
from .scores import Scores

#: Logits from which on a pitch is taken to sound, that are tried.
LOGITS = tuple(float(each) for each in np.arange(-4.0, 1.25, 0.25))


@dataclass(frozen=True)
class NoteTask(LocalTask):
    """Which pitches sound in each frame, several at a time.

    Attributes
    ----------
    classes : tuple of str
        MIDI numbers, ascending.
    """

    classes: tuple[str, ...]
    name: str = "notes"
    kind: Kind = "tags"
    measures: tuple[str, ...] = ("F of frames", "precision", "recall")

    def target(self, annotation: Annotation, time: Array) -> Array:
        """1 where a pitch sounds at a frame's centre, (time, pitch) float32."""
        places = {pitch: place for place, pitch in enumerate(self.classes)}
        roll = np.zeros((len(time), len(places)), np.float32)
        first, stop = (np.searchsorted(time, each) for each in (annotation.start, annotation.end))
        for begin, end, pitch in zip(first, stop, annotation.labels, strict=True):
            if pitch in places:
                roll[begin:end, places[pitch]] = 1
        return roll

    def tally(self, every: int) -> Tally:
        """See `LocalTask`."""
        return _NoteTally(self)


def note_task(annotations: Iterable[Annotation]) -> NoteTask:
    """The task of all pitches that occur in some annotations."""
    pitches = {pitch for annotation in annotations for pitch in annotation.labels}
    return NoteTask(tuple(sorted(pitches, key=int)))


def _zeros() -> Array:
    return np.zeros(len(LOGITS), int)


@dataclass
class _NoteTally(Tally):
    task: NoteTask
    hits: Array = field(default_factory=_zeros)
    estimated: Array = field(default_factory=_zeros)
    true: int = 0

    def add(self, annotation: Annotation, time: Array, outputs: Array) -> None:
        sounding = self.task.target(annotation, time) > 0
        self.true += int(sounding.sum())
        self.hits += _reaching(outputs[sounding])
        self.estimated += _reaching(outputs.ravel())

    @property
    def choice(self) -> float | None:
        return LOGITS[int(self._f().argmax())]

    def scores(self, choice: float | None) -> Scores:
        place = LOGITS.index(choice if choice is not None else 0.0)
        hits, estimated = int(self.hits[place]), int(self.estimated[place])
        values = self._f()[place], hits / max(estimated, 1), hits / max(self.true, 1)
        return dict(zip(self.task.measures, map(float, values), strict=True))

    def _f(self) -> Array:
        return 2 * self.hits / np.maximum(self.estimated + self.true, 1)


def _reaching(logits: Array) -> Array:
    """How many logits reach each of `LOGITS`."""
    reached = np.searchsorted(LOGITS, logits, side="right")
    counts = np.bincount(reached, minlength=len(LOGITS) + 1)
    return counts[::-1].cumsum()[::-1][1:]


def note_rows(
    time: Array, logits: Array, pitches: Sequence[str], least: float
) -> Iterator[tuple[float, float, str]]:
    """Start and end (s) and pitch of each stretch of frames in which a pitch sounds, by start."""
    edges = np.maximum(edges_of(time), 0.0)
    found = []
    for pitch, sounds in zip(pitches, (logits >= least).T, strict=True):
        places, values = runs(sounds)
        for first, stop in zip(places[:-1][values], places[1:][values], strict=True):
            found.append((float(edges[first]), float(edges[stop]), pitch))
    yield from sorted(found, key=lambda row: (row[0], int(row[2])))
