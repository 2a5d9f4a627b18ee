"""Feature files behind URLs, read where they are."""

from __future__ import annotations

import os
from typing import Any

from ..remote import RemotePath
from .journal import SUPERBLOCK, cut_of, is_ours


class FetchedFile:
    """A feature file behind a URL, for h5py's driver "fileobj", as it was when it was opened.

    As of `JournaledFile`, no method that HDF5 calls ever raises. A file that is replaced while it
    is read gives an error, where the store knows its files' versions as S3 does.

    Parameters
    ----------
    path : RemotePath

    Attributes
    ----------
    opened_at, cut, has_commits, error
        See `JournaledFile`.

    Raises
    ------
    OSError
        If it cannot be opened.
    """

    opened_at: tuple[Any, ...] = (0,)

    def __init__(self, path: RemotePath) -> None:
        self._path = RemotePath(path.url)  # with nothing known from before
        self._file = self._path.open()
        size = self.seek(0, os.SEEK_END)
        self.seek(0)
        head = self.read(SUPERBLOCK)
        self.has_commits = is_ours(head)
        self.cut = cut_of(head, size)
        self.seek(0)

    @property
    def error(self) -> OSError | None:
        """See `JournaledFile`."""
        return self._path.error

    def state(self) -> tuple[Any, ...]:
        """See `JournaledFile`; always the same."""
        return self.opened_at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The position."""
        return self._file.tell()

    def read(self, count: int) -> bytes:
        """Read; h5py knows a file by this method, and uses `readinto`."""
        data = bytearray(count)
        self.readinto(memoryview(data))
        return bytes(data)

    def readinto(self, view: memoryview) -> int:
        """Fill a buffer from the position on, with zeros where there is nothing."""
        done = self._file.readinto(view)  # type: ignore[attr-defined]
        view[done:] = bytes(len(view) - done)
        return len(view)

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Close."""
        self._file.close()
