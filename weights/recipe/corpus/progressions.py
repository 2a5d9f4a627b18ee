"""Chord progressions in Roman numerals, spelt out in a key."""

from __future__ import annotations

import re

from weights.recipe.corpus.harte import MAJOR_SCALE, MINOR_SCALE, PITCH_NAMES, quality_of, root_of

NUMERALS = ("I", "II", "III", "IV", "V", "VI", "VII")
ACCIDENTALS = {"": 0, "b": -1, "#": 1}
SYMBOL = re.compile(r"(b|#)?([IViv]+)(.*)")

# How a style colours the plain triads of its progressions: quality of a major chord, of the
# dominant, of a minor chord.
COLOURS = {
    "triads": ("maj", "maj", "min"),
    "dominant": ("maj", "7", "min"),
    "sevenths": ("maj7", "7", "min7"),
    "blues": ("7", "7", "min7"),
    "ninths": ("maj9", "9", "min9"),
    "sixths": ("maj6", "9", "min7"),
    "fifths": ("5", "5", "5"),
}


def bars_of(progression: str) -> list[list[str]]:
    """Symbols of each bar: "I V | vi" is [["I", "V"], ["vi"]]."""
    return [bar.split() for bar in progression.split("|")]


def chord_of(symbol: str, key: str, colour: str) -> str:
    """Harte label of a Roman numeral in a key.

    Parameters
    ----------
    symbol : str
        Numeral on the key's own scale, lower case being minor, with an accidental before it and a
        Harte quality after it where the style's colour is not wanted: "bVII", "ii:hdim7".
    key : str
        Such as "Eb:min".
    colour : str
        One of `COLOURS`.
    """
    found = SYMBOL.fullmatch(symbol)
    if not found or found[2].upper() not in NUMERALS:
        raise ValueError(f"chord symbol {symbol!r} is no Roman numeral from I to VII")
    degree = NUMERALS.index(found[2].upper())
    scale = MINOR_SCALE if quality_of(key) == "min" else MAJOR_SCALE
    root = root_of(key) + scale[degree] + ACCIDENTALS[found[1] or ""]
    quality = found[3].lstrip(":") or _coloured(found[2], colour)
    return f"{PITCH_NAMES[root % 12]}:{quality}"


def _coloured(numeral: str, colour: str) -> str:
    major, dominant, minor = COLOURS[colour]
    if numeral.islower():
        return minor
    return dominant if numeral == "V" else major
