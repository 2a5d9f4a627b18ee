"""Chord and key labels in Harte's syntax: what they sound like, and how they transpose.

Harte et al., "Symbolic representation of musical chords" (ISMIR 2005), which mir_eval reads.
"""

from __future__ import annotations

NO_CHORD = "N"
PITCH_NAMES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ACCIDENTALS = {"b": -1, "#": 1}

# Semitones above the root.
QUALITIES: dict[str, tuple[int, ...]] = {
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "dim": (0, 3, 6),
    "aug": (0, 4, 8),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "5": (0, 7),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "min7": (0, 3, 7, 10),
    "minmaj7": (0, 3, 7, 11),
    "dim7": (0, 3, 6, 9),
    "hdim7": (0, 3, 6, 10),
    "maj6": (0, 4, 7, 9),
    "min6": (0, 3, 7, 9),
    "sus4(b7)": (0, 5, 7, 10),
    "9": (0, 4, 7, 10, 2),
    "maj9": (0, 4, 7, 11, 2),
    "min9": (0, 3, 7, 10, 2),
}

MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
MINOR_SCALE = (0, 2, 3, 5, 7, 8, 10)


def root_of(label: str) -> int:
    """Pitch class (0 to 11, C = 0) of a chord's or key's root: "Gb:maj" is 6."""
    name = label.split(":")[0].split("/")[0]
    if name[:1] not in NATURALS or any(mark not in ACCIDENTALS for mark in name[1:]):
        raise ValueError(f"label {label!r} has no root such as C, F# or Bb")
    return (NATURALS[name[0]] + sum(ACCIDENTALS[mark] for mark in name[1:])) % 12


def quality_of(label: str) -> str:
    """Shorthand of a chord without its bass: "maj7" for "C:maj7/3"."""
    return label.split(":")[1].split("/")[0] if ":" in label else "maj"


def pitch_classes(label: str) -> tuple[int, ...]:
    """Pitch classes of a chord, the root first; none for no chord."""
    if label == NO_CHORD:
        return ()
    quality = quality_of(label)
    if quality not in QUALITIES:
        raise ValueError(f"chord {label!r}: quality is not one of {', '.join(QUALITIES)}")
    return tuple((root_of(label) + interval) % 12 for interval in QUALITIES[quality])


def bass_of(label: str) -> int:
    """Pitch class of a chord's lowest note: "C:maj/3" is 4."""
    if "/" not in label:
        return root_of(label)
    degree = label.split("/")[1]
    step = MAJOR_SCALE[(int(degree.strip("b#")) - 1) % 7]
    return (root_of(label) + step + degree.count("#") - degree.count("b")) % 12


def transpose(label: str, semitones: int) -> str:
    """Move a chord or key label; its quality and its bass, being relative, stay."""
    if label == NO_CHORD:
        return label
    name = label.split(":")[0].split("/")[0]
    return PITCH_NAMES[(root_of(label) + semitones) % 12] + label[len(name) :]


def scale_of(key: str) -> tuple[int, ...]:
    """Pitch classes of a key's scale (natural minor), the tonic first."""
    steps = MINOR_SCALE if quality_of(key) == "min" else MAJOR_SCALE
    return tuple((root_of(key) + step) % 12 for step in steps)
