"""Counts, times and names as people read them."""

from __future__ import annotations

import re

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def count(number: int, noun: str) -> str:
    """A number of things: ``"1 file"``, ``"2 files"``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """A length of time, in the unit that suits it: ``"12.3 s"``, ``"4.5 min"``, ``"67.8 h"``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < 3597:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def clock(seconds: float) -> str:
    """A length of time in hours, minutes and seconds: ``"1:02:03"``."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def speed(times: float) -> str:
    """A speed, in times real time: ``"318x real time"``, ``"0.4x real time"``."""
    return f"{times:.0f}x real time" if times >= 9.95 else f"{times:.2g}x real time"


def one_line(text: str) -> str:
    r"""Text on one line, which no terminal takes for a command: a line break becomes ``\n``."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
