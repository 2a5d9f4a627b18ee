"""Curves over time read off attention maps, and spectral flux, that may peak at onsets."""

from __future__ import annotations

import numpy as np

from vit1dx.config import Config
from vit1dx.tokens import Track

RATE = Config().mel.frame_rate
TURNED = ("received", "class")  # readings that may dip where a note begins
KERNEL = 4  # frames, 128 ms
LEAST = 1e-8  # attention, below which logarithms are not told apart


def head_curves(track: Track) -> dict[str, np.ndarray]:
    """Curves (time,) of each layer, head and reading; a leading "-" turns one upside down.

    "received" is the attention that a frame gets from the window's frames, "class" what it gets
    from the class token, "change" how far its own differs from that of the frame before, by cosine,
    "log change" the same by its logarithms, in which faint attention counts as much as strong, and
    "novelty" (Foote's, on the map in the place of a self-similarity matrix) how much more the
    frames on either side of it attend to their own side than to the other.
    """
    assert track.attention is not None
    first = np.round(track.window_start * RATE).astype(int)
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
        "log change": _log_change(frames),
        "novelty": _novelty(frames),
    }


def _change(rows: np.ndarray) -> np.ndarray:
    """1 - cosine similarity of each query's row with the one before: (window, head, query)."""
    unit = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return _from_second(1 - (unit[:, :, 1:] * unit[:, :, :-1]).sum(-1))


def _log_change(rows: np.ndarray) -> np.ndarray:
    """Deviation of the logarithms from those of the query before: (window, head, query)."""
    return _from_second(np.diff(np.log(rows + LEAST), axis=2).std(-1))


def _from_second(change: np.ndarray) -> np.ndarray:
    """Values of a window's second query and those that follow; the first has the second's."""
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
