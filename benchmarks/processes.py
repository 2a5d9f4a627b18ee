"""What a command costs: time, processor time, and the memory of it and all its children."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

WATCH_SECONDS = 0.05
_FIELDS = ("VmRSS", "RssShmem")


class CommandFailed(RuntimeError):
    """A command ended with another code than 0; the message is the last line that it wrote."""


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes
    ----------
    seconds : float
        From its start to its end.
    cpu : float
        Seconds of processor time, of all its processes.
    memory : int
        Most resident bytes at a time, summed over its processes.
    """

    seconds: float
    cpu: float
    memory: int


def measured(
    command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Cost:
    """Run a command to its end.

    Raises
    ------
    CommandFailed
        If it cannot be started or fails.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as words:
        began = time.perf_counter()
        try:
            process = subprocess.Popen(
                command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=words
            )
        except OSError as error:
            raise CommandFailed(f"{command[0]}: {error.strerror}") from None
        ended = threading.Event()
        peak: list[int] = [0]
        watch = threading.Thread(target=_watch, args=(process.pid, peak, ended))
        watch.start()
        # `wait4` alone tells what the children took, too.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        ended.set()
        watch.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            words.seek(0)
            said = words.read().split("\n")
            last = next((line for line in reversed(said) if line.strip()), "it said nothing")
            raise CommandFailed(f"code {process.returncode}: {last.strip()}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, peak[0])


def _watch(pid: int, peak: list[int], ended: threading.Event) -> None:
    while not ended.wait(WATCH_SECONDS):
        peak[0] = max(peak[0], resident(pid))


def resident(pid: int) -> int:
    """Resident bytes of a process and all below it, now; 0 where it is gone.

    Memory that a process shares with those below it (not that of files) counts once.
    """
    private, shared = _resident(pid)
    return private + shared


def _resident(pid: int) -> tuple[int, int]:
    """Resident bytes: of processes each, and of shared memory."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        everything, own = (int(status.split(f"{name}:")[1].split()[0]) << 10 for name in _FIELDS)
    except (OSError, IndexError):  # it has ended, or is about to
        return 0, 0
    below = [_resident(int(child)) for child in children]
    private, shared = (sum(part) for part in zip((0, 0), *below, strict=True))
    return everything - own + private, max(own, shared)
