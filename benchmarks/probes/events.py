"""Peaks of an activation, and how well they meet the events that they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d, uniform_filter1d

AVERAGED = 0.5  # s on either side of a peak that its height is measured against
LEAST_GAP = 2  # frames on either side that a peak tops


@dataclass
class Counts:
    """Events found, estimated and true, of many tracks."""

    hits: int = 0
    estimated: int = 0
    true: int = 0

    def add(self, reference: np.ndarray, estimated: np.ndarray, tolerance: float) -> None:
        """Take in a track's events, s."""
        self.hits += matches(reference, estimated, tolerance)
        self.estimated += len(estimated)
        self.true += len(reference)

    @property
    def f_measure(self) -> float:
        """Of all tracks together; 0 where there are none."""
        total = self.estimated + self.true
        return 2 * self.hits / total if total else 0.0


def matches(reference: np.ndarray, estimated: np.ndarray, tolerance: float) -> int:
    """The most pairs of events, both ascending (s), no further apart than `tolerance`.

    On a line, pairing the earliest with the earliest is as good as any pairing.
    """
    i = j = hits = 0
    while i < len(reference) and j < len(estimated):
        gap = estimated[j] - reference[i]
        if abs(gap) <= tolerance:
            i, j, hits = i + 1, j + 1, hits + 1
        elif gap < 0:
            j += 1
        else:
            i += 1
    return hits


def height(activation: np.ndarray, frame_rate: float) -> np.ndarray:
    """How far each frame stands above its surroundings, in the track's standard deviations."""
    width = 2 * round(AVERAGED * frame_rate) + 1
    above = activation - uniform_filter1d(activation, width, mode="nearest")
    return np.asarray(above / (activation.std() + 1e-12))


def peaks(activation: np.ndarray, least: float, frame_rate: float, lag: float = 0.0) -> np.ndarray:
    """Times (s) of local maxima that stand at least `least` deviations above their surroundings.

    A peak between two frames is placed by the parabola through three; `lag` frames are taken off.
    """
    above = height(activation, frame_rate)
    top = maximum_filter1d(above, 2 * LEAST_GAP + 1, mode="nearest") == above
    frames = np.flatnonzero(top & (above >= least))
    frames = frames[(frames > 0) & (frames < len(above) - 1)]
    before, here, after = (activation[frames + shift] for shift in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = np.where(bend < 0, 0.5 * (before - after) / np.minimum(bend, -1e-12), 0.0)
    return np.asarray((frames + np.clip(shift, -0.5, 0.5) - lag) / frame_rate)
