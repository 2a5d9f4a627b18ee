"""Features, read: by track, layer and time range."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import h5py
import numpy as np

from .._types import Array
from ..errors import ForeignFileError, StoreError, TrackError
from ..remote import AnyPath, absolute, path_of
from ..tokens import Select, Track
from .committed import CommittedFile
from .format import FORMAT, FORMAT_VERSION, parse_warnings
from .index import Row, columns_of, read_ids, read_table
from .many import ManyTracks
from .matrix import no_track

#: Rows of the index read at once, in chunks.
ROWS_AT_ONCE = 4096

_F = TypeVar("_F", bound="Features")
_T = TypeVar("_T")


class StoredTrack(Track):
    """One track of open features; its arrays are read when they are asked for.

    It can be pickled, and then opens its features again by their path. Reading raises `StoreError`
    once they were closed.

    Attributes
    ----------
    id : str
        Its path below the input folder.
    layers, duration, start, pool, warnings, model
        See `vit1dx.Track`.
    attributes : dict
        ``source``, ``size``, ``mtime_ns``, ``duration`` (s), ``sample_rate`` (Hz), ``channels``,
        of a segment ``segment_start`` and ``segment_end`` (s),
        and ``warnings`` where there are any.
    """

    def __init__(self, track_id: str, features: Features) -> None:
        self.id, self._features = track_id, features
        self.layers, self.attributes = features.visit(
            track_id,
            lambda group: (tuple(int(layer) for layer in group["layer"]), plain(group.attrs)),
        )
        self.pool = features.config["request"].get("pool")
        self.warnings = tuple(parse_warnings(self.attributes.get("warnings", ())))
        made_by = map(features.attributes.get, ("model_sha256", "model_exported_from"))
        self.model = tuple(digest for digest in made_by if digest)

    @property
    def duration(self) -> float:  # type: ignore[override]
        """See `vit1dx.Track`."""
        return float(self.attributes["duration"])

    @property
    def start(self) -> float:  # type: ignore[override]
        """See `vit1dx.Track`."""
        return float(self.attributes.get("segment_start", 0.0))

    @property
    def group(self) -> h5py.Group:
        """The track as h5py has it; valid until the file is written and something else is read."""
        return self._features.visit(self.id, lambda group: group)

    def _part(self, name: str, select: Select) -> Array | None:
        def take(group: h5py.Group) -> Array | None:
            return group[name][select(group)] if name in group else None

        return self._features.visit(self.id, take)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, layers={self.layers})"


@dataclass(frozen=True)
class Parts:
    """How far the parts of a collection are.

    Attributes
    ----------
    count : int
        How many there should be.
    missing, unfinished : list of int
        Those that are not there, and those whose run did not come to its end.
    """

    count: int
    missing: list[int]
    unfinished: list[int]

    @property
    def whole(self) -> bool:
        """Whether all are there, and done."""
        return not (self.missing or self.unfinished)

    def __str__(self) -> str:
        groups = (("missing", self.missing), ("unfinished", self.unfinished))
        found = [f"{word}: {_numbers(group)}" for word, group in groups if group]
        return f"{self.count} parts; {'; '.join(found) or 'all finished'}"


def _numbers(numbers: Iterable[int]) -> str:
    """Numbers with runs of them put together: ``"1-3,7"``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)


class Features(ManyTracks, Mapping[str, StoredTrack]):
    """Features, open for reading: a mapping from track ids to tracks, and a context manager.

    They stay readable while a run adds to them. They can be pickled, with their tracks, and are
    opened again by their path where they are unpickled, as in the workers of a data loader.

    Attributes
    ----------
    path : Path or RemotePath
    layers : tuple of int
        The layers kept.
    attributes : dict
        How they were made, from the root of the file: weights, backend, versions.
    config : dict
        Front end, model, windows, and what was asked for.
    parts : Parts or None
        How far its parts are, where it is in parts.
    """

    path: AnyPath
    _place: AnyPath  # absolute: the current folder may be another when it is needed
    layers: tuple[int, ...]
    attributes: dict[str, Any]
    config: dict[str, Any]
    parts: Parts | None = None

    @property
    def failures(self) -> dict[str, str]:
        """Ids of the files that failed, each with the reason.

        One of them may be a track too: made of its file as it was before.
        """
        return {key: str(row["reason"]) for key, row in self.failed().items()}

    @abstractmethod
    def homes(self, track_ids: Iterable[str]) -> Iterator[tuple[FeatureFile, list[str]]]:
        """The feature file that each of some tracks is in, with those of them that are in it.

        Raises
        ------
        TrackError
            If a folder has no such track; a file does not look.
        """

    @abstractmethod
    def visit(self, track_id: str, take: Callable[[h5py.Group], _T]) -> _T:
        """What `take` gives of a track's group, all of it at one commit.

        Raises
        ------
        TrackError
            If there is no such track; it is a KeyError too.
        StoreError
            If it cannot be read, or these features were closed.
        """

    @abstractmethod
    def has(self, track_id: str) -> bool:
        """Whether there is such a track."""

    @abstractmethod
    def files(self, track_ids: Iterable[str]) -> dict[str, str]:
        """The audio file that each of some tracks was read from."""

    def __getitem__(self, track_id: str) -> StoredTrack:
        return StoredTrack(track_id, self)

    def __contains__(self, track_id: object) -> bool:
        return isinstance(track_id, str) and self.has(track_id)

    @abstractmethod
    def index(self) -> dict[str, Row]:
        """What ``/index`` knows of each track, without visiting it."""

    @abstractmethod
    def row(self, track_id: str) -> Row | None:
        """What ``/index`` knows of one track; None if there is none."""

    @abstractmethod
    def rows(self) -> Iterator[tuple[str, Row]]:
        """What `index` gives, some at a time: as they lie in a file; the last shard's first."""

    @abstractmethod
    def failed(self) -> dict[str, Row]:
        """What ``/failures`` knows of each file."""

    @abstractmethod
    def close(self) -> None:
        """Close; tracks can no longer be read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._place,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, layers={self.layers})"

    def __enter__(self: _F) -> _F:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def plain(attributes: h5py.AttributeManager) -> dict[str, Any]:
    """Attributes as Python's own values."""
    return {
        key: value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
        for key, value in attributes.items()
    }


class FeatureFile(Features):
    """A feature file, open for reading, as it is at its last commit whenever it is looked at.

    Whether this can be made is what tells a feature file from others, for every command.

    Parameters
    ----------
    path : path or URL
    damaged : bool
        Open a file that was cut too, to see what of it is sound.

    Raises
    ------
    StoreError
        If there is no such file, or it is damaged, or of another version; `ForeignFileError`, if
        it is not a feature file at all.
    """

    def __init__(self, path: str | os.PathLike[str], damaged: bool = False) -> None:
        self.path = path_of(path)
        self._place = absolute(self.path)
        self._committed = CommittedFile(self.path, damaged)
        self._rows: dict[str, Row] | None = None
        try:
            self._committed.read(self._read_root)
        except BaseException:
            self.close()
            raise

    def _read_root(self, file: h5py.File) -> None:
        try:
            self.attributes = plain(file.attrs)
            self._require_known_format()
            for value in self.attributes.values():
                str(value).encode()  # HDF5 guards most of a file by checksums, but not text
            self.layers = tuple(int(layer) for layer in file["layer"])
            self.config = json.loads(self.attributes["config"])
            for key in ("layers", "attention", "dtype"):
                self.config["request"][key]
        except StoreError:
            raise
        except Exception as error:  # HDF5 raises whatever a damaged byte leads to
            raise StoreError(f"{self.path} is damaged at its root: {error}") from None

    def _require_known_format(self) -> None:
        kind, version = (self.attributes.get(key) for key in ("format", "format_version"))
        if kind != FORMAT:
            raise ForeignFileError(f"{self.path} is of format {kind!r}; {FORMAT!r} is needed")
        if version != FORMAT_VERSION:
            raise StoreError(
                f"{self.path} is of version {version!r} of the format; {FORMAT_VERSION} is needed"
            )

    @property
    def committed(self) -> CommittedFile:
        """The file below."""
        return self._committed

    def index(self) -> dict[str, Row]:
        """See `Features`."""
        return self._table("index", read_table)

    def row(self, track_id: str) -> Row | None:
        """See `Features`."""
        if self._rows is None or self._committed.was_written:
            self._rows = self.index()
        return self._rows.get(track_id)

    def rows(self) -> Iterator[tuple[str, Row]]:
        """See `Features`."""
        first, found = 0, {"": Row()}
        while found:
            part = slice(first, first + ROWS_AT_ONCE)
            found = self._table("index", partial(read_table, part=part))
            yield from found.items()
            first += ROWS_AT_ONCE

    def failed(self) -> dict[str, Row]:
        """See `Features`."""
        return self._table("failures", read_table)

    def _table(self, name: str, take: Callable[[h5py.Group], _T]) -> _T:
        try:
            return self._committed.read(lambda file: take(file[name]))
        except (KeyError, OSError, ValueError, RuntimeError) as error:
            raise StoreError(
                f"/{name} of {self.path} cannot be read ({error}); 'vit1dx repair' rebuilds it"
            ) from None

    @property
    def can_grow(self) -> bool:
        """Whether its tables can take more rows."""
        return all(self._table(name, _can_grow) for name in ("index", "failures"))

    def visit(self, track_id: str, take: Callable[[h5py.Group], _T]) -> _T:
        """See `Features`."""

        def taken(file: h5py.File) -> tuple[bool, Any]:
            group = _track(file, track_id)
            return group is not None, group and take(group)

        is_there, result = self._committed.read(taken)
        if not is_there:
            raise TrackError(no_track(track_id, self))
        return result

    def has(self, track_id: str) -> bool:
        """See `Features`."""
        return self._committed.read(lambda file: _track(file, track_id) is not None)

    def homes(self, track_ids: Iterable[str]) -> Iterator[tuple[FeatureFile, list[str]]]:
        """See `Features`."""
        yield self, list(track_ids)

    def files(self, track_ids: Iterable[str]) -> dict[str, str]:
        """See `Features`."""

        def sources(file: h5py.File) -> dict[str, str]:
            found = ((key, _track(file, key)) for key in track_ids)
            return {key: str(group.attrs.get("source", "")) for key, group in found if group}

        return self._committed.read(sources)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._table("index", read_ids)))

    def __len__(self) -> int:
        return self._table("index", lambda index: len(index["id"]))

    def close(self) -> None:
        """See `Features`."""
        self._committed.close()


def _can_grow(table: h5py.Group) -> bool:
    return all(column.maxshape == (None,) for column in columns_of(table).values())


def _track(file: h5py.File, track_id: str) -> h5py.Group | None:
    """A track's group, if it is one."""
    with suppress(KeyError, ValueError):  # no such name, or one that HDF5 cannot have
        group = file["tracks"][track_id]
        if isinstance(group, h5py.Group) and "complete" in group.attrs:
            return group
    return None
