"""Baselines taken from an earlier measurement, where that was of the same renders.

Most baselines know nothing of ViT-1D, and take three times as long. One of them is measured again,
to see that the renders are those of then and the probes still find the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MEASURED_AGAIN = ("ViT-1D", "untrained", "log-mel")
COMPARED = "log-mel"
KINDS = ("local", "whole", "similarity", "onsets", "recordings")
#: Processors round differently, and a probe's fit and a threshold turn on that.
TOLERANCE = 0.01

Found = dict[str, Any]


class Disagreement(ValueError):
    """The earlier measurement was of something else."""


def read_earlier(path: Path, about: dict[str, Any]) -> Found:
    """An earlier `probes.json`.

    Raises
    ------
    Disagreement
        If it was of other numbers of renders, or of seeds, than `about` says.
    """
    earlier: Found = json.loads(path.read_text())
    for key in ("renders", "seeds"):
        then, now = earlier["about"][key], about[key]
        if then != now:
            raise Disagreement(f"{path} was measured with {key} {then}; this is with {now}")
    return earlier


def with_baselines(found: Found, earlier: Found) -> Found:
    """What was found, and of systems that were not measured again what was found earlier.

    Raises
    ------
    Disagreement
        If the baseline that both have differs by more than `TOLERANCE` in any figure.
    """
    for kind in KINDS:
        if COMPARED in found[kind]:
            _require_same(kind, found[kind][COMPARED], earlier[kind][COMPARED])
    return {**found, **{kind: {**earlier[kind], **found[kind]} for kind in KINDS}}


def _require_same(name: str, now: Any, then: Any) -> None:
    after, before = dict(_figures(name, now)), dict(_figures(name, then))
    for place in after.keys() | before.keys():
        if abs(after.get(place, math.inf) - before.get(place, math.inf)) > TOLERANCE:
            raise Disagreement(f"{place}: {after.get(place)} now, {before.get(place)} then")


def _figures(place: str, found: Any) -> Iterator[tuple[str, float]]:
    """All numbers of a table, with where they stand; how far seeds spread is not compared."""
    if isinstance(found, dict):
        for key, value in found.items():
            if key != "spread":
                yield from _figures(f"{place}, {key}", value)
    elif isinstance(found, (int, float)):
        yield place, float(found)
