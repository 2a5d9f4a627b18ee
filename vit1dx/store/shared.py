"""A folder of shards that several processes write at a time, each its own shards.

Whoever wants a shard claims its number, by making the lock file beside where it will be: a file
that only one process can make, on any file system. The lock then lasts as long as the shard is
written, and says by whom, as that of an output does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import LockedError, StoreError
from .format import Heading
from .journal import recover
from .lock import OutputLock, lock_path
from .place import NOTES, feature_files, locked_shards, shard_number, shard_path
from .shards import FolderWriter, Shard


class SharedFolderWriter(FolderWriter):
    """A process's own shards of a folder that others write too.

    Each has a number above all that were there when it was begun. That a run came to its end is
    not known here: the shards say that it did not.

    Parameters
    ----------
    folder : Path
    header : Heading
    limit : int
        Most bytes of a shard.
    claimed : callable
        Called with the path of each shard before anything is in it.

    Raises
    ------
    StoreError
        If no shard can be made.
    """

    def __init__(
        self, folder: Path, header: Heading, limit: int, claimed: Callable[[Path], None]
    ) -> None:
        self._claimed = claimed
        super().__init__(folder, header, limit)
        self.finished = False

    def _first(self, overwrite: bool) -> Shard:
        return self._next()

    def _next(self) -> Shard:
        path, lock = _claim(self.path)
        self._claimed(path)
        try:
            return _OwnShard(path, self._header, lock)
        except BaseException:
            lock.close()
            raise


class _OwnShard(Shard):
    """A shard that its writer alone has locked."""

    def __init__(self, path: Path, header: Heading, lock: OutputLock) -> None:
        self._lock = lock
        super().__init__(path, header)

    def abandon(self) -> None:
        """See `Output`; called when it is closed, too."""
        super().abandon()
        self._lock.close()


def _claim(folder: Path) -> tuple[Path, OutputLock]:
    """Where a new shard may be, and its lock."""
    taken = [*feature_files(folder), *locked_shards(folder)]
    number = max(map(shard_number, taken), default=-1) + 1
    while True:
        path = shard_path(folder, number)
        try:
            os.close(os.open(lock_path(path), os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            number += 1
            continue
        except OSError as error:
            raise StoreError(f"{path} cannot be made: {error.strerror}") from None
        lock = OutputLock(path)
        if not path.exists():
            return path, lock
        lock.close()  # it was made and finished meanwhile
        number += 1


def recover_output(output: Path) -> list[Path]:
    """Bring an output to its last commit; the caller holds its lock.

    Locks on shards whose writers are dead are removed. Shards whose writers may be alive stay as
    they are, and readers see their last commits.

    Returns
    -------
    list of Path
        Those shards.
    """
    if not output.is_dir():
        for file in feature_files(output):
            recover(file)
        return []
    shutil.rmtree(output / NOTES, ignore_errors=True)
    for path in locked_shards(output):
        with suppress(LockedError):
            OutputLock(path).close()
    locked = locked_shards(output)
    for path in feature_files(output):
        if path not in locked:
            recover(path)
    return locked
