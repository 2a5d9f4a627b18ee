"""A folder of shards, written and read as one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import h5py

from ..errors import StoreError, TrackError, WriteError
from .commit import journal_path
from .existing import require_replaceable, why_not_extended
from .format import Heading
from .index import Row
from .matrix import no_track
from .place import feature_files, locked_shards, shard_number, shard_path
from .reader import FeatureFile, Features
from .track import TrackWriter
from .writer import FeatureWriter, Output

#: Room kept in a shard for what HDF5 adds at a commit: new chunks of the tables.
TABLES_BYTES = 256 << 10


class Shard(FeatureWriter):
    """A shard being written: keeps room for the tracks that grow in it.

    Parameters
    ----------
    path : Path
    header : Heading
    """

    def __init__(self, path: Path, header: Heading) -> None:
        self._growing: dict[str, tuple[TrackWriter, int]] = {}
        super().__init__(path, header, shard=shard_number(path))

    @property
    def is_growing(self) -> bool:
        """Whether tracks of it are not finished yet."""
        return bool(self._growing)

    def has_room(self, size: int, limit: float) -> bool:
        """Whether so many bytes fit, too; a shard with nothing in it takes any track."""
        promised = sum(max(0, due - track.written) for track, due in self._growing.values())
        used = self.size + promised + TABLES_BYTES + self.means.chunk_bytes
        is_new = self.size < TABLES_BYTES and not (self.index or self.failures or self._growing)
        return is_new or used + size <= limit

    def begin(self, track_id: str, size: int = 0) -> TrackWriter:
        """See `Output`."""
        track = super().begin(track_id)
        self._growing[track_id] = track, size
        return track

    def link(self, track_id: str, group: h5py.Group, attributes: Mapping[str, Any]) -> None:
        """See `vit1dx.store.track.Home`."""
        super().link(track_id, group, attributes)
        self.drop(track_id)

    def drop(self, track_id: str) -> None:
        """Keep room for a track no longer."""
        self._growing.pop(track_id, None)


class FolderWriter(Output):
    """A folder of shards being written, new or extended.

    Parameters
    ----------
    folder : Path
    header : Heading
        Of the shards to be made; one that exists keeps its own.
    limit : int
        Most bytes of a shard, but for one with a single track that is larger.
    overwrite : bool
        Remove the shards that are there.
    sealed : callable
        Called with the path of each shard that is done and closed.

    Raises
    ------
    StoreError
        If no shard can be made, or the last one cannot be extended.
    """

    def __init__(
        self,
        folder: Path,
        header: Heading,
        limit: int,
        overwrite: bool = False,
        sealed: Callable[[Path], None] = lambda path: None,
    ) -> None:
        self.path, self.limit, self._header = folder, limit, header
        self._sealed = sealed
        self._current = self._first(overwrite)
        self._open = [self._current]

    def _first(self, overwrite: bool) -> Shard:
        """The shard to begin with."""
        shards = feature_files(self.path)
        if overwrite:
            remove_shards(shards)
        number = 0 if overwrite or not shards else _number_to_continue(shards[-1])
        return Shard(shard_path(self.path, number), self._header)

    def _next(self) -> Shard:
        """The one after the current."""
        number = shard_number(self._current.path) + 1
        return Shard(shard_path(self.path, number), self._header)

    @property
    def open_shards(self) -> list[Path]:
        """Shards that something may still be written to."""
        return [shard.path for shard in self._open]

    def require_place(self, track_id: str) -> None:
        """See `Output`."""
        self._current.require_place(track_id)

    def begin(self, track_id: str, size: int = 0) -> TrackWriter:
        """See `Output`; a track is finished in the shard where it began."""
        self._make_room(size)
        return self._current.begin(track_id, size)

    def fail(self, track_id: str, reason: str, size: int = 0, mtime_ns: int = 0) -> str:
        """See `Output`."""
        for shard in self._open:
            shard.drop(track_id)
        self._make_room(len(reason))
        return self._current.fail(track_id, reason, size, mtime_ns)

    def commit(self) -> None:
        """Make what was finished last.

        Raises
        ------
        WriteError
            If that cannot be.
        """
        for shard in self._open:
            shard.commit()

    def commit_if_due(self) -> None:
        """See `Output`; also closes shards that are done."""
        for shard in list(self._open):
            if shard is self._current or shard.is_growing:
                shard.commit_if_due()
            else:
                self._open.remove(shard)
                shard.close()
                self._sealed(shard.path)

    def close(self) -> None:
        """See `Output`."""
        try:
            while self._open:
                shard = self._open.pop(0)
                shard.finished = self.finished
                shard.close()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """See `Output`."""
        while self._open:
            self._open.pop().abandon()

    def _make_room(self, size: int) -> None:
        """Begin the next shard if this one has no room for so many bytes."""
        if self._current.has_room(size, self.limit):
            return
        try:
            self._current = self._next()
        except StoreError as error:
            raise WriteError(
                f"{error}; what was finished is kept, and the same command continues where it "
                "stopped"
            ) from None
        self._open.append(self._current)


def _number_to_continue(last: Path) -> int:
    """That of the last shard, or where it cannot be extended, of the next that is free."""
    locked = locked_shards(last.parent)
    if locked and shard_number(locked[-1]) >= shard_number(last):  # another process writes it
        return shard_number(locked[-1]) + 1
    return shard_number(last) + bool(why_not_extended(last))


def remove_shards(shards: list[Path]) -> None:
    """Remove shards, the last one first, so that what a kill leaves is what an earlier run left.

    Raises
    ------
    StoreError
        If one cannot be removed, or is no feature file.
    """
    for path in shards:
        require_replaceable(path)
    for path in reversed(shards):
        try:
            path.unlink()
        except OSError as error:
            raise StoreError(f"{path} cannot be removed: {error.strerror}") from None
        with suppress(OSError):
            journal_path(path).unlink()


#: Shards open at a time.
OPEN_SHARDS = 8
#: What shards of one folder have in common.
SHARED = ("model_sha256", "precision", "config")

_T = TypeVar("_T")


class FeatureFolder(Features):
    """A folder of shards, open for reading: the tracks that are there when it is first looked at.

    A track in a later shard overrides one in an earlier. A shard is opened when it is needed, and
    closed when others are; its tracks open it again.

    Parameters
    ----------
    path : path

    Raises
    ------
    StoreError
        If there are no shards, or they are not of one kind.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, self._place = Path(path), os.path.abspath(path)
        self._shards = feature_files(Path(self._place))
        if not self._shards:
            raise StoreError(f"no feature files in {path}")
        self._open: dict[Path, FeatureFile] = {}
        self._is_closed = False
        self._guard = threading.RLock()
        self._first: FeatureFile | None = None
        try:
            first, last = (self._shard(self._shards[place]) for place in (0, -1))
        except StoreError:
            self.close()
            raise
        self.layers, self.config = first.layers, first.config
        self.attributes = {**first.attributes, "finished": last.attributes.get("finished", 0)}
        del self.attributes["shard"]

    def index(self) -> dict[str, Row]:
        """See `Features`."""
        return {key: row for key, (_, row) in self._tables[0].items()}

    def failed(self) -> dict[str, Row]:
        """See `Features`."""
        return self._tables[1]

    def close(self) -> None:
        """See `Features`."""
        self._is_closed = True
        while self._open:
            self._open.popitem()[1].close()

    @cached_property
    def _tables(self) -> tuple[dict[str, tuple[Path, Row]], dict[str, Row]]:
        """Each track with its shard and its row, and each failure with its row."""
        index: dict[str, tuple[Path, Row]] = {}
        failures: dict[str, Row] = {}
        for path in self._shards:
            shard = self._shard(path)
            for key, row in shard.index().items():
                failures.pop(key, None)
                index[key] = path, row
            failures.update(shard.failed())  # in one shard, a failure came after the track
        return index, failures

    def _shard(self, path: Path) -> FeatureFile:
        """A shard, opened if it is not; the one that was not needed for longest is closed then."""
        if self._is_closed:
            raise StoreError(f"{self.path} was closed")
        shard = self._open.pop(path) if path in self._open else FeatureFile(path)
        self._open[path] = shard
        self._first = shard if self._first is None else self._first
        strange = why_no_shard(shard, self._first)
        if strange:
            raise StoreError(f"{shard.path} {strange}")
        if len(self._open) > OPEN_SHARDS:
            self._open.pop(next(iter(self._open))).close()
        return shard

    def visit(self, track_id: str, take: Callable[[h5py.Group], _T]) -> _T:
        """See `Features`."""
        with self._guard:
            return self._shard(self._home(track_id)).visit(track_id, take)

    def _home(self, track_id: str) -> Path:
        if not self.has(track_id):
            raise TrackError(no_track(track_id, self))
        return self._tables[0][track_id][0]

    def has(self, track_id: str) -> bool:
        """See `Features`."""
        return track_id in self._tables[0]

    def files(self, track_ids: Iterable[str]) -> dict[str, str]:
        """See `Features`."""
        found: dict[str, str] = {}
        for shard, ids in self.homes(track_ids):
            found.update(shard.files(ids))
        return found

    def homes(self, track_ids: Iterable[str]) -> Iterator[tuple[FeatureFile, list[str]]]:
        """See `Features`."""
        found: dict[Path, list[str]] = {}
        for track_id in track_ids:
            found.setdefault(self._home(track_id), []).append(track_id)
        for path, ids in sorted(found.items()):
            yield self._shard(path), ids

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._tables[0]))

    def __len__(self) -> int:
        return len(self._tables[0])


def open_features(path: str | os.PathLike[str]) -> Features:
    """Open a feature file, or a folder of shards; also ``vit1dx.open``.

    Raises
    ------
    StoreError
        If there is nothing, or no feature file of a known version.

    Examples
    --------
    >>> with vit1dx.open("feats.h5") as features:  # doctest: +SKIP
    ...     for track in features.values():
    ...         tokens = track.read("sequence_tokens", layer=8, start=10.0, stop=20.0)
    """
    return FeatureFolder(path) if os.path.isdir(path) else FeatureFile(path)


def why_no_shard(file: FeatureFile, first: FeatureFile) -> str:
    """Why a feature file is no shard of the folder that begins with `first`; empty if it is."""
    if "shard" not in file.attributes:
        return "was made as one file, and is no shard of this folder"
    if _made(file.attributes) != _made(first.attributes):
        return f"was made differently from {first.path.name}, and is no shard of the same folder"
    return ""


def _made(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: attributes.get(key) for key in SHARED}
