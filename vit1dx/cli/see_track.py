"""Today's tracks with the interface that analysis asks for, until tracks have it themselves."""

from __future__ import annotations

import numpy as np

from .._types import Array
from ..errors import StoreError
from ..store.reader import Track


class FileTrack:
    """Today's track of a feature file, with the interface that tracks are about to have."""

    def __init__(self, track: Track) -> None:
        self._track = track
        self.id, self.attributes = track.id, track.attributes
        self.layers, self.duration = track.layers, track.duration
        self.time: Array = track.time()

    def read(
        self,
        name: str,
        *,
        layer: int | None = None,
        start: float | None = None,
        stop: float | None = None,
    ) -> Array:
        """An array, or one layer of it, from `start` up to `stop` (s)."""
        group = self._track.group
        if name not in group:
            raise StoreError(f"no {name} in {group.file.filename}")
        along = self.time if name in ("time", "sequence_tokens") else group["window_start"][:]
        bounds = (-np.inf if start is None else start, np.inf if stop is None else stop)
        part = slice(*map(int, np.searchsorted(along, bounds)))
        if name in ("time", "window_start"):
            return group[name][part]
        return group[name][slice(None) if layer is None else self.layers.index(layer), part]
