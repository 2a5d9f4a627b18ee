"""Onsets in attention maps (claim C3): curves over time read off each head, against spectral flux.

Which head, reading and threshold serve best is chosen on songs that the encoder was trained on, and
scored on songs that it was not. Spectral flux gets the same choices of threshold and lag.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.probes.events import Counts, peaks
from vit1dx.tokens import TrackTokens

ONSET_TOLERANCE = 0.05  # s
HEIGHTS = tuple(np.round(np.arange(0.0, 1.6, 0.2), 1))
LAGS = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5)  # frames
TURNED = ("received", "class")  # readings that may dip where a note begins
KERNEL = 4  # frames, 128 ms

Choice = tuple[str, float, float]  # curve, height, lag


def head_curves(track: TrackTokens, frame_rate: float) -> dict[str, np.ndarray]:
    """Curves (time,) of each layer, head and reading; a leading "-" turns one upside down.

    "received" is the attention that a frame gets from the window's frames, "class" what it gets
    from the class token, "change" how far its own differs from that of the frame before, and
    "novelty" (Foote's, on the map in the place of a self-similarity matrix) how much more the
    frames on either side of it attend to their own side than to the other.
    """
    assert track.attention is not None
    first = np.round(track.window_start * frame_rate).astype(int)
    n = len(track.time)
    curves: dict[str, np.ndarray] = {}
    for layer, maps in zip(track.layers, track.attention, strict=True):
        for reading, found in _readings(maps).items():
            for head in range(maps.shape[1]):
                curve = np.zeros(n, np.float32)
                for window, start in enumerate(first):
                    curve[start : start + found.shape[-1]] = found[window, head]
                name = f"layer {layer}, head {head}, {reading}"
                curves[name] = curve
                if reading in TURNED:
                    curves[f"-{name}"] = -curve
    return curves


def _readings(maps: np.ndarray) -> dict[str, np.ndarray]:
    """Curves (window, head, frame) of attention maps (window, head, query, key)."""
    frames = maps[:, :, 1:, 1:]
    return {
        "received": frames.mean(2),
        "class": maps[:, :, 0, 1:],
        "change": _change(frames),
        "novelty": _novelty(frames),
    }


def _change(rows: np.ndarray) -> np.ndarray:
    """1 - cosine similarity of each query's row with the one before: (window, head, query)."""
    unit = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    change = 1 - (unit[:, :, 1:] * unit[:, :, :-1]).sum(-1)
    return np.concatenate([change[:, :, :1], change], axis=-1)


def _novelty(rows: np.ndarray) -> np.ndarray:
    """Foote's checkerboard of `KERNEL` frames a side, along the diagonal: (window, head, frame)."""
    n, half = rows.shape[-1], KERNEL
    padded = np.pad(rows, ((0, 0), (0, 0), (half, half), (half, half)), mode="edge")
    total = np.pad(padded.cumsum(-1).cumsum(-2), ((0, 0), (0, 0), (1, 0), (1, 0)))
    low, middle = np.arange(n), np.arange(n) + half

    def block(top: np.ndarray, left: np.ndarray) -> np.ndarray:
        bottom, right = top + half, left + half
        corners = ((bottom, right, 1), (top, right, -1), (bottom, left, -1), (top, left, 1))
        return np.asarray(sum(sign * total[:, :, row, column] for row, column, sign in corners))

    own = block(low, low) + block(middle, middle)
    return own - block(low, middle) - block(middle, low)


def spectral_flux(mel: np.ndarray) -> np.ndarray:
    """Sum of what rises from frame to frame in log-mel (time, n_mels): (time,)."""
    rise = np.maximum(0, np.diff(mel, axis=0, prepend=mel[:1]))
    return np.asarray(rise.sum(1), dtype=np.float32)


def score(
    curves: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    height: float,
    lag: float,
    frame_rate: float,
) -> float:
    """F of onsets picked off one curve of each track."""
    counts = Counts()
    for curve, truth in zip(curves, truths, strict=True):
        counts.add(truth, peaks(curve, height, frame_rate, lag), ONSET_TOLERANCE)
    return counts.f_measure


def tuned(
    name: str, tracks: Sequence[dict[str, np.ndarray]], truths: Sequence[np.ndarray], rate: float
) -> tuple[float, Choice]:
    """The best F of a curve on these tracks, and the choices that give it."""
    curves = [track[name] for track in tracks]
    # The lag matters little to which height is best: one after the other, not all pairs.
    height = max(HEIGHTS, key=lambda h: max(score(curves, truths, h, lag, rate) for lag in (0, 1)))
    lag = max(LAGS, key=lambda lag: score(curves, truths, height, lag, rate))
    return score(curves, truths, height, lag, rate), (name, height, lag)
