"""Signals that end a command by an exception, so that what is unfinished goes.

Python drops an exception that comes up in a callback, such as h5py's objects have for when they
go; it tells `sys.unraisablehook`, and the exception is raised again a moment later. Runs that
write features take note of signals instead (`run/signals.py`).
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

AGAIN_SECONDS = 0.01  # after which a dropped exception is raised again


class Ended(BaseException):
    """A signal that ends the process came; the first argument is which."""


@contextmanager
def ending() -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise `Ended`, as SIGINT raises KeyboardInterrupt; none is lost."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # not ignored, as by nohup
            signal.signal(number, _end_by)
    sys.unraisablehook = _dropped
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = sys.__unraisablehook__


def signal_of(error: BaseException | None) -> signal.Signals | None:
    """The signal that an exception comes of, if it does."""
    if isinstance(error, Ended):
        return signal.Signals(error.args[0])
    if isinstance(error, SystemError):  # C code found the exception where it had none
        return signal_of(error.__cause__)
    return signal.SIGINT if isinstance(error, KeyboardInterrupt) else None


def _end_by(number: int, frame: FrameType | None) -> None:
    """Leave by an exception; the next signal ends at once."""
    signal.signal(number, signal.SIG_DFL)
    raise Ended(number)


def _dropped(what: Any) -> None:  # sys.UnraisableHookArgs, which typing alone has
    error = what.exc_value
    if not isinstance(error, (KeyboardInterrupt, Ended)):
        sys.__unraisablehook__(what)
        return
    signal.signal(signal.SIGALRM, partial(_raise, type(error), error.args))
    signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)


def _raise(
    kind: type[BaseException], args: tuple[Any, ...], number: int, frame: FrameType | None
) -> None:
    raise kind(*args)
