"""Local tasks (claim C2): linear probes on frames, for chords, keys, beats, onsets and notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.probes.collection import Memory, Render
from benchmarks.probes.features import Remembered, divided
from benchmarks.probes.scores import Scores
from benchmarks.probes.truth import PITCHES, Truth
from vit1dx.probe.annotations import Annotation
from vit1dx.probe.linear import Kind
from vit1dx.probe.local import LocalTask, SpanTask, Tally, local_task
from vit1dx.probe.measure import Annotated, measure_local
from vit1dx.probe.music import KEYS, key_class

EVENTS = ("beats", "downbeats", "onsets")
TASKS = ("chords", "local key", *EVENTS, "notes")
CONTEXTS = ("frame", "0.5 s")
EVERY = 6  # frames between those that a probe is fitted on
HELD_OUT = 0.25  # of the songs, to choose thresholds and layers on
NOTE_LOGITS = tuple(float(each) for each in np.arange(-2.0, 1.0, 0.25))
#: The measure of a task that is reported.
MEASURES = dict.fromkeys(EVENTS, "F, all events")


@dataclass(frozen=True)
class NoteTask(LocalTask):
    """Which pitches sound, in each frame."""

    name: str = "notes"
    kind: Kind = "tags"
    classes: tuple[str, ...] = tuple(map(str, PITCHES))
    measures: tuple[str, ...] = ("F of frames",)

    def target(self, annotation: Truth, time: np.ndarray) -> np.ndarray:
        """The pitches of each frame."""
        return annotation.notes(len(time))

    def tally(self, every: int) -> Tally:
        """See `LocalTask`."""
        return _NoteTally(self)


def _none() -> np.ndarray:
    return np.zeros(len(NOTE_LOGITS))


@dataclass
class _NoteTally(Tally):
    task: NoteTask
    hits: np.ndarray = field(default_factory=_none)
    estimated: np.ndarray = field(default_factory=_none)
    true: int = 0

    def add(self, annotation: Truth, time: np.ndarray, outputs: np.ndarray) -> None:
        sounding = self.task.target(annotation, time) > 0
        self.true += int(sounding.sum())
        for place, least in enumerate(NOTE_LOGITS):
            found = outputs >= least
            self.hits[place] += int((found & sounding).sum())
            self.estimated[place] += int(found.sum())

    @property
    def choice(self) -> float | None:
        return NOTE_LOGITS[int(self._f().argmax())]

    def scores(self, choice: float | None) -> dict[str, float]:
        assert choice is not None
        return {self.task.measures[0]: float(self._f()[NOTE_LOGITS.index(choice)])}

    def _f(self) -> np.ndarray:
        return 2 * self.hits / np.maximum(self.estimated + self.true, 1)


def _tasks() -> dict[str, LocalTask]:
    measures = ("share of time", "frame accuracy")
    key = SpanTask("local key", KEYS, measures, key_class, np.eye(len(KEYS)))
    return {
        "chords": local_task("chords"),
        "local key": key,
        **{event: local_task(event) for event in EVENTS},
        "notes": NoteTask(),
    }


def _annotation(task: str, truth: Truth) -> Any:
    """What is known of a render for a task; None where nothing is."""
    if task == "notes":
        return truth
    if task in EVENTS:
        times = truth.events(task)
        return None if times is None or not len(times) else Annotation(times, times)
    spans = truth.spans({"local key": "keys"}.get(task, task))
    return spans if spans.labels else None


def measure(
    memory: Memory,
    system: str,
    name: str,
    context: str,
    fit: Sequence[Render],
    test: Sequence[Render],
    seeds: int,
) -> list[Scores]:
    """Score one feature on every task; each seed draws the songs held out, and frames to fit.

    Returns
    -------
    list of Scores
        Share of time of chords (25 classes) and of the local key (24); F of beats and downbeats
        (70 ms), onsets (50 ms) and notes (frames).
    """
    renders = [*fit, *test]
    feature = Remembered(memory, system, name, renders, context)
    scores = [Scores({}, {}) for _ in range(seeds)]
    for task in _tasks().values():
        known = {
            place: annotation
            for place, render in enumerate(renders)
            if (annotation := _annotation(task.name, render.truth)) is not None
        }
        is_fit = np.array([place < len(fit) for place in known])
        tracks = Annotated([str(place) for place in known], list(known.values()))
        own = MEASURES.get(task.name, task.measures[0])
        for seed, fold in enumerate(divided(is_fit, HELD_OUT, seeds)):
            with threadpool_limits(1):
                (found,) = measure_local(feature, tracks, task, [fold], EVERY, seed)
            scores[seed].held_out[task.name] = found.held_out[own]
            scores[seed].test[task.name] = found.test[own]
    return scores
