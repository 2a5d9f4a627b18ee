"""Tracks with the interface that analysis asks for, out of arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vit1dx._types import Array
from vit1dx.errors import StoreError
from vit1dx.tokens import TrackTokens

RATE = 31.25


@dataclass
class ArrayTrack:
    """A track in memory."""

    tokens: TrackTokens

    @property
    def layers(self) -> tuple[int, ...]:
        return self.tokens.layers

    @property
    def time(self) -> Array:
        return self.tokens.time

    @property
    def duration(self) -> float:
        return self.tokens.duration

    def read(
        self,
        name: str,
        *,
        layer: int | None = None,
        start: float | None = None,
        stop: float | None = None,
    ) -> Array:
        values = getattr(self.tokens, name)
        if values is None:
            raise StoreError(f"no {name}")
        along = self.time if name in ("time", "sequence_tokens") else self.tokens.window_start
        bounds = (-np.inf if start is None else start, np.inf if stop is None else stop)
        part = slice(*map(int, np.searchsorted(along, bounds)))
        if name in ("time", "window_start"):
            return values[part]
        return values[:, part] if layer is None else values[self.layers.index(layer), part]


def track(
    n: int = 200,
    starts: tuple[int, ...] = (0, 62, 124, 138),
    length: int = 62,
    layers: tuple[int, ...] = (1, 2),
    *,
    form: str = "full",
    dtype: str = "float32",
    seed: int = 0,
) -> ArrayTrack:
    """A track of random tokens and maps."""
    rng = np.random.default_rng(seed)
    rows = (length + 1,) if form == "full" else ()
    maps = rng.random((len(layers), len(starts), 3, *rows, length + 1))
    maps /= maps.sum(-1, keepdims=True)
    tokens = rng.standard_normal((len(layers), n, 8))
    return ArrayTrack(
        TrackTokens(
            layers=layers,
            class_token=tokens[:, : len(starts)].astype(dtype),
            sequence_tokens=tokens.astype(dtype),
            mean_token=tokens.mean(1).astype(dtype),
            time=np.arange(n) / RATE,
            window_start=np.array(starts) / RATE,
            attention=None if form == "none" else maps.astype(dtype),
            duration=n / RATE,
        )
    )
