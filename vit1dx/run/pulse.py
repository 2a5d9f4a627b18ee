"""Signs of life of a process that sends no messages: what the kernel counts of it (Linux)."""

from __future__ import annotations

import re
from pathlib import Path

#: Waits for a disk, or for a core: a process in these states does not hang by itself.
_WAITING = frozenset("DR")


class Pulse:
    """Whether a process does anything, though it sends nothing.

    On a loaded machine, or one with slow disks, a sound process may be silent for long. One that
    hangs uses no processor time, reads and writes nothing, and waits for neither.

    Parameters
    ----------
    pid : int
    """

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self._last = self._counters()

    def beats(self) -> bool:
        """Whether it has done anything since this was last asked; False where that is unknown."""
        before, self._last = self._last, self._counters()
        return self._last != before or self._state() in _WAITING

    def _counters(self) -> tuple[str, ...]:
        """Processor time of all threads, and bytes read and written."""
        return (*self._status()[11:13], *re.findall(r"[rw]char: \d+", self._read("io")))

    def _state(self) -> str:
        return next(iter(self._status()), "")

    def _status(self) -> list[str]:
        """Fields behind the name, which may hold anything; see proc(5)."""
        return self._read("stat").rpartition(")")[2].split()

    def _read(self, name: str) -> str:
        try:
            return (self._folder / name).read_text(errors="replace")
        except OSError:  # no such counters here, or not for us
            return ""
