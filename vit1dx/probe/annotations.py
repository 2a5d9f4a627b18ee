"""Annotations of single tracks: .lab, .beats, .onsets, .notes, .csv, .txt and JAMS files."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._types import Array
from ..errors import UsageError
from .jams import events_of_jams, spans_of_jams
from .music import pitch_of
from .names import Matches, few, match
from .tables import TrackRows

#: Endings of annotation files by task, the first that a track has being read.
ENDINGS = {
    "chords": (".lab", ".chords", ".csv", ".tsv", ".txt", ".jams"),
    "keys": (".lab", ".key", ".keys", ".csv", ".tsv", ".txt", ".jams"),
    "beats": (".beats", ".lab", ".csv", ".tsv", ".txt", ".jams"),
    "downbeats": (".beats", ".lab", ".csv", ".tsv", ".txt", ".jams"),
    "onsets": (".onsets", ".lab", ".csv", ".tsv", ".txt", ".jams"),
    "notes": (".notes", ".csv", ".tsv", ".txt", ".jams"),
}
SPANS = ("chords", "keys", "notes")
#: What columns are called.
_TIMES = ("start", "time", "onset", "begin", "onset_time", "onsettime")
_ENDS = ("end", "stop", "offset", "offset_time", "offsettime")
_LABELS, _POSITIONS = ("label", "chord", "key", "value"), ("position", "beat", "beat_position")
_PITCHES = ("pitch", "midi_pitch", "midipitch", "note", "midi", *_LABELS)
#: Names of columns by task; of `beats` and `onsets` more are not read.
COLUMNS: dict[str, tuple[tuple[str, ...], ...]] = {
    "chords": (_TIMES, _ENDS, _LABELS),
    "keys": (_TIMES, _ENDS, _LABELS),
    "beats": (_TIMES,),
    "downbeats": (_TIMES, _POSITIONS),
    "onsets": (_TIMES,),
    "notes": (_TIMES, _ENDS, _PITCHES),
}


@dataclass(frozen=True)
class Annotation:
    """What is known of a track over time.

    Attributes
    ----------
    start, end : (n,) float64 arrays
        s; of events, both the same.
    labels : tuple of str
        Of spans; of events, none. Of notes, MIDI numbers.
    """

    start: Array
    end: Array
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Annotations:
    """Annotations by the id of their track.

    Attributes
    ----------
    tracks : dict of Annotation
    matches : Matches
    unread : dict of str
        Why a file could not be read, by its name.
    """

    tracks: dict[str, Annotation]
    matches: Matches
    unread: dict[str, str]


def read_folder(folder: Path, task: str, ids: Sequence[str]) -> Annotations:
    """Read the annotations of tracks from the files of a folder, whose names are those of tracks.

    Raises
    ------
    UsageError
        If there is no such file, none is of a track, none can be read, or two are of one track.
    """
    files = _files(folder, task)
    if not files:
        raise UsageError(f"no {', '.join(ENDINGS[task])} files in {folder}")
    found = match(files, ids)
    if not found.ids:
        raise UsageError(
            f"no annotation in {folder} is of a track of the features: there are "
            f"{few(found.missing)}, and tracks {few(ids) or 'none'}"
        )
    tracks: dict[str, Annotation] = {}
    unread: dict[str, str] = {}
    for name, track_id in found.ids.items():
        if track_id in tracks:
            others = [str(files[n]) for n, i in found.ids.items() if i == track_id]
            raise UsageError(f"{few(others)} are all annotations of track {track_id!r}")
        try:
            tracks[track_id] = read_file(files[name], task)
        except UsageError as error:
            unread[str(files[name])] = str(error)
    if not tracks:
        raise UsageError(f"no annotation of {folder} can be read: {next(iter(unread.values()))}")
    return Annotations(tracks, found, unread)


def read_rows(rows: TrackRows, task: str) -> Annotations:
    """Read the annotations of all tracks from one table, a row a span or event.

    Raises
    ------
    UsageError
        If a column is missing, or no track's rows can be read.
    """
    columns = [
        rows.table.guess(each, f"a column {each[0]!r}", [rows.track_column], alone=False)
        for each in COLUMNS[task]
    ]
    tracks: dict[str, Annotation] = {}
    unread: dict[str, str] = {}
    for track_id, found in rows.rows.items():
        lines = [(n, [row.get(c, "") for c in columns]) for n, row in enumerate(found, 1)]
        try:
            tracks[track_id] = _of_lines(lines, task)
        except ValueError as error:
            unread[track_id] = f"its {error}"
    if not tracks:
        raise UsageError(f"{rows.table.path}, {' of '.join(next(iter(unread.items()))[::-1])}")
    return Annotations(tracks, rows.matches, unread)


def _files(folder: Path, task: str) -> dict[str, Path]:
    """Annotation files by their path in the folder, without ending."""
    order = {ending: place for place, ending in enumerate(ENDINGS[task])}
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        place = order.get(path.suffix.lower())
        if place is None or path.name.startswith(".") or not path.is_file():
            continue
        name = str(path.relative_to(folder).with_suffix("")).replace("\\", "/")
        if name not in found or order[found[name].suffix.lower()] > place:
            found[name] = path
    return found


def read_file(path: Path, task: str) -> Annotation:
    """Read one annotation file.

    Raises
    ------
    UsageError
        If it is not what its ending and the task say; the message names it and the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"{path}: {reason}") from None
    try:
        if path.suffix.lower() == ".jams":
            if task in SPANS:
                return _spans_of(spans_of_jams(text, task))
            return _events_of(events_of_jams(text, task))
        return _of_lines(list(_rows(text, path.suffix.lower(), _MOST_CELLS.get(task, 0))), task)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: {error}") from None


_Line = tuple[int, list[str]]  # its number, its cells
#: Cells of a line of text, of which the last may have blanks in it.
_MOST_CELLS = {"chords": 3, "keys": 3, "beats": 2, "downbeats": 2, "onsets": 2}


def _of_lines(lines: list[_Line], task: str) -> Annotation:
    return _spans(lines, task) if task in SPANS else _events(lines, task)


def _rows(text: str, ending: str, columns: int) -> Iterator[_Line]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if ending in (".csv", ".tsv"):
            delimiter = max("\t,;", key=line.count)
            yield number, [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]
        else:
            comma = "," in line.split()[0]
            yield number, line.strip().split("," if comma else None, maxsplit=columns - 1)


def _spans(rows: list[_Line], task: str) -> Annotation:
    rows, (start, end, label) = _columns(rows, COLUMNS[task])
    found = []
    for number, cells in rows:
        if len(cells) <= max(start, end, label):
            third = "pitch" if task == "notes" else "label"
            raise ValueError(f"line {number} is {' '.join(cells)!r}; start, end and {third} needed")
        times = _number(cells[start], number), _number(cells[end], number)
        text = cells[label].strip()
        found.append((*times, pitch_of(text, f"line {number}") if task == "notes" else text))
    return _spans_of(found)


def _events(rows: list[_Line], task: str) -> Annotation:
    rows, (time, position) = _columns(rows, (_TIMES, _POSITIONS))
    found = []
    for number, cells in rows:
        if task == "downbeats":
            if len(cells) <= position:
                raise ValueError(f"line {number} is {cells[0]!r}; downbeats need a position, 1")
            # "3" is a place in the bar; "12.3" is bar 12, place 3.
            place = cells[position].split()[-1]
            if float(place) != 1 and not place.endswith(".1"):
                continue
        found.append(_number(cells[time], number))
    return _events_of(found)


def _columns(
    rows: list[_Line], names: Sequence[Sequence[str]]
) -> tuple[list[_Line], tuple[int, ...]]:
    """Rows without a line of names, and the places of columns: by these names, or in order."""
    default = tuple(range(len(names)))
    if not rows or _is_number(rows[0][1][0]):
        return rows, default
    head = [cell.lower() for cell in rows[0][1]]
    if not set(names[0]) & set(head):
        raise ValueError(f"line {rows[0][0]} is {' '.join(rows[0][1])!r}; a time is needed")
    places = (next((head.index(n) for n in each if n in head), None) for each in names)
    return rows[1:], tuple(
        place if found is None else found for place, found in zip(default, places, strict=True)
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(text: str, line: int) -> float:
    if not _is_number(text) or not math.isfinite(float(text)):
        raise ValueError(f"line {line} has {text!r} where a time in seconds is needed")
    return float(text)


def _spans_of(rows: Sequence[tuple[float, float, str]]) -> Annotation:
    for start, end, label in rows:
        if end < start:
            raise ValueError(f"{label!r} ends at {end} s, before it starts at {start} s")
    starts, ends = (np.array([row[column] for row in rows], float) for column in (0, 1))
    return Annotation(starts, ends, tuple(str(row[2]) for row in rows))


def _events_of(times: Sequence[float]) -> Annotation:
    ascending = np.sort(np.asarray(times, float))
    return Annotation(ascending, ascending)
