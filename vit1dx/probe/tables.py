"""Tables of tracks: CSV, TSV or JSON lines, a row a track and label."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from .names import Matches, few, match

#: What the column of tracks is called, the likeliest first.
TRACK_COLUMNS = (
    *("track", "track_id", "trackid", "id", "path", "track_path", "audio", "audio_path"),
    *("file", "filename", "file_name", "filepath", "file_path", "mp3_path", "clip", "clip_id"),
    *("song", "song_id", "name"),
)
#: What the column of labels is called, the likeliest first.
LABEL_COLUMNS = ("label", "labels", "class", "tag", "tags", "target", "value", "genre", "y")
DELIMITERS = "\t,;"

Row = dict[str, str]


@dataclass(frozen=True)
class Table:
    """Rows of text, by the names of their columns."""

    path: Path
    columns: tuple[str, ...]
    rows: list[Row]

    def require(self, column: str, option: str) -> str:
        """A column that was asked for.

        Raises
        ------
        UsageError
            If there is none of this name.
        """
        if column not in self.columns:
            raise UsageError(
                f"{option} {column!r}: {self.path} has the columns {', '.join(self.columns)}"
            )
        return column

    def guess(
        self, names: Sequence[str], option: str, but: Iterable[str] = (), alone: bool = True
    ) -> str:
        """The first column of some usual names, or (`alone`) the only one that there is.

        Raises
        ------
        UsageError
            If there is none.
        """
        left = [column for column in self.columns if column not in set(but)]
        spelt = {column.strip().lower().replace(" ", "_"): column for column in reversed(left)}
        for name in names:
            if name in spelt:
                return spelt[name]
        if alone and len(left) == 1:
            return left[0]
        raise UsageError(
            f"{option} is needed: {self.path} has the columns {', '.join(self.columns)} "
            "(by its first line)"
        )


def read_table(path: Path) -> Table:
    """Read a table; what ends in ``.jsonl`` is JSON lines, anything else has a first line of names.

    Raises
    ------
    UsageError
        If it cannot be read, or has no rows.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"labels {path}: {reason}") from None
    columns, rows = (_json_lines if path.suffix == ".jsonl" else _separated)(text, path)
    if not rows:
        raise UsageError(f"labels {path}: no rows; a first line of names and a row a track follow")
    return Table(path, columns, rows)


def _separated(text: str, path: Path) -> tuple[tuple[str, ...], list[Row]]:
    first = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    try:
        lines = [line for line in csv.reader(text.splitlines(), delimiter=delimiter) if any(line)]
    except csv.Error as error:
        raise UsageError(f"labels {path}: {error}") from None
    if not lines:
        return (), []
    columns = tuple(name.strip() for name in lines[0])
    return columns, [dict(zip(columns, line, strict=False)) for line in lines[1:]]


def _json_lines(text: str, path: Path) -> tuple[tuple[str, ...], list[Row]]:
    rows: list[Row] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows.append({key: _text(value) for key, value in json.loads(line).items()})
        except (ValueError, AttributeError):
            raise UsageError(f"labels {path}, line {number}: no JSON object") from None
    return tuple(dict.fromkeys(key for row in rows for key in row)), rows


def _text(value: object) -> str:
    return "" if value is None else str(value)


@dataclass(frozen=True)
class TrackRows:
    """Rows of a table by the id of their track, which may have several.

    Attributes
    ----------
    table : Table
    track_column : str
    rows : dict of lists of dict
    matches : Matches
    """

    table: Table
    track_column: str
    rows: dict[str, list[Row]]
    matches: Matches

    def column(self, name: str) -> dict[str, list[str]]:
        """All values of a column that say something, by track."""
        return {
            track_id: values
            for track_id, rows in self.rows.items()
            if (values := [value for row in rows if says(value := row.get(name, ""))])
        }

    def single(self, name: str) -> dict[str, str]:
        """The value of a column, by track.

        Raises
        ------
        UsageError
            If a track has two.
        """
        found = self.column(name)
        for track_id, values in found.items():
            if len(set(values)) > 1:
                raise UsageError(
                    f"{track_id} has {len(set(values))} values of {name!r} in {self.table.path} "
                    f"({few(values)}); one a track is needed, or --task tags"
                )
        return {track_id: values[0] for track_id, values in found.items()}


def says(text: str) -> bool:
    """Whether a cell says something: it is not empty, and no NaN."""
    text = text.strip()
    if not text:
        return False
    try:
        return not math.isnan(float(text))
    except ValueError:
        return True


def by_track(table: Table, ids: Sequence[str], track_column: str | None) -> TrackRows:
    """Rows of a table by the tracks that they are of.

    Raises
    ------
    UsageError
        If there is no such column, or no row is of a track.
    """
    if track_column is None:
        column = table.guess(TRACK_COLUMNS, "--track-column")
    else:
        column = table.require(track_column, "--track-column")
    found = match((row[column] for row in table.rows if row.get(column)), ids)
    if not found.ids:
        raise UsageError(
            f"no {column!r} of {table.path} is a track of the features: there are "
            f"{few(found.missing) or 'none'}, and tracks {few(ids) or 'none'}"
        )
    rows: dict[str, list[Row]] = {}
    for row in table.rows:
        if (name := row.get(column, "")) in found.ids:
            rows.setdefault(found.ids[name], []).append(row)
    return TrackRows(table, column, rows, found)
