"""What positive pairs are: which kinds of steps a run is made of, from which music, in what shares.

A mix is written as `paper=0.5,aligned=0.5`, or with the source of the music that a kind draws from
(`source` in the groups file) as `paper:real=0.5,aligned:pop909=0.5`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import UsageError

#: Two segments of one track; one time in two renditions that run in time with each other.
PAPER, ALIGNED = "paper", "aligned"
KINDS = (PAPER, ALIGNED)


@dataclass(frozen=True)
class Part:
    """A kind of steps.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    source : str or None
        Where the music must be from; None takes all of it.
    share : float
        Of all steps.
    """

    kind: str
    source: str | None
    share: float

    @property
    def name(self) -> str:
        """The part as a mix names it, without its share."""
        return self.kind if self.source is None else f"{self.kind}:{self.source}"

    @property
    def is_aligned(self) -> bool:
        return self.kind == ALIGNED


def parse_mix(text: str) -> tuple[Part, ...]:
    """Parts of a mix, their shares divided by the sum of all.

    Raises
    ------
    UsageError
        If a part is none, or named twice, or has no share above 0.
    """
    parts = [_part(entry, text) for entry in text.split(",")]
    if len({part.name for part in parts}) < len(parts):
        raise UsageError(f"mix {text!r} names a part twice")
    total = sum(part.share for part in parts)
    return tuple(Part(part.kind, part.source, part.share / total) for part in parts)


def _part(entry: str, mix: str) -> Part:
    name, _, share = entry.partition("=")
    kind, colon, source = name.strip().partition(":")
    value = _number(share or "1")
    if kind not in KINDS or (colon and not source) or not 0 < value < math.inf:
        raise UsageError(
            f"mix {mix!r}: {entry!r}; parts as paper=0.5 or aligned:SOURCE=0.5 are needed"
        )
    return Part(kind, source or None, value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
