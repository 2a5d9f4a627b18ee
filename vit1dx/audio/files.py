"""Files, before anything is decoded."""

from __future__ import annotations

import os
import stat
from typing import Any

from ..errors import AudioError
from ..remote import AnyPath, RemotePath

#: Rates outside these are a damaged header's, and would blow a block up beyond memory.
MIN_RATE, MAX_RATE = 1_000, 1_000_000


def require_readable(path: AnyPath) -> os.stat_result:
    """Raise `AudioError` unless the path leads to a regular file with something in it.

    Decoders would blame the format.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise AudioError("not a regular file")
        if status.st_size == 0:
            raise AudioError("empty file: 0 bytes")
        with path.open("rb"):
            return status
    except FileNotFoundError:
        reason = "broken symbolic link" if path.is_symlink() else "no such file"
        raise AudioError(reason) from None
    except OSError as error:
        raise AudioError(error.strerror or str(error)) from None


def for_decoders(path: AnyPath) -> Any:
    """What libraries open a file by: its name, or where it is behind a URL, an open file."""
    return path.open("rb") if isinstance(path, RemotePath) else os.fsencode(path)


def mtime_ns(status: os.stat_result) -> int:
    """When a file was last changed, ns, within the 64 bits that are stored of it."""
    return max(-(1 << 63), min(status.st_mtime_ns, (1 << 63) - 1))


def printable(path: str | os.PathLike[str]) -> str:
    r"""A path as text that any file can hold: bytes that are not UTF-8 become ``\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
