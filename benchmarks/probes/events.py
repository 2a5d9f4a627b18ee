"""How well events that were estimated meet the true ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
