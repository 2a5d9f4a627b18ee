"""Tasks over time: what the target of each frame is, and how a track's outputs are scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from .._types import Array
from ..analysis.peaks import pick
from ..errors import UsageError
from .annotations import Annotation
from .frames import classes_at, edges_of, events_at, runs, step_of
from .linear import Kind, sigmoid
from .music import CHORDS, EXCLUDED, KEYS, chord_class, key_class, key_scores
from .scores import TOLERANCE, Counts, Scores

#: Heights of peaks that are tried, in a curve's standard deviations above its surroundings.
HEIGHTS = tuple(float(h) for h in np.round(np.arange(0.0, 2.4, 0.3), 1))


class Tally(ABC):
    """Gathers what a probe says of tracks, one after the other."""

    @abstractmethod
    def add(self, annotation: Any, time: Array, outputs: Array) -> None:
        """Take in a track: what is known of it, and a probe's outputs (time, outputs)."""

    @property
    def choice(self) -> float | None:
        """The threshold that does best on these tracks; None where a task has none."""
        return None

    @abstractmethod
    def scores(self, choice: float | None) -> Scores:
        """Scores with a threshold, the task's own measure first."""


class LocalTask(ABC):
    """A task over time.

    Attributes
    ----------
    name : str
    kind : Kind
        Of the probe's outputs.
    classes : tuple of str
        What the outputs are.
    measures : tuple of str
        Names of the scores, the task's own first.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...]
    measures: tuple[str, ...]

    @abstractmethod
    def target(self, annotation: Any, time: Array) -> Array:
        """Targets of frames: classes (time,), `EXCLUDED` where none, or (time, outputs)."""

    @abstractmethod
    def tally(self, every: int) -> Tally:
        """A new tally; every so manieth frame is scored on its own, where that takes memory."""

    def is_known(self, target: Array) -> Array:
        """Which frames are fitted on, (time,) bool."""
        return target != EXCLUDED if target.ndim == 1 else np.ones(len(target), bool)


@dataclass(frozen=True)
class SpanTask(LocalTask):
    """Classes of stretches of time.

    Attributes
    ----------
    code : callable
        Class of a label.
    agreement : (class, class) array
        Score of each estimated class (column) for each true one (row).
    """

    name: str
    classes: tuple[str, ...]
    measures: tuple[str, ...]
    code: Callable[[str], int]
    agreement: Array
    kind: Kind = "classes"

    def target(self, annotation: Annotation, time: Array) -> Array:
        """Class of the span that each frame's centre lies in."""
        return classes_at(time, annotation, self.code)

    def tally(self, every: int) -> Tally:
        """See `LocalTask`."""
        return _SpanTally(self)


@dataclass
class _SpanTally(Tally):
    task: SpanTask
    seconds: float = 0.0
    right_seconds: float = 0.0
    frames: int = 0
    right_frames: int = 0

    def add(self, annotation: Annotation, time: Array, outputs: Array) -> None:
        found = outputs.argmax(axis=1)
        true = self.task.target(annotation, time)
        known = true != EXCLUDED
        self.frames += int(known.sum())
        self.right_frames += int((found == true)[known].sum())
        right, seconds = span_seconds(self.task, annotation, time, found)
        self.right_seconds += right
        self.seconds += seconds

    def scores(self, choice: float | None) -> Scores:
        by_time = self.right_seconds / self.seconds if self.seconds else np.nan
        by_frame = self.right_frames / self.frames if self.frames else np.nan
        return dict(zip(self.task.measures, (by_time, by_frame), strict=True))


def span_seconds(
    task: SpanTask, annotation: Annotation, time: Array, found: Array
) -> tuple[float, float]:
    """Seconds of agreement with spans, and of spans whose class is known, within the frames.

    Weighted by duration, as mir_eval has it: spans are not rounded to frames.
    """
    places, classes = runs(found)
    edges = edges_of(time)[places]
    bounds = np.concatenate([edges, annotation.start, annotation.end])
    bounds = np.unique(np.clip(bounds, max(0.0, edges[0]), edges[-1]))
    middle, seconds = (bounds[1:] + bounds[:-1]) / 2, np.diff(bounds)
    true = classes_at(middle, annotation, task.code)
    estimated = classes[np.clip(np.searchsorted(edges, middle) - 1, 0, len(classes) - 1)]
    known = true != EXCLUDED
    right = task.agreement[true[known], estimated[known]] * seconds[known]
    return float(right.sum()), float(seconds[known].sum())


@dataclass(frozen=True)
class EventTask(LocalTask):
    """Moments: beats, downbeats, onsets.

    Attributes
    ----------
    tolerance : float
        s.
    """

    name: str
    tolerance: float
    kind: Kind = "tags"
    measures: tuple[str, ...] = ("F", "F, all events", "frame AP")

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        """The one output."""
        return (self.name,)

    def target(self, annotation: Annotation, time: Array) -> Array:
        """1 at the frame nearest to each event, 0.5 at its neighbours."""
        return events_at(time, annotation.start, self.tolerance)[:, None]

    def tally(self, every: int) -> Tally:
        """See `LocalTask`."""
        return _EventTally(self, every)


@dataclass
class _EventTally(Tally):
    task: EventTask
    every: int
    counts: list[Counts] = field(default_factory=lambda: [Counts() for _ in HEIGHTS])
    each: list[list[float]] = field(default_factory=lambda: [[] for _ in HEIGHTS])
    truth: list[Array] = field(default_factory=list)
    logits: list[Array] = field(default_factory=list)

    def add(self, annotation: Annotation, time: Array, outputs: Array) -> None:
        events = annotation.start
        times, heights = event_peaks(time, outputs[:, 0], HEIGHTS[0])
        for counts, each, least in zip(self.counts, self.each, HEIGHTS, strict=True):
            one = Counts()
            one.add(events, times[heights >= least], self.task.tolerance)
            each.append(one.f_measure)
            counts.hits += one.hits
            counts.estimated += one.estimated
            counts.true += one.true
        self.truth.append(self.task.target(annotation, time)[:: self.every, 0] == 1)
        self.logits.append(outputs[:: self.every, 0].astype(np.float32))

    @property
    def choice(self) -> float | None:
        return max(HEIGHTS, key=lambda least: float(np.mean(self.each[HEIGHTS.index(least)])))

    def scores(self, choice: float | None) -> Scores:
        place = HEIGHTS.index(choice if choice is not None else HEIGHTS[0])
        truth = np.concatenate(self.truth)
        precision = np.nan
        if truth.any():
            precision = float(average_precision_score(truth, np.concatenate(self.logits)))
        values = float(np.mean(self.each[place])), self.counts[place].f_measure, precision
        return dict(zip(self.task.measures, values, strict=True))


def event_peaks(time: Array, logits: Array, least: float) -> tuple[Array, Array]:
    """Peaks of a probe's activation: times (s), and heights as `analysis.peaks` has them."""
    if len(time) < 3:
        return np.zeros(0), np.zeros(0)
    frame_rate = 1 / step_of(time)
    places, heights = pick(sigmoid(logits), least, frame_rate)
    return np.interp(places * frame_rate, np.arange(len(time)), time), heights


def local_task(name: str) -> LocalTask:
    """A task over time, by its name."""
    if name == "chords":
        agreement = np.eye(len(CHORDS))
        return SpanTask(name, CHORDS, ("majmin", "frame accuracy"), _CHORD_CLASS, agreement)
    if name == "keys":
        return SpanTask(name, KEYS, ("weighted", "frame accuracy"), _KEY_CLASS, key_scores())
    return EventTask(name, TOLERANCE[name])


def known_tracks(
    task: LocalTask, tracks: dict[str, Annotation]
) -> tuple[dict[str, Annotation], dict[str, str], list[str]]:
    """Annotations that say something for a task.

    Returns
    -------
    dict of Annotation, by track
    dict of str, by track
        Why the others do not.
    list of str
        Labels that were not understood, and count as none.
    """
    kept: dict[str, Annotation] = {}
    left_out: dict[str, str] = {}
    strange: dict[str, None] = {}
    for track_id, annotation in tracks.items():
        reason = "" if len(annotation.start) else "nothing annotated"
        if isinstance(task, SpanTask) and not reason:
            strange.update((label, None) for label in annotation.labels if _is_strange(task, label))
            if all(task.code(label) == EXCLUDED for label in annotation.labels):
                reason = f"no label of the {len(task.classes)} classes"
        if reason:
            left_out[track_id] = reason
        else:
            kept[track_id] = annotation
    return kept, left_out, list(strange)


def _is_strange(task: SpanTask, label: str) -> bool:
    try:
        _STRICT[task.name](label)
    except UsageError:
        return True
    return False


_STRICT = {"chords": chord_class, "keys": key_class}


def _lenient(code: Callable[[str], int]) -> Callable[[str], int]:
    """A class for each label; what is not understood is `EXCLUDED`."""

    def of(label: str) -> int:
        try:
            return code(label)
        except UsageError:
            return EXCLUDED

    return of


_CHORD_CLASS, _KEY_CLASS = _lenient(chord_class), _lenient(key_class)
