"""Feature files in which one layer knows the answer and another does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from ..store.test_writer import DIM, _header, _tokens, _write

#: The layer that knows nothing, and the one that knows all.
DEAF, KNOWING = 2, 5
RATE = 31.25
WINDOWS = 4
#: Frames of a track.
FRAMES = 125 * WINDOWS
SECONDS = FRAMES / RATE


def write_features(path: Path, truth: Mapping[str, np.ndarray], noise: float = 0.3) -> None:
    """Write features whose knowing layer holds some values, and noise, in its first dimensions.

    Parameters
    ----------
    path : Path
    truth : dict of (k,) or (FRAMES, k) arrays
        By track; of a track as a whole, or frame by frame.
    noise : float
    """
    _write(path, {track_id: [_tokens(WINDOWS)] for track_id in truth}, _header())
    rng = np.random.default_rng(0)
    with h5py.File(path, "r+") as file:
        order = file["index/id"].asstr()[:].tolist()
        for track_id, values in truth.items():
            group = file["tracks"][track_id]
            group.attrs["duration"] = SECONDS
            tokens = rng.standard_normal((2, FRAMES, DIM)).astype(np.float32)
            tokens[1] *= noise
            tokens[1, :, : values.shape[-1]] += values
            group["sequence_tokens"][:] = tokens
            windows = tokens.reshape(2, WINDOWS, -1, DIM).mean(axis=2)
            group["class_token"][:] = windows
            group["mean_token"][:] = tokens.mean(axis=1)
            place = order.index(track_id)
            file["index/duration"][place] = SECONDS
            if "mean_token" in file["index"]:
                file["index/mean_token"][place] = tokens.mean(axis=1)


def one_of(number: int, of: int) -> np.ndarray:
    """A class as a vector."""
    return np.eye(of, dtype=np.float32)[number]
