"""Tables of a feature file, a row a file: ``/index`` and ``/failures``.

Its columns are the group's data sets of one axis. A table is held in memory and written at a
commit, changed rows only, so that it costs nothing a file, and reading it does not visit the
tracks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np

from .format import attach, scale_of

#: Rows a chunk.
CHUNK = 1024
#: Bytes that a row takes in the file at most, but for its text.
ROW_BYTES = 128

INDEX = {
    "size": "int64",
    "mtime_ns": "int64",
    "duration": "float64",
    "sha256": "str",
    "segment": "str",
    "warnings": "str",
}
FAILURES = {"reason": "str", "size": "int64", "mtime_ns": "int64", "segment": "str"}
#: What a column has where nothing is known, as in a file of an earlier version.
_EMPTY: dict[str, Any] = {"str": "", "int64": 0, "float64": 0.0}

Row = dict[str, Any]


def create_table(file: h5py.File, name: str, columns: Mapping[str, str]) -> None:
    """Make an empty table: the column ``id``, the scale of its rows, and those given."""
    group = file.create_group(name)
    scale_of(_add_column(group, "id", "str", 0), "id")
    _complete(group, columns)


def _complete(group: h5py.Group, columns: Mapping[str, str]) -> None:
    """Add the columns that a table lacks, as one of an earlier version may: empty."""
    for name, kind in columns.items():
        if name not in group:
            attach(_add_column(group, name, kind, len(group["id"])), [group["id"]])


def _add_column(group: h5py.Group, name: str, kind: str, rows: int) -> h5py.Dataset:
    dtype = h5py.string_dtype() if kind == "str" else kind
    return group.create_dataset(name, (rows,), dtype, maxshape=(None,), chunks=(CHUNK,))


def read_table(group: h5py.Group, part: slice = slice(None)) -> dict[str, Row]:
    """All rows by id, or some of them."""
    names = [name for name in columns_of(group) if name != "id"]
    columns = [_values(group[name], part) for name in names]
    ids = _values(group["id"], part)
    return {
        key: dict(zip(names, row, strict=True)) for key, *row in zip(ids, *columns, strict=True)
    }


def columns_of(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """The columns of a table, by name."""
    return {name: data for name, data in group.items() if data.ndim == 1}


def read_ids(group: h5py.Group) -> list[str]:
    """The ids of all rows, in their order in the file."""
    return _values(group["id"])


def _values(data: h5py.Dataset, part: slice = slice(None)) -> list[Any]:
    return (data.asstr()[part] if h5py.check_string_dtype(data.dtype) else data[part]).tolist()


class Table(Mapping[str, Row]):
    """A table being written: a mapping from ids to rows.

    Parameters
    ----------
    group : h5py.Group
        Made by `create_table`.
    columns : mapping
        Those that it must have; what it lacks is added.

    Attributes
    ----------
    held_bytes : int
        Bytes that `write` will add to the file, at about the most, but for new chunks.
    """

    def __init__(self, group: h5py.Group, columns: Mapping[str, str]) -> None:
        _complete(group, columns)
        self._columns = columns_of(group)
        self._unknown = {name: _EMPTY[kind] for name, kind in columns.items()}
        self._rows = read_table(group)
        self._ids = list(self._rows)
        self._places = {key: place for place, key in enumerate(self._ids)}
        self._changed: set[int] = set()
        self.held_bytes = 0

    def put(self, key: str, **row: Any) -> int:
        """Set a row, and give its place."""
        if key not in self._places:
            self._places[key] = len(self._ids)
            self._ids.append(key)
        row = {**self._unknown, **row}
        self._rows[key] = row
        self._changed.add(self._places[key])
        texts = (value for value in (key, *row.values()) if isinstance(value, str))
        self.held_bytes += ROW_BYTES + sum(len(text.encode()) for text in texts)
        return self._places[key]

    def remove(self, key: str) -> None:
        """Take a row away, if it is there; the last one moves into its place."""
        if key not in self._places:
            return
        del self._rows[key]
        place, last = self._places.pop(key), self._ids.pop()
        if last != key:
            self._ids[place], self._places[last] = last, place
        self._changed.add(place)

    def write(self) -> None:
        """Bring the file up to date."""
        if not self._changed:
            return
        size = len(self._ids)
        for name, data in self._columns.items():
            data.resize((size,))
            for first, stop in runs(self._changed, size):
                ids = self._ids[first:stop]
                values = ids if name == "id" else [self._rows[key][name] for key in ids]
                data[first:stop] = np.array(values, dtype=data.dtype)
        self._changed.clear()
        self.held_bytes = 0

    def __getitem__(self, key: str) -> Row:
        return self._rows[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


def runs(places: set[int], size: int) -> Iterator[tuple[int, int]]:
    """Places below `size` as runs of consecutive ones: first, and end."""
    first = stop = -1
    for place in sorted(p for p in places if p < size):
        if place != stop:
            if stop > first:
                yield first, stop
            first = place
        stop = place + 1
    if stop > first:
        yield first, stop
