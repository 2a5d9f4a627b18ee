"""One run an output: a lock file beside it that names the process and the host."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import Any

from ..errors import LockedError, StoreError
from ..whole import resolved
from .format import storable
from .place import beside


def lock_path(output: Path) -> Path:
    """Where the lock of a feature file, or a folder of shards, is while a run writes it.

    By whatever links an output is named, it has one lock.
    """
    return resolved(output) / "lock" if output.is_dir() else beside(output, ".lock")


def is_locked(file: Path) -> bool:
    """Whether there is a lock on a feature file, or on the folder that it is a shard of."""
    return lock_path(file).exists() or lock_path(file.parent).exists()


class OutputLock:
    """Keeps a second run off an output, as long as it is open; a context manager.

    The kernel's lock on the file (flock) ends with its process. It decides on one machine, by
    whatever names that goes (containers), and between machines where the file system passes it on.
    Otherwise the content of the file decides: process, host, and which start of which machine.

    Parameters
    ----------
    output : Path
        The feature file, and the lock is ``OUT.h5.lock`` beside it; or a folder of shards, with
        the lock in it.

    Raises
    ------
    LockedError
        If another run holds it, naming process and host.
    StoreError
        If it cannot be made.
    """

    def __init__(self, output: Path) -> None:
        self.path = lock_path(output)
        self._output = resolved(output)
        self._file = self._open()
        try:
            self._take()
        except BaseException:
            self._release()
            raise

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be made: {error.strerror}") from None

    def _take(self) -> None:
        while True:
            locks = self._lock()
            if self._in_place():
                break
            self._release()  # its holder took it away meanwhile
            self._file = self._open()
        holder = _parse(os.pread(self._file, 4096, 0))
        if holder and not (self._is_dead(holder) if locks else _has_died_here(holder)):
            raise self._refusal(holder, f"; if it is gone, remove {self.path}")
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(_myself()).encode(), 0)
        os.fsync(self._file)

    def _is_dead(self, holder: dict[str, Any]) -> bool:
        """Whether the kernel's lock, which is in hand, proves that its last holder is dead."""
        boot = _boot()
        same_machine = _is_here(holder) or (boot is not None and holder.get("boot") == boot)
        return same_machine or locks_reach_other_hosts(self.path)

    def _lock(self) -> bool:
        """Take the kernel's lock; False where the file system has none."""
        import fcntl  # only here: readers import this module where there is no fcntl (Windows)

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._refusal(_parse(os.pread(self._file, 4096, 0))) from None
        except OSError:
            return False
        return True

    def _in_place(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._file))
        except FileNotFoundError:
            return False

    def _refusal(self, holder: dict[str, Any], hint: str = "") -> LockedError:
        pid, host = (storable(str(holder.get(key, "?"))) for key in ("pid", "host"))
        hint = "" if _is_here(holder) else hint
        return LockedError(
            f"{self._output} is being written by another run, process {pid} on {host}{hint}"
        )

    def close(self) -> None:
        """Release the lock, and remove its file."""
        if self._in_place():
            self.path.unlink(missing_ok=True)
        self._release()

    def _release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def __enter__(self) -> OutputLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _myself() -> dict[str, Any]:
    pid = os.getpid()
    return {"pid": pid, "host": socket.gethostname(), "boot": _boot(), "started": _started(pid)}


def _parse(data: bytes) -> dict[str, Any]:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _is_here(holder: dict[str, Any]) -> bool:
    return holder.get("host") == socket.gethostname()


def _has_died_here(holder: dict[str, Any]) -> bool:
    """Whether it was a process of this host, and does not run any more."""
    return _is_here(holder) and not _is_alive(holder)


def _is_alive(holder: dict[str, Any]) -> bool:
    """Whether a process of this host still runs, and its number is not another's by now."""
    pid = holder.get("pid")
    if not isinstance(pid, int) or pid <= 0 or holder.get("boot") != _boot():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return holder.get("started") in (None, _started(pid))


def _boot() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _started(pid: int) -> int | None:
    """When a process began, in ticks since the boot."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


#: File systems that pass flock on to other hosts: always, or by an option of the mount.
SHARED_LOCKS = {
    "nfs": "local_lock=none",
    "nfs4": "local_lock=none",
    "lustre": "flock",
    "ceph": "",
}


def locks_reach_other_hosts(path: Path, table: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether the file system has a lock on a file keep off processes of other hosts too.

    Parameters
    ----------
    path : Path
    table : Path
        As Linux has it (proc_pid_mountinfo(5)); nothing is known where there is none.
    """
    try:
        mounts = [_mount(line) for line in table.read_text().splitlines()]
    except OSError:
        return False
    place = Path(os.path.realpath(path))
    above = [mount for mount in mounts if place.is_relative_to(mount[0])]
    if not above:
        return False
    # The longest, and of several mounted there the last, which hides the others.
    _, kind, options = max(enumerate(above), key=lambda at: (len(at[1][0]), at[0]))[1]
    needed = SHARED_LOCKS.get(kind)
    return needed is not None and (not needed or needed in options)


def _mount(line: str) -> tuple[str, str, list[str]]:
    """Where something is mounted, its kind, and its options."""
    mount, _, system = line.partition(" - ")
    kind, _, options = system.split(" ", 2)
    return _unescaped(mount.split(" ")[4]), kind, options.split(",")


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
