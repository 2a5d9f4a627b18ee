"""A folder of shards, written as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py

from ..errors import StoreError, WriteError
from .existing import require_replaceable, why_not_extended
from .format import Heading
from .journal import journal_path
from .place import feature_files, locked_shards, shard_number, shard_path
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

    def place_for(self, size: int) -> FeatureWriter:
        """See `Output`."""
        self._make_room(size)
        return self._current

    def fail(
        self, track_id: str, reason: str, size: int = 0, mtime_ns: int = 0, segment: str = ""
    ) -> str:
        """See `Output`."""
        for shard in self._open:
            shard.drop(track_id)
        self._make_room(len(reason))
        return self._current.fail(track_id, reason, size, mtime_ns, segment)

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


def next_number(folder: Path) -> int:
    """That of a shard after all that are there, or that another process is about to write."""
    taken = [shard_number(path) for path in feature_files(folder) + locked_shards(folder)]
    return max(taken, default=-1) + 1


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
