"""A feature file's journal: the changes of one commit, whole or not there; calls to the disk."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .place import beside

#: Length of HDF5's superblock (version 2).
SUPERBLOCK = 48
#: HDF5's superblock of version 2: how it begins, and where in it stands the end of the file.
SIGNATURE, END_AT = b"\x89HDF\r\n\x1a\n\x02", 28

_MAGIC = b"vit1dxJ1"
_HEAD = struct.Struct(f"<8sQQ{SUPERBLOCK}s")
_EXTENT = struct.Struct("<QQ")
_CRC = struct.Struct("<I")


class Disk:
    """The calls to the file system that a commit makes; tests replace it."""

    def write(self, file: int, data: bytes | memoryview, offset: int) -> None:
        """Write all of it, or raise OSError."""
        done = os.pwrite(file, data, offset)
        if done < len(data):
            view = memoryview(data)
            while done < len(view):
                done += os.pwrite(file, view[done:], offset + done)

    def truncate(self, file: int, size: int) -> None:
        """Cut or extend a file."""
        os.ftruncate(file, size)

    def sync(self, file: int) -> None:
        """Wait until a file is on the disk."""
        os.fsync(file)


@dataclass
class Journal:
    """One commit's changes to committed bytes.

    Attributes
    ----------
    end : int
        Where the file ends after the commit.
    before : bytes
        The file's superblock before it, by which a journal is known to be this file's.
    pages : dict of int to bytes
        By offset.
    """

    end: int
    before: bytes
    pages: dict[int, bytes]

    def parts(self) -> Iterator[bytes]:
        """The journal as it is written, piece by piece."""
        head = _HEAD.pack(_MAGIC, self.end, len(self.pages), self.before)
        crc = zlib.crc32(head)
        yield head
        for offset, page in sorted(self.pages.items()):
            piece = _EXTENT.pack(offset, len(page)) + page
            crc = zlib.crc32(piece, crc)
            yield piece
        yield _CRC.pack(crc)

    @classmethod
    def parse(cls, data: bytes) -> Journal | None:
        """Read what `parts` gave; None if it is not whole."""
        if len(data) < _HEAD.size + _CRC.size:
            return None
        magic, end, count, before = _HEAD.unpack_from(data)
        at, pages = _HEAD.size, {}
        for _ in range(count if magic == _MAGIC else 0):
            if at + _EXTENT.size > len(data):
                return None
            offset, length = _EXTENT.unpack_from(data, at)
            at += _EXTENT.size
            pages[offset] = data[at : at + length]
            at += length
        if magic != _MAGIC or at + _CRC.size > len(data):
            return None
        whole = _CRC.unpack_from(data, at)[0] == zlib.crc32(memoryview(data)[:at])
        return cls(end, before, pages) if whole else None

    def belongs_to(self, superblock: bytes) -> bool:
        """Whether a file is as before the commit, or after it."""
        return superblock in (self.before, self.pages.get(0, b"")[:SUPERBLOCK])


def is_ours(superblock: bytes) -> bool:
    """Whether a superblock is as vit1dx writes it."""
    return superblock.startswith(SIGNATURE)


def stored_end(superblock: bytes) -> int:
    """Where a file ends, by its superblock."""
    return int.from_bytes(superblock[END_AT : END_AT + 8], "little")


def cut_of(superblock: bytes, size: int) -> str:
    """How a file of some size was cut; empty if it was not."""
    end = stored_end(superblock) if is_ours(superblock) else size
    return f"was cut, from {end} bytes to {size}" if size < end else ""


def journal_path(path: Path) -> Path:
    """Where the journal of a file is: beside it, not beside a link to it."""
    return beside(path, ".journal")


def read_journal(path: Path) -> Journal | None:
    """A file's journal, if it has one that is whole and its own."""
    try:
        journal = Journal.parse(journal_path(path).read_bytes())
        with path.open("rb") as file:
            return journal if journal and journal.belongs_to(file.read(SUPERBLOCK)) else None
    except FileNotFoundError:
        return None


def recover(path: Path, disk: Disk | None = None) -> None:
    """Bring a file to its last commit; only the process that holds its lock may."""
    disk = disk or Disk()
    if path.exists():
        with path.open("rb") as head:
            if not is_ours(head.read(SUPERBLOCK)):
                return  # nor is what stands beside it
    journal = read_journal(path)
    if journal is not None:
        file = os.open(path, os.O_RDWR)
        try:
            apply(disk, file, journal)
        finally:
            os.close(file)
    journal_path(path).unlink(missing_ok=True)


def apply(disk: Disk, file: int, journal: Journal) -> None:
    """Make a journal's changes, and sync; doing so again changes nothing."""
    for offset, page in sorted(journal.pages.items()):
        disk.write(file, page, offset)
    if os.fstat(file).st_size != journal.end:
        disk.truncate(file, journal.end)
    disk.sync(file)


def sync_folder(path: Path) -> None:
    """Sync a folder: the names of files made, renamed or removed in it."""
    folder = os.open(path, os.O_RDONLY)
    with suppress(OSError):  # some network file systems do not know how
        os.fsync(folder)
    os.close(folder)
