"""Tracks of random tokens and attention maps."""

from __future__ import annotations

import numpy as np

from vit1dx.tokens import MemoryTrack

RATE = 31.25


def track(
    n: int = 200,
    starts: tuple[int, ...] = (0, 62, 124, 138),
    length: int = 62,
    layers: tuple[int, ...] = (1, 2),
    *,
    form: str = "full",
    dtype: str = "float32",
    seed: int = 0,
) -> MemoryTrack:
    """A track of random tokens and maps."""
    rng = np.random.default_rng(seed)
    rows = (length + 1,) if form == "full" else ()
    maps = rng.random((len(layers), len(starts), 3, *rows, length + 1))
    maps /= maps.sum(-1, keepdims=True)
    tokens = rng.standard_normal((len(layers), n, 8))
    arrays = {
        "class_token": tokens[:, : len(starts)].astype(dtype),
        "sequence_tokens": tokens.astype(dtype),
        "mean_token": tokens.mean(1).astype(dtype),
        "time": np.arange(n) / RATE,
        "window_start": np.array(starts) / RATE,
    }
    if form != "none":
        arrays["attention"] = maps.astype(dtype)
    return MemoryTrack(layers=layers, arrays=arrays, duration=n / RATE)
