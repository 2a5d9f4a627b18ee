"""Onsets in attention maps (claim C3): which head's curve shows them, against spectral flux.

Which head, reading, height and lag serve best is chosen on songs that the encoder was trained on,
and scored on songs that it was not. Spectral flux gets the same choices of height and lag.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.probes.collection import Memory, Render
from benchmarks.probes.curves import RATE
from vit1dx.analysis.peaks import peaks
from vit1dx.probe.scores import Counts

ONSET_TOLERANCE = 0.05  # s
HEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4)
LAGS = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5)  # frames

Choice = tuple[str, float, float]  # curve, height, lag


def source_of(curve: str) -> str:
    """The layer that a curve is of, or all that there is of it."""
    return curve.removeprefix("-").split(",")[0]


def measure(
    memory: Memory,
    system: str,
    names: Sequence[str],
    fit: Sequence[Render],
    test: Sequence[Render],
) -> dict[str, Any]:
    """F of the onsets of testing songs, by that of some curves which does best on others."""
    before, after = (Onsets.of(memory, system, names, group) for group in (fit, test))
    f, (name, height, lag) = max(before.tuned(name) for name in names)
    return {"curve": name, "held_out": f, "test": after.score(name, height, lag)}


@dataclass
class Onsets:
    """Curves of some tracks, by name, and when their notes begin (s)."""

    curves: Sequence[Mapping[str, np.ndarray]]
    truths: Sequence[np.ndarray]

    @classmethod
    def of(
        cls, memory: Memory, system: str, names: Sequence[str], renders: Sequence[Render]
    ) -> Onsets:
        """Curves that a system read off renders."""
        curves = [memory.read_several(system, render, "curves", names) for render in renders]
        return cls(curves, [np.asarray(render.truth.events("onsets")) for render in renders])

    def score(self, name: str, height: float, lag: float) -> float:
        """F of the peaks of one curve."""
        counts = Counts()
        for curves, truth in zip(self.curves, self.truths, strict=True):
            counts.add(truth, peaks(curves[name], height, RATE, lag), ONSET_TOLERANCE)
        return counts.f_measure

    def tuned(self, name: str) -> tuple[float, Choice]:
        """The best F of a curve, and the choices that give it."""
        # The lag matters little to which height is best: one after the other, not all pairs.
        height = max(HEIGHTS, key=lambda h: max(self.score(name, h, lag) for lag in (0, 1)))
        lag = max(LAGS, key=lambda lag: self.score(name, height, lag))
        return self.score(name, height, lag), (name, height, lag)
