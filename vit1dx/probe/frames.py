"""Annotations beside frames: which class a moment has, and which frame an event is at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._types import Array
from .annotations import Annotation
from .music import EXCLUDED

#: How much the frames beside an event's are an event.
BESIDE = 0.5


def step_of(time: Array) -> float:
    """Time from one frame's centre to the next, s; that of nothing is infinite."""
    return float(np.median(np.diff(time))) if len(time) > 1 else np.inf


def classes_at(time: Array, annotation: Annotation, code: Callable[[str], int]) -> Array:
    """Class of each moment: that of the span which it lies in; `EXCLUDED` where there is none."""
    classes = np.full(len(time), EXCLUDED)
    for start, end, label in zip(annotation.start, annotation.end, annotation.labels, strict=True):
        first, stop = np.searchsorted(time, (start, end))
        classes[first:stop] = code(label)
    return classes


def events_at(time: Array, events: Array, tolerance: float) -> Array:
    """1 at the frame nearest to each event, 0.5 at its neighbours, 0 elsewhere: (time,) float32.

    Neighbours that are further away than the tolerance are none, and events that are further from
    all frames than that, and than half a frame, are left out.
    """
    target = np.zeros(len(time), np.float32)
    if not len(time):
        return target
    step = step_of(time)
    shifts = ((-1, BESIDE), (1, BESIDE), (0, 1.0)) if step <= tolerance else ((0, 1.0),)
    nearest = nearest_frames(time, events)
    near = np.abs(time[nearest] - events) <= max(tolerance, step / 2)
    for shift, value in shifts:
        places = nearest[near] + shift
        places = places[(places >= 0) & (places < len(time))]
        target[places] = np.maximum(target[places], value)
    return target


def nearest_frames(time: Array, moments: Array) -> Array:
    """The frame whose centre is nearest to each moment, (n,) int."""
    after = np.clip(np.searchsorted(time, moments), 1, max(len(time) - 1, 1))
    if len(time) == 1:
        return np.zeros(len(moments), int)
    is_before = moments - time[after - 1] <= time[after] - moments
    return np.asarray(np.where(is_before, after - 1, after))


def edges_of(time: Array) -> Array:
    """Where each frame begins, and the last ends, s: halfway between centres, (n + 1,)."""
    half = step_of(time) / 2 if len(time) > 1 else 0.0
    middles = (time[1:] + time[:-1]) / 2
    return np.concatenate([time[:1] - half, middles, time[-1:] + half])


def runs(values: Array) -> tuple[Array, Array]:
    """Where each run of equal values begins, with the end of all: (k + 1,); its value, (k,)."""
    first = np.flatnonzero(np.diff(values)) + 1
    first = np.concatenate([[0], first])
    return np.concatenate([first, [len(values)]]), values[first]
