"""Signals to stop, taken note of and acted on where a run can stop without harm."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType
from typing import Any

#: What each signal does to a run, in a word.
SIGNALS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "hung up",
}


class Stopped(Exception):
    """A run was asked to stop; the message is the word for how."""


class StopSignals:
    """Takes note of the first signal; the second ends the process at once. A context manager.

    Raising from a signal handler would do for most programs, but the exception can come up inside a
    callback of HDF5's, where Python drops it.
    """

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def check(self) -> None:
        """Raise `Stopped` if a signal has come."""
        if self._received is not None:
            raise Stopped(SIGNALS[self._received])

    def _take_note(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:  # what is committed stays; workers end with this process
            with suppress(OSError):  # the terminal may be gone
                if os.isatty(2):
                    os.write(2, b"\x1b[?25h\n")  # the cursor, which a progress bar hides
            os._exit(128 + number)
        self._received = signal.Signals(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __enter__(self) -> StopSignals:
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        if self._before[signal.SIGHUP] == signal.SIG_IGN:  # by nohup
            del self._before[signal.SIGHUP]
        for number in self._before:
            signal.signal(number, self._take_note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()
