"""Scores of a probe, and their means over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """Scores by task, on the songs kept from fitting and on those for testing.

    Parameters
    ----------
    held_out : dict
        On songs that the encoder was trained on but the probe was not: what layers are chosen by.
    test : dict
        On songs, and in a soundfont, that neither has met: what is reported.
    """

    held_out: dict[str, float]
    test: dict[str, float]


def summary(scores: Sequence[Scores]) -> dict[str, dict[str, dict[str, float]]]:
    """Means over seeds: "held_out" and "test", by task, of those that could be scored each time."""
    return {
        part: {
            task: _mean([getattr(s, part)[task] for s in scores])
            for task in getattr(scores[0], part)
            if all(task in getattr(s, part) for s in scores)
        }
        for part in ("held_out", "test")
    }


def _mean(values: Sequence[float]) -> dict[str, float]:
    """Mean, and standard deviation."""
    return {"value": float(np.mean(values)), "spread": float(np.std(values))}
