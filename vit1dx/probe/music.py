"""Labels of harmony as classes: chords as mir_eval's "majmin" compares them, keys, pitches."""

from __future__ import annotations

import re
from functools import cache

import mir_eval
import numpy as np

from .._types import Array
from ..errors import UsageError

#: A class that no probe is fitted or scored on.
EXCLUDED = -1

TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_TRIADS = {(0, 4, 7): 0, (0, 3, 7): 12}
#: 12 major, 12 minor, none: what each class is called in files.
CHORDS = (*(f"{tonic}:maj" for tonic in TONICS), *(f"{tonic}:min" for tonic in TONICS), "N")
KEYS = (*(f"{tonic}:major" for tonic in TONICS), *(f"{tonic}:minor" for tonic in TONICS))
NO_CHORD = CHORDS.index("N")

_PITCHES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_KEY = re.compile(r"(?:key\s+)?([A-Ga-g])([#b♯♭]*)(?:[\s:_-]*([A-Za-z]+))?\s*$", re.IGNORECASE)
_MODES = {"maj": 0, "major": 0, "ionian": 0, "min": 12, "minor": 12, "aeolian": 12}
_NO_KEYS = {"", "n", "x", "none", "silence", "unknown", "no key", "nokey"}


@cache
def chord_class(label: str) -> int:
    """0 to 11 for major, 12 to 23 for minor, by root; 24 for none; `EXCLUDED` for other chords.

    Raises
    ------
    UsageError
        If it is no chord label of Harte's syntax.
    """
    try:
        root, intervals, _ = mir_eval.chord.encode(label)
    except (mir_eval.chord.InvalidChordException, ValueError, IndexError):
        raise UsageError(f"chord {label!r}; labels such as C:maj, A:min7 and N are known") from None
    if root < 0:
        return NO_CHORD if label == "N" else EXCLUDED
    triad = tuple(int(step) for step in np.flatnonzero(intervals[:8]))
    return int(root) + _TRIADS[triad] if triad in _TRIADS else EXCLUDED


@cache
def key_class(label: str) -> int:
    """0 to 11 for major, 12 to 23 for minor, by tonic; `EXCLUDED` for other modes and silence.

    Raises
    ------
    UsageError
        If it names no key.
    """
    text = label.strip()
    if text.lower() in _NO_KEYS:
        return EXCLUDED
    match = _KEY.match(text)
    if match is None:
        raise UsageError(f"key {label!r}; labels such as C:major, A minor, Am and Bb are known")
    letter, accidentals, mode = match.groups()
    sharps = sum({"#": 1, "♯": 1}.get(sign, -1) for sign in accidentals)
    tonic = (_PITCHES[letter.upper()] + sharps) % 12
    if mode in (None, "M"):
        return tonic + 12 * (letter.islower() and mode is None)
    quality = 12 if mode == "m" else _MODES.get(mode.lower())
    return EXCLUDED if quality is None else tonic + quality


@cache
def key_scores() -> Array:
    """mir_eval's weighted score of each estimated key (column) for each true one (row): (24, 24).

    1 for the same, 0.5 for a fifth, 0.3 for the relative, 0.2 for the parallel key (MIREX).
    """
    names = [name.replace(":", " ") for name in KEYS]
    return np.array([[mir_eval.key.weighted_score(t, e) for e in names] for t in names])


def pitch_of(text: str, where: str) -> str:
    """A MIDI number, rounded.

    Raises
    ------
    ValueError
        If it is none, naming where it stands.
    """
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 127.5:
        raise ValueError(f"{where} has {text!r} where a pitch is needed, a MIDI number of 0 to 127")
    return str(round(number))
