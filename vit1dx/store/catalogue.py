"""One index over all shards of a folder, ``index.sqlite``: what is where, without opening them.

It holds nothing that the shards do not. Each shard is in it with its size and time, and counts as
long as it has those; what is new or was written since is read from the shards themselves, and put
into the file by the first reader that finds much of it and may write there.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..remote import AnyPath
from .index import FAILURES, INDEX, Row
from .journal import journal_path
from .lock import is_locked
from .place import CATALOGUE_NAME, part_of, shard_number

#: Shards that are read one by one before the index is written anew.
MANY_SHARDS = 8
#: A file that was written within so many seconds may be again without another time.
SETTLED = 2.0
#: Rows fetched at a time.
ROWS = 10_000

_PART_BITS = 40
_KINDS = {"int64": "INTEGER", "float64": "REAL", "str": "TEXT"}
_EMPTY = {"int64": 0, "float64": 0.0, "str": ""}
_TABLES = {"tracks": INDEX, "failures": FAILURES}


def key_of(path: AnyPath) -> int:
    """What a shard goes by, later ones by larger numbers: its part's number and its own."""
    part = part_of(path.parent)
    return ((part.number if part else 0) << _PART_BITS) + shard_number(path)


@dataclass(frozen=True)
class Contents:
    """What a shard holds."""

    tracks: Mapping[str, Row]
    failures: Mapping[str, Row]
    finished: bool


class Catalogue:
    """Tracks and failures of the shards of a folder, as they are when it is made.

    Parameters
    ----------
    folder : Path or RemotePath
        Behind a URL, there is no index, and each shard is read.
    shards : sequence of Path or RemotePath
        In order: what a later one holds overrides what an earlier one does.
    read : callable
        Gives the contents of a shard.
    """

    def __init__(
        self, folder: AnyPath, shards: Sequence[AnyPath], read: Callable[[AnyPath], Contents]
    ) -> None:
        self._read = read
        self._path = folder / CATALOGUE_NAME if isinstance(folder, Path) else None
        self._paths = {key_of(path): path for path in shards}
        self._loaded = False
        self._connect()

    def _connect(self, ignored: bool = False) -> None:
        self._file = _opened(None if ignored else self._path)
        self._is_ignored = ignored
        stamps = {key: stamp for key, *stamp in self._file.execute("SELECT * FROM main.shards")}
        self._finished = {key: bool(stamp.pop()) for key, stamp in stamps.items()}
        self._loose = {
            key: path for key, path in self._paths.items() if stamps.get(key, []) != _stamp(path)
        }
        all_count = not (set(stamps) - set(self._paths) or set(stamps) & set(self._loose))
        for table in _TABLES:
            where = "" if all_count else "WHERE shard IN fresh"
            self._file.execute(
                f"CREATE TEMP VIEW every_{table} AS SELECT * FROM main.{table} {where} "
                f"UNION ALL SELECT * FROM temp.{table}"
            )
        fresh = [(key,) for key in self._paths if key not in self._loose]
        self._file.executemany("INSERT INTO temp.fresh VALUES (?)", fresh)

    def is_finished(self, shard: AnyPath) -> bool | None:
        """Whether the run that wrote a shard came to its end; None if the shard must be asked."""
        key = key_of(shard)
        return None if key in self._loose else self._finished[key]

    def _ask(self, query: str, *values: Any) -> list[Any]:
        """Rows; where the index turns out to be damaged, of the shards themselves."""
        try:
            return self._load().execute(query, values).fetchall()
        except sqlite3.DatabaseError:
            if self._is_ignored:
                raise
            self._file.close()
            self._connect(ignored=True)
            self._loaded = False
            return self._load().execute(query, values).fetchall()

    def _load(self) -> sqlite3.Connection:
        """The connection, with all shards in it."""
        if not self._loaded:
            settled = [key for key, path in self._loose.items() if _is_settled(path)]
            if len(settled) > MANY_SHARDS:
                self._rewrite(settled)
            for key, path in self._loose.items():
                _insert(self._file, "temp", key, self._read(path))
            self._loaded = True
        return self._file

    def _rewrite(self, settled: Sequence[int]) -> None:
        """Write the index anew, with these shards too; where that may not be, leave it."""
        assert self._path is not None
        new = self._path.with_name(f".{CATALOGUE_NAME}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            with closing(sqlite3.connect(new, isolation_level=None)) as file:
                file.execute("PRAGMA journal_mode = OFF")
                file.execute("PRAGMA synchronous = OFF")
                file.execute("BEGIN")
                _create(file, "main")
                self._copy_fresh(file)
                for key in settled:
                    self._add(file, key, self._loose[key])
                file.execute("COMMIT")
            with new.open("rb+") as written:
                os.fsync(written.fileno())
            os.replace(new, self._path)
        except (OSError, sqlite3.OperationalError):  # a folder, or a disk, that takes no more files
            return
        finally:
            with suppress(OSError):
                new.unlink(missing_ok=True)
        self._file.close()
        self._connect()

    def _copy_fresh(self, file: sqlite3.Connection) -> None:
        for table in ("shards", *_TABLES):
            rows = self._file.execute(f"SELECT * FROM main.{table} WHERE shard IN fresh")
            marks = ",".join("?" * len(rows.description))
            file.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)

    def _add(self, file: sqlite3.Connection, key: int, path: AnyPath) -> None:
        """Put a shard in, unless it is written meanwhile."""
        stamp = _stamp(path)
        contents = self._read(path)
        if stamp is not None and _stamp(path) == stamp:
            _insert(file, "main", key, contents)
            row = (key, *stamp, contents.finished)
            file.execute("INSERT INTO shards VALUES (?, ?, ?, ?)", row)

    def shard_of(self, track_id: str) -> AnyPath | None:
        """The shard that a track is in; None if there is none."""
        query = "SELECT shard FROM every_tracks WHERE id = ? ORDER BY shard DESC LIMIT 1"
        found = self._ask(query, track_id)
        return self._paths[found[0][0]] if found else None

    def row(self, track_id: str) -> Row | None:
        """The row of one track; None if there is none."""
        names = ", ".join(INDEX)
        query = f"SELECT {names} FROM every_tracks WHERE id = ? ORDER BY shard DESC LIMIT 1"
        found = self._ask(query, track_id)
        return dict(zip(INDEX, found[0], strict=True)) if found else None

    def __len__(self) -> int:
        """How many tracks there are."""
        query = "SELECT COUNT(DISTINCT id) FROM every_tracks"
        return int(self._ask(query)[0][0])

    def ids_after(self, last: str) -> list[str]:
        """The next tracks, in order, some thousands; none after the last."""
        query = "SELECT DISTINCT id FROM every_tracks WHERE id > ? ORDER BY id LIMIT ?"
        return [track_id for (track_id,) in self._ask(query, last, ROWS)]

    def tracks(self) -> dict[str, Row]:
        """The row of each track."""
        return self._rows("tracks", "")

    def failures(self) -> dict[str, Row]:
        """The row of each failure, but for those that a track of a later shard overrides."""
        later = (
            "WHERE NOT EXISTS (SELECT 1 FROM every_tracks t "
            "WHERE t.id = every_failures.id AND t.shard > every_failures.shard)"
        )
        return self._rows("failures", later)

    def _rows(self, table: str, where: str) -> dict[str, Row]:
        names = list(_TABLES[table])
        query = f"SELECT id, {', '.join(names)} FROM every_{table} {where} ORDER BY id, shard"
        return {key: dict(zip(names, row, strict=True)) for key, *row in self._ask(query)}

    def close(self) -> None:
        """Close; nothing can be asked any more."""
        self._file.close()


def _opened(path: Path | None) -> sqlite3.Connection:
    """The index, read only, as it is now; an empty one where it is missing or cannot be used."""
    # Immutable: it is replaced, never changed; and no locks, which network file systems may lack.
    there = [] if path is None else [f"file:{quote(str(path))}?mode=ro&immutable=1"]
    for name in (*there, ":memory:"):
        file = None
        try:
            file = sqlite3.connect(name, uri=True, check_same_thread=False, isolation_level=None)
            if name == ":memory:":
                _create(file, "main")
            file.execute("PRAGMA temp_store = MEMORY")
            _create(file, "temp")
            file.execute("CREATE TEMP TABLE fresh (shard INTEGER PRIMARY KEY)")
            file.execute("SELECT * FROM main.shards").fetchall()
            if _columns(file, "main") == _columns(file, "temp"):
                return file
        except sqlite3.DatabaseError:
            pass
        if file is not None:
            file.close()
    raise AssertionError("an empty index can be used")


def _columns(file: sqlite3.Connection, schema: str) -> list[str]:
    return [
        column[1]
        for table in ("shards", *_TABLES)
        for column in file.execute(f"PRAGMA {schema}.table_info({table})")
    ]


def _create(file: sqlite3.Connection, schema: str) -> None:
    file.execute(
        f"CREATE TABLE {schema}.shards (shard INTEGER PRIMARY KEY, size INTEGER, mtime_ns INTEGER, "
        "finished INTEGER)"
    )
    for table, columns in _TABLES.items():
        kinds = "".join(f", {name} {_KINDS[kind]}" for name, kind in columns.items())
        file.execute(
            f"CREATE TABLE {schema}.{table} (id TEXT, shard INTEGER{kinds}, "
            "PRIMARY KEY (id, shard)) WITHOUT ROWID"
        )


def _insert(file: sqlite3.Connection, schema: str, key: int, contents: Contents) -> None:
    for table, rows in (("tracks", contents.tracks), ("failures", contents.failures)):
        empty = {name: _EMPTY[kind] for name, kind in _TABLES[table].items()}
        marks = ",".join("?" * (2 + len(empty)))
        values = (
            (track_id, key, *(row.get(name, empty[name]) for name in empty))
            for track_id, row in rows.items()
        )
        file.executemany(f"INSERT INTO {schema}.{table} VALUES ({marks})", values)


def _is_settled(shard: AnyPath) -> bool:
    """Whether no run writes a shard, and its time is old enough to tell when one has."""
    stamp = _stamp(shard)
    is_old = stamp is not None and time.time() - stamp[1] / 1e9 >= SETTLED
    return is_old and isinstance(shard, Path) and not is_locked(shard)


def _stamp(shard: AnyPath) -> list[int] | None:
    """What tells a shard from how it was; None while it has a journal, and behind a URL."""
    if not isinstance(shard, Path):
        return None
    try:
        status = shard.stat()
    except OSError:
        return None
    return None if journal_path(shard).exists() else [status.st_size, status.st_mtime_ns]
