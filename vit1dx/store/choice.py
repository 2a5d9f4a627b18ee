"""Which track of which file a merge takes: known of millions of tracks in little memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..errors import UsageError
from .index import Row

#: Which of several tracks of one id is taken: that of the newest audio file, none, or the first.
Duplicates = Literal["newer", "error", "first"]
#: A record of a failure: id, reason, size and time of the file, and the segment.
Failure: TypeAlias = tuple[str, str, int, int, str]
#: What a track was made of: size and time of its file, duration (s), and segment.
MadeOf: TypeAlias = tuple[int, int, float, str]

_SCHEMA = """
CREATE TABLE tracks (id TEXT PRIMARY KEY, unit INTEGER, place INTEGER, input INTEGER, size INTEGER,
    mtime_ns INTEGER, duration REAL, segment TEXT, created TEXT, held INTEGER) WITHOUT ROWID;
CREATE TABLE failures (id TEXT PRIMARY KEY, unit INTEGER, input INTEGER, reason TEXT, size INTEGER,
    mtime_ns INTEGER, segment TEXT) WITHOUT ROWID;
CREATE TABLE selected (id TEXT PRIMARY KEY) WITHOUT ROWID;
BEGIN"""
#: A failure is carried over where no track is there, or the track is that of the file as it was
#: before.
_FAILURES = """
SELECT f.id, f.reason, f.size, f.mtime_ns, f.segment
FROM failures f LEFT JOIN tracks t ON t.id = f.id
WHERE t.id IS NULL OR f.unit = t.unit
    OR (f.mtime_ns > t.mtime_ns AND NOT (f.input = t.input AND f.unit < t.unit))"""


@dataclass(frozen=True)
class Unit:
    """A feature file to take tracks from.

    Attributes
    ----------
    path : Path
        The file, or a shard.
    input : int
        Which of the inputs it is, or belongs to. Of one input, later units override earlier ones.
    created : str
        When it was made, ISO 8601.
    """

    path: Path
    input: int
    created: str


class Choice:
    """The tracks to take, each once; a context manager.

    Parameters
    ----------
    duplicates : {"newer", "error", "first"}
        See `vit1dx.store.merge.merge`.
    select : sequence of str, optional
        Ids of the only tracks to take.

    Attributes
    ----------
    duplicates : int
        Tracks that were met in several inputs.
    """

    def __init__(self, duplicates: Duplicates, select: Sequence[str] | None = None) -> None:
        self.duplicates = 0
        self._policy, self._select = duplicates, select
        self._units: list[Unit] = []
        self._counts: list[int] = []  # of tracks that each holds
        self._base = sqlite3.connect("", isolation_level=None)  # on the disk once it is large
        self._base.executescript(_SCHEMA)
        rows = ((key,) for key in dict.fromkeys(select or ()))
        self._base.executemany("INSERT INTO selected VALUES (?)", rows)

    def add(self, unit: Unit, tracks: dict[str, Row], failures: dict[str, Row]) -> None:
        """Take note of what a file holds.

        Raises
        ------
        UsageError
            If another input has one of the tracks, and that is refused.
        """
        number = len(self._units)
        self._units.append(unit)
        self._counts.append(len(tracks))
        for place, (key, row) in enumerate(tracks.items()):
            if self._is_selected(key) and self._is_better(key, row, unit):
                self._put("tracks", key, number, place, unit.input, *_made_of(row), unit.created, 0)
        for key, row in failures.items():
            if self._is_selected(key) and self._is_later(key, row, unit):
                self._put("failures", key, number, unit.input, *failure_of(key, row)[1:])

    def _put(self, table: str, *row: Any) -> None:
        marks = ",".join("?" * len(row))
        self._base.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", row)

    def _is_selected(self, key: str) -> bool:
        return self._select is None or self._one("SELECT 1 FROM selected WHERE id = ?", key) != ()

    def _is_better(self, key: str, row: Row, unit: Unit) -> bool:
        query = "SELECT unit, input, mtime_ns, created FROM tracks WHERE id = ?"
        known = self._one(query, key)
        if not known or known[1] == unit.input:
            return True
        self.duplicates += 1
        if self._policy == "error":
            raise UsageError(
                f"track {key} is in {self._units[known[0]].path} and in {unit.path}; --duplicates "
                "newer or first takes one of them"
            )
        return self._policy == "newer" and (row["mtime_ns"], unit.created) > known[2:]

    def _is_later(self, key: str, row: Row, unit: Unit) -> bool:
        known = self._one("SELECT input, mtime_ns FROM failures WHERE id = ?", key)
        return not known or known[0] == unit.input or row["mtime_ns"] > known[1]

    def _one(self, query: str, key: str) -> tuple[Any, ...]:
        return self._base.execute(query, (key,)).fetchone() or ()

    def __len__(self) -> int:
        """How many tracks there are to take."""
        return int(self._base.execute("SELECT COUNT(*) FROM tracks").fetchone()[0])

    def missing(self) -> dict[str, str]:
        """Ids that were selected and are nowhere, with the reason where their files failed."""
        query = """SELECT s.id, COALESCE(f.reason, '') FROM selected s
            LEFT JOIN failures f ON f.id = s.id
            WHERE NOT EXISTS (SELECT 1 FROM tracks t WHERE t.id = s.id)"""
        return dict(self._base.execute(query))

    def rows(self) -> Iterator[tuple[str, MadeOf]]:
        """Each track, with what it was made of."""
        query = "SELECT id, size, mtime_ns, duration, segment FROM tracks"
        return ((key, (size, *rest)) for key, size, *rest in self._base.execute(query))

    def keeps(self, there: Row | None, row: MadeOf) -> bool:
        """Whether a track of the output stays, where a chosen one was made of this."""
        if there is None:
            return False
        if _made_of(there) == row:
            return True
        return self._policy == "first" or there["mtime_ns"] > row[1]

    def hold(self, ids: Sequence[str]) -> None:
        """Take note that the output has tracks."""
        self._base.executemany("UPDATE tracks SET held = 1 WHERE id = ?", ((key,) for key in ids))

    def whole(self) -> Iterator[tuple[int, Unit]]:
        """The files of which all tracks are to be copied, each with its number."""
        query = "SELECT unit, COUNT(*) FROM tracks WHERE NOT held GROUP BY unit ORDER BY unit"
        for number, count in self._base.execute(query).fetchall():
            if count == self._counts[number]:
                yield number, self._units[number]

    def hold_all(self, number: int) -> None:
        """Take note that the output has all tracks of a file."""
        self._order()
        self._base.execute("UPDATE tracks SET held = 1 WHERE unit = ?", (number,))

    def tracks(self) -> Iterator[tuple[Unit, Iterator[str]]]:
        """The files to take tracks from, each with those to copy, in the order of its index."""
        self._order()
        query = "SELECT id FROM tracks WHERE unit = ? AND NOT held ORDER BY place"
        for number, unit in enumerate(self._units):
            rows = self._base.execute(query, (number,))
            yield unit, (key for (key,) in rows)

    def _order(self) -> None:
        self._base.execute("CREATE INDEX IF NOT EXISTS by_unit ON tracks (unit, place)")

    def failures(self) -> Iterator[Failure]:
        """Records of failures to carry over."""
        return iter(self._base.execute(_FAILURES))

    def __enter__(self) -> Choice:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()


def failure_of(key: str, row: Row) -> Failure:
    """A row of ``/failures``, as it is carried over."""
    return key, row["reason"], row["size"], row["mtime_ns"], row.get("segment", "")


def _made_of(row: Row) -> MadeOf:
    return row["size"], row["mtime_ns"], row["duration"], row.get("segment", "")
