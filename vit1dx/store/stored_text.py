"""Text as a feature file holds it: on one line, and warnings as ``code: text``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..audio_warnings import AudioWarning


def storable(text: str) -> str:
    """Text that HDF5 takes, on one line: without NUL or what is not UTF-8."""
    words = " ".join(text.replace("\0", " ").split())
    return words.encode("utf-8", "backslashreplace").decode()


def warning_texts(warnings: Iterable[AudioWarning]) -> list[str]:
    """Warnings as a track's attribute ``warnings`` has them."""
    return [storable(f"{warning.code}: {warning.text}") for warning in warnings]


def parse_warnings(texts: Iterable[str]) -> list[AudioWarning]:
    """Warnings from a track's attribute."""
    parts = (text.partition(": ") for text in texts)
    return [AudioWarning(code, text) for code, _, text in parts]


def warning_codes(texts: Iterable[str]) -> str:
    """The codes of a track's warnings as ``/index`` has them: ``"dc,clipping"``."""
    return ",".join(warning.code for warning in parse_warnings(texts))


def count_codes(codes: Iterable[str]) -> dict[str, int]:
    """How often each code occurs in what `warning_codes` gave, in order of the alphabet."""
    counts = Counter(code for text in codes for code in text.split(",") if code)
    return dict(sorted(counts.items()))
