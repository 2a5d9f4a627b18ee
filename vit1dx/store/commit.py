"""An HDF5 file that is at a commit at any instant, and the journal that makes it so.

What a reader may rely on: whenever it opens the file, by `JournaledFile`, it sees all of one commit
and nothing of the next, beside a writer as after a kill. It must open it again when `state` has
changed. Other programs see the same but for some milliseconds of each commit, and after a kill in
one, until a writer or `recover` brings the file to that commit.

What a kill, a power cut or a full disk costs: what was written since the last commit, no more. A
commit cut short is wholly there once its journal was, and otherwise not at all.

Why: between commits, writes behind the committed end go to the file at once, where nothing points
to them; writes to committed bytes are held in memory, as pages. A commit then
1. syncs the file: the new bytes are on the disk before anything points to them;
2. writes the pages into the journal beside the file, with a checksum over all, and syncs it: from
   here on the commit counts, as readers put the journal's pages over the file's;
3. writes the pages into the file, and syncs it;
4. empties the journal, which needs no sync: applied once more, it changes nothing.

A journal counts only if it is whole and its own: it carries the file's superblock from before the
commit, and the file must have that, or the new one. One process may write; `lock` sees to that.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import StoreError
from .journal import (
    SUPERBLOCK,
    Disk,
    Journal,
    apply,
    cut_of,
    is_ours,
    journal_path,
    read_journal,
    stored_end,
    sync_folder,
)

PAGE = 4096


#: Close on exec, and no newline translation, each where the system knows of it.
OPEN_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def _read_by_seeking(file: int, buffers: list[memoryview], offset: int) -> int:
    """As `os.preadv`, where there is none: on Windows."""
    os.lseek(file, offset, os.SEEK_SET)
    data = os.read(file, len(buffers[0]))
    buffers[0][: len(data)] = data
    return len(data)


_preadv = getattr(os, "preadv", _read_by_seeking)


class JournaledFile:
    """A file for h5py's driver "fileobj": to be written, or read as of its last commit.

    No method that HDF5 calls ever raises, because HDF5 cannot pass an exception on without harm.
    What went wrong is kept in `error`, and nothing reaches the disk from then on.

    Parameters
    ----------
    path : Path
        An HDF5 file, recovered if it is to be written.
    writable : bool
    disk : Disk

    Attributes
    ----------
    opened_at : tuple
        The `state` when it was opened.
    cut : str
        Of a file that was cut, how, and what is missing reads as zeros; otherwise empty.
    error : OSError or None
        What went wrong.
    held_bytes : int
        Bytes of changes that wait for the commit.

    Raises
    ------
    StoreError
        If the file is to be written, and was cut, or is not HDF5 as vit1dx writes it.
    """

    def __init__(self, path: Path, writable: bool, disk: Disk | None = None) -> None:
        self.path = path
        self.error: OSError | None = None
        self.cut = ""
        self._abandoned = False
        self._disk = disk or Disk()
        self._journal = -1
        self._journal_path = journal_path(path)
        self._file = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | OPEN_FLAGS)
        try:
            # Before the journal is read: a commit meanwhile is noticed, if only afterwards.
            self.opened_at = self.state()
            self._superblock = self._read_superblock()
            journal = None if writable else read_journal(path)
            self._pages = {
                at: bytearray(page) for at, page in (journal.pages if journal else {}).items()
            }
            self._committed = journal.end if journal else self._stored_end()
            if writable:
                self._require_whole()
                self._make_journal()
        except BaseException:
            self.close()
            raise
        self._end, self._at = self._committed, 0

    def _read_superblock(self) -> bytes:
        data = bytearray(SUPERBLOCK)
        return bytes(data[: _preadv(self._file, [memoryview(data)], 0)])

    def _stored_end(self) -> int:
        """The end by the superblock; what is behind it was appended and never committed."""
        size = os.fstat(self._file).st_size
        self.cut = cut_of(self._superblock, size)
        return stored_end(self._superblock) if self.has_commits else size

    @property
    def has_commits(self) -> bool:
        """Whether the file is as vit1dx writes it; other programs write other superblocks."""
        return is_ours(self._superblock)

    def _require_whole(self) -> None:
        if self.cut:
            raise StoreError(f"{self.path} {self.cut}")
        if not self.has_commits:
            raise StoreError(f"{self.path} is not HDF5 as vit1dx writes it")

    def state(self) -> tuple[Any, ...]:
        """What tells the file from how it is after a commit, or any other change.

        While a run writes the file there is a journal, which each commit changes; between commits
        the file grows where no reader looks.
        """
        status = os.fstat(self._file)
        superblock = self._read_superblock()
        if self._is_in_place():
            with suppress(FileNotFoundError):
                status = os.stat(self._journal_path)
        return superblock, status.st_ino, status.st_size, status.st_mtime_ns

    @property
    def held_bytes(self) -> int:
        """See `JournaledFile`."""
        return len(self._pages) * PAGE

    # What HDF5 calls.

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position; the end is the end as HDF5 last put it."""
        if whence != os.SEEK_SET:  # HDF5 calls this before each access
            offset += self._at if whence == os.SEEK_CUR else self._end
        self._at = offset
        return offset

    def tell(self) -> int:
        """The position."""
        return self._at

    def read(self, count: int) -> bytes:
        """Read; h5py knows a file by this method, and uses `readinto`."""
        data = bytearray(count)
        self.readinto(memoryview(data))
        return bytes(data)

    def readinto(self, view: memoryview) -> int:
        """Fill a buffer from the position on; zeros where nothing was written."""
        self.read_at(self._at, view)
        self._at += len(view)
        return len(view)

    def read_at(self, start: int, view: memoryview) -> None:
        """Fill a buffer from an offset on; threads may do so side by side where nothing writes."""
        size, done = len(view), 0
        try:
            done = count = _preadv(self._file, [view], start)
            while count and done < size:
                count = _preadv(self._file, [view[done:]], start + done)
                done += count
        except OSError as error:
            self._fail(error)
        if done < size:
            view[done:] = bytes(size - done)
        if not self._pages:
            return
        for at in self._pages_between(start, start + size):
            page = self._pages[at]
            first, last = max(at, start), min(at + len(page), start + size)
            if first < last:
                view[first - start : last - start] = page[first - at : last - at]

    def write(self, data: memoryview) -> int:
        """Append what is behind the last commit, and hold what is not."""
        size, start = len(data), self._at
        self._at += size
        self._end = max(self._end, self._at)
        if self.error is None and not self._abandoned:
            try:
                held = max(0, min(size, self._committed - start))
                if held:
                    self._hold(start, data[:held])
                if held < size:
                    self._disk.write(self._file, data[held:], start + held)
            except OSError as error:
                self._fail(error)
        return size

    def truncate(self, size: int) -> int:
        """Set the end, which the next commit makes the file's."""
        self._end = size
        return size

    def flush(self) -> None:
        """Do nothing: `commit` makes writes last."""

    # What the writer of a feature file calls.

    def commit(self) -> None:
        """Make all that HDF5 has flushed last, at once and as a whole.

        Raises
        ------
        OSError
            If that cannot be; the file stays at the commit before.
        """
        if self.error is None and (self._pages or self._end != self._committed):
            try:
                self._commit()
            except OSError as error:
                self._fail(error)
        if self.error is not None:
            raise self.error

    def _commit(self) -> None:
        self._require_in_place()
        if os.fstat(self._file).st_size < self._end:
            self._disk.truncate(self._file, self._end)
        self._disk.sync(self._file)
        pages = {at: bytes(page) for at, page in self._pages.items()}
        journal = Journal(self._end, self._superblock, pages)
        self._write_journal(journal)
        apply(self._disk, self._file, journal)
        self._disk.truncate(self._journal, 0)
        self._superblock = pages.get(0, self._superblock)[:SUPERBLOCK]
        self._pages, self._committed = {}, self._end

    def _require_in_place(self) -> None:
        if not self._is_in_place():
            raise OSError("it was removed or replaced while it was written")

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._file))
        except FileNotFoundError:
            return False

    def _make_journal(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._journal = os.open(self._journal_path, flags, 0o666)
        sync_folder(self._journal_path.parent)

    def _write_journal(self, journal: Journal) -> None:
        at = 0
        for part in journal.parts():
            self._disk.write(self._journal, part, at)
            at += len(part)
        self._disk.sync(self._journal)

    def abandon(self) -> None:
        """Write nothing from now on: the file stays at its last commit."""
        self._abandoned = True

    def close(self) -> None:
        """Close the file, and remove its journal if all was applied; closing twice is allowed."""
        if self._journal >= 0:
            os.close(self._journal)
            if self.error is None:
                self._journal_path.unlink(missing_ok=True)
        if self._file >= 0:
            os.close(self._file)
        self._journal = self._file = -1

    def _fail(self, error: OSError) -> None:
        self.error = self.error or error

    def _hold(self, start: int, data: memoryview) -> None:
        done = 0
        while done < len(data):
            at = (start + done) // PAGE * PAGE
            page = self._page(at)
            first = start + done - at
            count = min(len(page) - first, len(data) - done)
            page[first : first + count] = data[done : done + count]
            done += count

    def _page(self, at: int) -> bytearray:
        """The committed bytes of a page, to be changed."""
        if at not in self._pages:
            size = min(PAGE, self._committed - at)
            self._pages[at] = bytearray(os.pread(self._file, size, at))
        return self._pages[at]

    def _pages_between(self, start: int, stop: int) -> list[int]:
        first = start // PAGE * PAGE
        if (stop - first) // PAGE > len(self._pages):
            return [at for at in self._pages if first <= at < stop]
        return [at for at in range(first, stop, PAGE) if at in self._pages]
