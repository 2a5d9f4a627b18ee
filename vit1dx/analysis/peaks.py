"""Peaks of a curve over time, picked against a moving average.

After Böck et al., "Maximum filter vibrato suppression for onset detection", DAFx 2013: a peak is
the highest of its surroundings and stands above their average by a threshold.
"""

from __future__ import annotations

import numpy as np

from .._types import Array

#: Seconds on either side of a peak that its height is measured against.
AVERAGED = 0.5
#: Frames on either side that a peak tops.
LEAST_GAP = 2


def height(curve: Array, frame_rate: float) -> Array:
    """How far each frame stands above the mean of its surroundings.

    Parameters
    ----------
    curve : (time,) array
    frame_rate : float
        Hz.

    Returns
    -------
    (time,) float64 array
        In the whole curve's standard deviations; the surroundings are `AVERAGED` seconds on either
        side, the ends taken to go on as they are.
    """
    half = round(AVERAGED * frame_rate)
    padded = np.pad(np.asarray(curve, np.float64), half, mode="edge")
    sums = np.concatenate([[0.0], np.cumsum(padded)])
    average = (sums[2 * half + 1 :] - sums[: -2 * half - 1]) / (2 * half + 1)
    return (curve - average) / (np.std(curve, dtype=np.float64) + 1e-12)


def local_maxima(curve: Array, gap: int) -> Array:
    """Frames that top all others up to `gap` frames away; of equals so near, the first.

    The first and the last frame are none. Returns (k,) int.
    """
    padded = np.pad(curve, gap, constant_values=-np.inf)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * gap + 1)
    before, after = around[:, :gap].max(1), around[:, gap + 1 :].max(1)
    frames = np.flatnonzero((curve > before) & (curve >= after))
    return frames[(frames > 0) & (frames < len(curve) - 1)]


def pick(curve: Array, least: float, frame_rate: float, lag: float = 0.0) -> tuple[Array, Array]:
    """Local maxima that stand out, and how far.

    Parameters
    ----------
    curve : (time,) array
        Frame i is centred on i / frame_rate s.
    least : float
        Height that a peak needs; see `height`.
    frame_rate : float
        Hz.
    lag : float
        Frames that the curve comes late, taken off.

    Returns
    -------
    (k,) float64 array
        Times, s: each peak is placed between frames by the parabola through it and its neighbours.
    (k,) float64 array
        Heights.
    """
    above = height(curve, frame_rate)
    frames = local_maxima(above, LEAST_GAP)
    frames = frames[above[frames] >= least]
    before, here, after = (curve[frames + shift].astype(np.float64) for shift in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = np.where(bend < 0, 0.5 * (before - after) / np.minimum(bend, -1e-12), 0.0)
    return (frames + np.clip(shift, -0.5, 0.5) - lag) / frame_rate, above[frames]


def peaks(curve: Array, least: float, frame_rate: float, lag: float = 0.0) -> Array:
    """Times of `pick` alone, (k,) float64, s."""
    return pick(curve, least, frame_rate, lag)[0]
