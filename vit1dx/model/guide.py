"""The layer guide: for each task, the layer of some weights that served it best.

It lies beside the bundled weights, is made of what ``python -m benchmarks.probes`` measured of
them, and speaks of no others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from .weights import bundled

#: Ending of the guide's file, after the name of the weights.
SUFFIX = ".guide.json"
#: The task whose layer serves to find music that is alike.
SIMILARITY = "similar recordings"


@dataclass(frozen=True)
class Advice:
    """What serves one task best.

    Attributes
    ----------
    task : str
    layer : int
    tokens : {"sequence", "class", "mean"}
        Single sequence tokens for local tasks; for a track as a whole the mean of its class tokens,
        or that of all its tokens (``mean_token``).
    score : float
        Of a linear probe, between 0 and 1.
    measure : str
        What the score is.
    log_mel : float
        The same with log-mel frames in the place of tokens.
    """

    task: str
    layer: int
    tokens: str
    score: float
    measure: str
    log_mel: float

    def __str__(self) -> str:
        return (
            f"layer {self.layer}, {self.tokens}: {100 * self.score:.1f} %, {self.measure} "
            f"(log-mel {100 * self.log_mel:.1f})"
        )


def guide_for(*digests: str | None) -> dict[str, Advice]:
    """The guide for weights.

    Parameters
    ----------
    *digests : str or None
        SHA-256 of the weights, and of what they were exported from, as `WeightsInfo` and feature
        files have them; the guide is for weights that one of them names.

    Returns
    -------
    dict of Advice, by task
        Empty for weights of which nothing was measured.

    Examples
    --------
    >>> guide_for(bundled_digest())["chords"].tokens
    'sequence'
    >>> guide_for("of other weights")
    {}
    """
    found = _bundled_guide()
    return dict(found[1]) if found[0] in digests else {}


def guide_of(attributes: Mapping[str, Any]) -> dict[str, Advice]:
    """The guide for features, by the attributes of their file."""
    return guide_for(attributes.get("model_sha256"), attributes.get("model_exported_from"))


def layer_to_compare_by(attributes: Mapping[str, Any], layers: Sequence[int], depth: int) -> int:
    """Of the layers that a feature file has, the one to find music that is alike by.

    The nearest to the best that is known; or to the middle one, of weights that nothing is known
    of.
    """
    advice = guide_of(attributes).get(SIMILARITY)
    aim = depth / 2 if advice is None else advice.layer
    return min(layers, key=lambda layer: abs(layer - aim))


def bundled_digest() -> str:
    """SHA-256 of the weights that the guide is for."""
    return _bundled_guide()[0]


@cache
def _bundled_guide() -> tuple[str, dict[str, Advice]]:
    values = json.loads(bundled(SUFFIX).read_text(encoding="utf-8"))
    return values["sha256"], {row["task"]: Advice(**row) for row in values["tasks"]}
