"""An HDF5 file read at a commit, and opened again where a run has written it since."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import h5py

from ..errors import ForeignFileError, StoreError
from ..remote import AnyPath, RemotePath, absolute
from .commit import JournaledFile
from .fetched import FetchedFile
from .lock import is_locked

#: How often a file that cannot be read is tried while nothing changes but a run may be writing it,
#: and the pause between, s.
ATTEMPTS, PAUSE = 10, 0.05
#: How long it is tried while a run changes it, s.
PATIENCE = 60.0
#: File systems' clocks go by steps of up to 10 ms: two changes in one step cannot be told apart.
STEP = 0.02  # s
#: What HDF5 keeps of the structure of a file, as stored; its own limit is 32 MiB.
METADATA_BYTES = 2 << 20

_T = TypeVar("_T")

#: Those that are open: HDF5 would close them after Python's end, by calling their Python.
_open: weakref.WeakSet[CommittedFile] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Close what is open when a process ends, as one of a data loader's does with all in use."""
    for file in list(_open):
        file.close(patience=1.0)


class CommittedFile:
    """An HDF5 file, open for reading, whatever a run does to it meanwhile.

    HDF5 caches what it read of a file's structure, which a commit changes. So the file is looked at
    before and after each access, and opened again if it was written. It has its own driver, because
    HDF5 would share its cache with others that have the file open.

    Parameters
    ----------
    path : Path or RemotePath
        One behind a URL is read as it is when it is opened.
    damaged : bool
        Open a file that was cut too.

    Raises
    ------
    StoreError
        If there is no such file, or it cannot be opened; `ForeignFileError`, if not as HDF5.
    """

    def __init__(self, path: AnyPath, damaged: bool = False) -> None:
        self.path, self._damaged = path, damaged
        self._place = absolute(path)  # the current folder may change
        self._guard = threading.RLock()
        self._raw: JournaledFile | FetchedFile | None = None
        self._file: h5py.File | None = None
        self._closed = False
        _open.add(self)
        self.read(lambda file: None)

    def read(self, take: Callable[[h5py.File], _T]) -> _T:
        """What `take` gives of the file, all of it at one commit.

        Raises
        ------
        StoreError
            If the file cannot be read, or was closed; and whatever `take` raises.
        """
        with self._guard:
            attempts = _Attempts()
            while True:
                try:
                    result = take(self.current())
                    self.require_read()
                    if not self.was_written:
                        return result
                except Exception:
                    if self._closed or not self._may_change or not attempts.another(self._raw):
                        self._require_read_or_drop()
                        raise
                else:
                    if not attempts.another(self._raw):
                        raise StoreError(
                            f"{self.path} is written faster than it can be read; wait for the "
                            "end of the run"
                        )
                self._drop()
                time.sleep(PAUSE)

    def _require_read_or_drop(self) -> None:
        """After a failure: say so if it was in reading, and open the file again the next time."""
        try:
            self.require_read()
        except StoreError:
            self._drop()
            raise
        if self._file is None:
            self._drop()

    def current(self) -> h5py.File:
        """The file as h5py has it, opened again if it was written since."""
        if self._closed:
            raise StoreError(f"{self.path} was closed")
        if self._file is None or self.was_written:
            self._drop()
            self._file = self._opened()
        return self._file

    @property
    def was_written(self) -> bool:
        """Whether the file is not as it was when it was opened."""
        return self._raw is not None and self._raw.state() != self._raw.opened_at

    @property
    def _may_change(self) -> bool:
        return isinstance(self._place, Path) and (self.was_written or is_locked(self._place))

    @property
    def has_commits(self) -> bool:
        """Whether the file is as vit1dx writes it."""
        return self._raw is not None and self._raw.has_commits

    @property
    def cut(self) -> str:
        """How a damaged file was cut; empty if it was not."""
        return self._raw.cut if self._raw else ""

    @property
    def read_at(self) -> Callable[[int, memoryview], None] | None:
        """Reads past HDF5, until the file is opened again; None where that cannot be.

        See `JournaledFile.read_at`.
        """
        raw = self._raw
        return raw.read_at if isinstance(raw, JournaledFile) and raw.has_commits else None

    def require_read(self) -> None:
        """Raise `StoreError` if reading failed where HDF5 could not be told."""
        if self._raw is not None and self._raw.error is not None:
            raise StoreError(f"{self.path} cannot be read: {self._raw.error.strerror}")

    def close(self, patience: float = -1) -> None:
        """Close; closing twice is allowed. What reads is waited for, so many seconds at most."""
        if self._guard.acquire(timeout=patience):
            try:
                self._closed = True
                self._drop()
            finally:
                self._guard.release()

    def _opened(self) -> h5py.File:
        try:
            self._raw = _settled(self._place)
        except FileNotFoundError:
            raise StoreError(f"no feature file at {self.path}") from None
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {error.strerror}") from None
        if self._raw.cut and not self._damaged:
            raise StoreError(f"{self.path} {self._raw.cut}; 'vit1dx repair' keeps what is sound")
        try:
            return _bounded(h5py.File(self._raw, "r"))
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            self.require_read()
            raise ForeignFileError(f"{self.path} cannot be opened as HDF5: {error}") from None

    def _drop(self) -> None:
        file, raw = self._file, self._raw
        self._file = self._raw = None
        if file is not None:
            file.close()
        if raw is not None:
            raw.close()


class _Attempts:
    """Attempts at a file that a run may be writing: few while it stays the same."""

    def __init__(self) -> None:
        self._state: object = None
        self._left, self._end = ATTEMPTS, time.monotonic() + PATIENCE

    def another(self, file: JournaledFile | FetchedFile | None) -> bool:
        """Whether to try once more, the last one having failed."""
        state = file and file.state()
        if state != self._state:
            self._state, self._left = state, ATTEMPTS
        self._left -= 1
        return self._left > 0 and time.monotonic() < self._end


def _bounded(file: h5py.File) -> h5py.File:
    """A file with a limit to what HDF5 keeps of its structure: in memory, it is ten times that."""
    config = file.id.get_mdc_config()
    config.set_initial_size = True
    config.initial_size = config.max_size = METADATA_BYTES
    config.min_size = min(config.min_size, METADATA_BYTES)
    file.id.set_mdc_config(config)
    return file


def _settled(path: AnyPath) -> JournaledFile | FetchedFile:
    """The file, opened when its last change is some time ago, so that the next will show."""
    if isinstance(path, RemotePath):
        return FetchedFile(path)
    for _ in range(ATTEMPTS):
        raw = JournaledFile(path, writable=False)
        *_, changed_ns = raw.opened_at
        if abs(time.time_ns() - changed_ns) > STEP * 1e9:
            return raw
        raw.close()
        time.sleep(STEP)
    return JournaledFile(path, writable=False)
