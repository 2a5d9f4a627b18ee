"""The layer guide: for each task, the layer of some weights that served it best.

It lies beside bundled weights, is made of what ``python -m benchmarks.probes`` measured of
them, and speaks of no others. It also says which of their heads show onsets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from .weights import BUNDLED, bundled

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
    found = _guide(digests)
    return {} if found is None else {row["task"]: Advice(**row) for row in found["tasks"]}


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


def onset_curves(*digests: str | None) -> list[dict[str, Any]]:
    """Which curves of attention show onsets in features of some weights, the best first.

    Parameters
    ----------
    *digests : str or None
        See `guide_for`. Of weights of which nothing was measured, those of the default ones.

    Returns
    -------
    list of dict
        The fields of `vit1dx.analysis.onsets.OnsetCurve`.
    """
    found = _guide(digests) or _guides()[0]
    return [dict(curve) for curve in found["onset_curves"]]


def bundled_digest() -> str:
    """SHA-256 of the weights that are used by default."""
    return str(_guides()[0]["sha256"])


def bundled_name_of(digest: str) -> str | None:
    """Which of the bundled weights have this SHA-256; None if none have."""
    names = (
        name for name, guide in zip(BUNDLED, _guides(), strict=True) if guide["sha256"] == digest
    )
    return next(names, None)


def _guide(digests: Sequence[str | None]) -> dict[str, Any] | None:
    return next((guide for guide in _guides() if guide["sha256"] in digests), None)


@cache
def _guides() -> list[dict[str, Any]]:
    return [json.loads(bundled(SUFFIX, name).read_text(encoding="utf-8")) for name in BUNDLED]
