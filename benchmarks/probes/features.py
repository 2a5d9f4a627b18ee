"""What a system said of renders, as `vit1dx.probe` probes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from benchmarks.probes.collection import Memory, Render
from benchmarks.probes.systems import CONFIG, with_context
from vit1dx.probe.splits import Fold

RATE = CONFIG.mel.frame_rate


class Remembered:
    """One feature of a system, of some renders: frames or vectors, read once.

    Parameters
    ----------
    memory : Memory
    system, name : str
    renders : sequence of Render
        Known by their place, as text.
    context : str
        Of frames: "frame", or another for half a second.
    """

    layer = None
    tokens = ""

    def __init__(
        self,
        memory: Memory,
        system: str,
        name: str,
        renders: Sequence[Render],
        context: str = "frame",
    ) -> None:
        self.name = name
        self._memory, self._system, self._renders, self._context = memory, system, renders, context

    def _read(self, kind: str) -> list[np.ndarray]:
        found = (self._memory.read(self._system, r, kind, self.name) for r in self._renders)
        return [np.asarray(values, np.float32) for values in found]

    @cached_property
    def _frames(self) -> list[np.ndarray]:
        frames = self._read("frames")
        return frames if self._context == "frame" else [with_context(each) for each in frames]

    @cached_property
    def _vectors(self) -> np.ndarray:
        return np.stack(self._read("whole"))

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """See `vit1dx.probe.features.Feature`."""
        return self._vectors[[int(place) for place in ids]]

    def frames(self, ids: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See `vit1dx.probe.features.Feature`."""
        for place in ids:
            values = self._frames[int(place)]
            yield values, np.arange(len(values)) / RATE


def divided(is_fit: np.ndarray, share: float, seeds: int) -> list[Fold]:
    """Training and testing tracks; by seed, a share of the former are held out from a first fit."""
    folds = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(np.flatnonzero(is_fit))
        held_out = np.zeros((1, len(is_fit)), bool)
        held_out[0, order[min(round((1 - share) * len(order)), len(order) - 1) :]] = True
        folds.append(Fold(is_fit, held_out, ~is_fit))
    return folds
