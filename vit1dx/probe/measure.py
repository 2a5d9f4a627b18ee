"""One feature, probed: fitted, tuned and scored on each fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from .._types import Array
from .features import Feature, HeldFrames
from .linear import Fitted, Probe, fit
from .local import LocalTask
from .scores import Scores
from .splits import Fold
from .whole import Targets

#: Called now and then; raises to end what is going on.
Pulse = Callable[[], None]


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Found:
    """What came of a feature on a fold.

    Attributes
    ----------
    held_out : dict of float
        Scores on the training tracks that choices are made on: those of the probe fitted without.
    test : dict of float
        Scores on the testing tracks.
    probes : list of Probe
        That were fitted to the end, for how the fits went.
    """

    held_out: Scores
    test: Scores
    probes: list[Probe]


def measure_whole(
    feature: Feature, targets: Targets, folds: Sequence[Fold], pulse: Pulse = _nothing
) -> list[Found]:
    """Probe vectors of tracks: what came of each fold."""
    vectors = feature.vectors(targets.ids)
    found = []
    for fold in folds:
        pulse()
        found.append(_whole_fold(vectors, targets, fold))
    return found


def _whole_fold(vectors: Array, targets: Targets, fold: Fold) -> Found:
    task, values = targets.task, targets.values
    train = fold.train
    held_out = fold.held_out[:, train]
    fitted = fit(vectors[train], values[train], task.kind, len(task.classes), held_out)
    outputs = np.zeros((len(vectors), len(task.classes)), np.float32)
    for part, probe in zip(fold.held_out, fitted.inner, strict=True):
        outputs[part] = probe.outputs(vectors[part])
    before = fold.held_out.any(axis=0)
    return Found(
        task.scores(values[before], outputs[before]),
        task.scores(values[fold.test], fitted.whole.outputs(vectors[fold.test])),
        fitted.probes,
    )


@dataclass(frozen=True)
class Annotated:
    """Tracks with what is known of them over time.

    Attributes
    ----------
    ids : list of str
    annotations : list
        As the task takes them.
    """

    ids: list[str]
    annotations: list[Any]


@dataclass(frozen=True)
class Sample:
    """Frames of all tracks to fit on.

    Attributes
    ----------
    rows : (n, dim) float32 array
    target : (n,) or (n, outputs) array
    track : (n,) int array
        Place of each frame's track.
    """

    rows: Array
    target: Array
    track: Array


def measure_local(
    feature: Feature,
    tracks: Annotated,
    task: LocalTask,
    folds: Sequence[Fold],
    every: int = 1,
    most_bytes: float = 0,
    pulse: Pulse = _nothing,
) -> list[Found]:
    """Probe frames: what came of each fold.

    Parameters
    ----------
    feature : Feature
    tracks : Annotated
    task : LocalTask
    folds : sequence of Fold
    every : int
        Every so manieth frame of a track is fitted on, from one drawn by a fold's seed on; all are
        scored.
    most_bytes : float
        Frames that are kept between fitting and scoring; others are read twice.
    pulse : callable
    """
    held = HeldFrames(feature, tracks.ids, most_bytes)
    fits = _fits(held, tracks, task, folds, every, pulse)
    tallies = [(task.tally(every), task.tally(every)) for _ in folds]
    for place, (values, time) in enumerate(held.passes()):
        pulse()
        annotation = tracks.annotations[place]
        for fold, fitted, (before, after) in zip(folds, fits, tallies, strict=True):
            for part, probe in zip(fold.held_out, fitted.inner, strict=True):
                if part[place]:
                    before.add(annotation, time, probe.outputs(values))
            if fold.test[place]:
                after.add(annotation, time, fitted.whole.outputs(values))
    return [
        Found(before.scores(before.choice), after.scores(before.choice), fitted.probes)
        for fitted, (before, after) in zip(fits, tallies, strict=True)
    ]


def _fits(
    held: HeldFrames,
    tracks: Annotated,
    task: LocalTask,
    folds: Sequence[Fold],
    every: int,
    pulse: Pulse,
) -> list[Fitted]:
    """A fit a fold; frames are drawn once a seed."""
    fits = []
    for seed, group in groupby(folds, key=lambda fold: fold.seed):
        sample = sampled(held, tracks, task, every, seed, pulse)
        for fold in group:
            pulse()
            fits.append(fit_local(sample, task, fold.train, fold.held_out))
    return fits


def sampled(
    held: HeldFrames, tracks: Annotated, task: LocalTask, every: int, seed: int, pulse: Pulse
) -> Sample:
    """Frames to fit on, of all tracks: those whose target is known."""
    rng = np.random.default_rng(seed)
    rows, targets, places = [], [], []
    for place, (values, time) in enumerate(held.passes()):
        pulse()
        target = task.target(tracks.annotations[place], time)
        offset = int(rng.integers(every))
        known = task.is_known(target)[offset::every]
        rows.append(values[offset::every][known])
        targets.append(target[offset::every][known])
        places.append(np.full(int(known.sum()), place))
    return Sample(np.concatenate(rows), np.concatenate(targets), np.concatenate(places))


def fit_local(sample: Sample, task: LocalTask, train: Array, held_out: Array) -> Fitted:
    """Fit on the frames of some tracks."""
    used = train[sample.track]
    return fit(
        sample.rows[used],
        sample.target[used],
        task.kind,
        len(task.classes),
        held_out[:, sample.track[used]],
    )
