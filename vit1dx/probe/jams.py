"""JAMS files: the annotation of one task among those of a track.

Humphrey et al., "JAMS: a JSON annotated music specification for reproducible MIR research",
ISMIR 2014.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, TypeAlias

from .music import pitch_of

Row: TypeAlias = "dict[str, Any]"
#: Namespaces of JAMS by task.
NAMESPACES = {
    "chords": ("chord", "chord_harte"),
    "keys": ("key_mode",),
    "beats": ("beat", "beat_position"),
    "downbeats": ("beat", "beat_position"),
    "onsets": ("onset",),
    "notes": ("note_midi", "pitch_midi", "note_hz", "pitch_hz"),
}


def spans_of_jams(text: str, task: str) -> list[tuple[float, float, str]]:
    """Start and end (s) and label, or MIDI number, of chords, keys or notes.

    Raises
    ------
    ValueError, KeyError, TypeError, AttributeError
        If it is no JAMS file, or has nothing for the task.
    """
    if task == "notes":
        return list(_notes(_annotations(text, task)))
    return [(*_times(row), str(row["value"])) for row in _rows(_annotations(text, task)[0])]


def events_of_jams(text: str, task: str) -> list[float]:
    """Times of beats, downbeats or onsets, s; raises as `spans_of_jams` does."""
    rows = _rows(_annotations(text, task)[0])
    return [float(row["time"]) for row in rows if task != "downbeats" or _is_first(row["value"])]


def _annotations(text: str, task: str) -> list[Row]:
    """Annotations in the namespaces of a task, in the order of the file."""
    wanted = NAMESPACES[task]
    found = [each for each in json.loads(text)["annotations"] if each["namespace"] in wanted]
    if not found:
        raise ValueError(f"no annotation in the namespaces {', '.join(wanted)}")
    return found


def _rows(annotation: Row) -> list[Row]:
    data = annotation["data"]
    if isinstance(data, dict):  # columns, as large annotations are written
        return [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
    return list(data)


def _times(row: Row) -> tuple[float, float]:
    start = float(row["time"])
    return start, start + float(row["duration"])


def _is_first(value: Any) -> bool:
    """Whether a beat is the first of its bar."""
    return (value.get("position") if isinstance(value, dict) else value) == 1


def _notes(annotations: list[Row]) -> Iterator[tuple[float, float, str]]:
    """Notes of all annotations in the best namespace that there is: of a guitar, one a string."""
    best = min((each["namespace"] for each in annotations), key=NAMESPACES["notes"].index)
    for annotation in annotations:
        for row in _rows(annotation) if annotation["namespace"] == best else ():
            number = _midi(row["value"], best)
            if number is not None:
                yield (*_times(row), pitch_of(str(number), f"the note at {row['time']} s"))


def _midi(value: Any, namespace: str) -> float | None:
    """The MIDI number of a value; None of what has no pitch."""
    if value is None or float(value) <= 0:
        return None
    return 69 + 12 * math.log2(float(value) / 440) if namespace.endswith("_hz") else float(value)
