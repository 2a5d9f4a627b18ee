"""Signals to stop, taken note of and acted on where a run can stop without harm."""

from __future__ import annotations

import os
import signal
import threading
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
    callback of HDF5's, where Python drops it. Outside the main thread, Python takes no handlers,
    and signals do what they did before.

    Parameters
    ----------
    raise_signals : bool
        For a program that vit1dx is a part of: a signal comes to its own handlers, the first one
        once the run has stopped, the second one at once.
    """

    def __init__(self, raise_signals: bool = False) -> None:
        self._raise_signals = raise_signals
        self._received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def check(self) -> None:
        """Raise `Stopped` if a signal has come."""
        if self._received is not None:
            raise Stopped(SIGNALS[self._received])

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._received is None:
            self._received = signal.Signals(number)
        elif self._raise_signals:
            self._restore()
            signal.raise_signal(number)
        else:
            _end(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is not threading.main_thread():
            return self
        before = {number: signal.getsignal(number) for number in SIGNALS}
        # None: a handler that is not Python's, which could not be put back.
        self._before = {n: handler for n, handler in before.items() if handler is not None}
        if before[signal.SIGHUP] == signal.SIG_IGN:  # by nohup
            del self._before[signal.SIGHUP]
        for number in self._before:
            signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()
        if self._raise_signals and self._received is not None:
            signal.raise_signal(self._received)


def _end(number: int) -> None:
    """End the process: what is committed stays, and workers end with it."""
    with suppress(OSError):  # the terminal may be gone
        if os.isatty(2):
            os.write(2, b"\x1b[?25h\n")  # the cursor, which a progress bar hides
    os._exit(128 + number)
