"""A folder of shards, written: one after another, each by the writer of a single feature file.

Only the last shard, and those before it in which tracks still grow, are written; a kill leaves each
at its last commit. Whatever overrides something lies in a later shard, or in the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py

from ..errors import StoreError, WriteError
from .format import Header
from .journal import journal_path
from .kind import require_replaceable, why_not_extended
from .place import Output, feature_files, shard_number, shard_path
from .writer import FeatureWriter
from .track import TrackWriter

#: Room kept in a shard for what HDF5 adds at a commit: new chunks of the tables.
TABLES_BYTES = 256 << 10


class Shard(FeatureWriter):
    """A shard being written: keeps room for the tracks that grow in it.

    Parameters
    ----------
    path : Path
    header : Header
    """

    def __init__(self, path: Path, header: Header) -> None:
        self._growing: dict[str, tuple[TrackWriter, int]] = {}
        super().__init__(path, replace(header, shard=shard_number(path)))

    @property
    def is_growing(self) -> bool:
        """Whether tracks of it are not finished yet."""
        return bool(self._growing)

    def has_room(self, size: int, limit: float) -> bool:
        """Whether so many bytes fit, too; a shard with nothing in it takes any track."""
        promised = sum(max(0, due - track.written) for track, due in self._growing.values())
        used = self.size + promised + TABLES_BYTES
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
    """A folder of shards being written, or gone on with.

    Parameters
    ----------
    folder : Path
    header : Header
        Of the shards to be made; one that is there goes on as it was made.
    limit : int
        Most bytes of a shard, but for one with a single track that is larger.
    overwrite : bool
        Remove the shards that are there.

    Raises
    ------
    StoreError
        If no shard can be made, or the last one cannot be gone on with.
    """

    def __init__(self, folder: Path, header: Header, limit: int, overwrite: bool = False) -> None:
        self.path, self.limit, self._header = folder, limit, header
        shards = feature_files(folder)
        if overwrite:
            _remove(shards)
        number = 0 if overwrite or not shards else _number_to_go_on_with(shards[-1])
        self._current = Shard(shard_path(folder, number), header)
        self._open = [self._current]

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

    def commit_if_due(self) -> None:
        """See `Output`; also closes shards that are done."""
        for shard in list(self._open):
            if shard is self._current or shard.is_growing:
                shard.commit_if_due()
            else:
                self._open.remove(shard)
                shard.close()

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
        """Go on to the next shard if this one has no room for so many bytes."""
        if self._current.has_room(size, self.limit):
            return
        number = shard_number(self._current.path) + 1
        try:
            self._current = Shard(shard_path(self.path, number), self._header)
        except StoreError as error:
            raise WriteError(
                f"{error}; what was finished is kept, and the same command goes on from there"
            ) from None
        self._open.append(self._current)


def _number_to_go_on_with(last: Path) -> int:
    """That of the last shard, or where it cannot be extended, of the next."""
    return shard_number(last) + bool(why_not_extended(last))


def _remove(shards: list[Path]) -> None:
    """The last one first, so that what a kill leaves is what an earlier run left."""
    for path in shards:
        require_replaceable(path)
    for path in reversed(shards):
        try:
            path.unlink()
        except OSError as error:
            raise StoreError(f"{path} cannot be removed: {error.strerror}") from None
        with suppress(OSError):
            journal_path(path).unlink()
