"""Standard output and error such that they never decide a run.

What cannot be written is dropped, and what an encoding lacks is escaped. `lost` tells at the end
whether a result was among what was dropped.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import Any, TextIO, cast


class Stream:
    """A text stream whose errors do not reach who writes; all else is the stream's own.

    Attributes
    ----------
    error : OSError or ValueError or None
        The first one.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        """Write, or drop."""
        try:
            self._stream.write(text)
        except (OSError, ValueError) as error:
            self.error = self.error or error
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, or drop it."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self.error = self.error or error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def settle() -> tuple[Stream, Stream]:
    """Put such streams in the places of standard output and error, and give them.

    Descriptors that are closed are opened on the null device: the next file to be opened, the
    output perhaps, would take their numbers, and what a library writes there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            _discard(number)
    result, remarks = Stream(_escaping(sys.stdout)), Stream(_escaping(sys.stderr))
    sys.stdout, sys.stderr = cast(TextIO, result), cast(TextIO, remarks)
    return result, remarks


def lost(result: Stream, remarks: Stream) -> int:
    """Whether the result, or some of it, is lost: 0 if not, or a code to exit with.

    Of a pipe that nobody reads any more nothing is said, and the code is what shells report of a
    program that writes into one.
    """
    result.flush()
    remarks.flush()
    if result.error is None:
        return 0
    _discard(1)  # what is buffered would fail again at the end of the process
    if isinstance(result.error, BrokenPipeError):
        return 128 + signal.SIGPIPE
    reason = getattr(result.error, "strerror", None) or result.error
    print(f"vit1dx: the result cannot be written to standard output: {reason}", file=sys.stderr)
    return 1


def is_one() -> bool:
    """Whether standard output and error go to the same terminal, file or pipe."""
    try:
        return os.path.samestat(os.fstat(1), os.fstat(2))
    except OSError:
        return False


def _escaping(stream: TextIO | None) -> TextIO:
    if stream is None:
        stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream


def _discard(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
