"""Files that take their names once they are whole, and never those of what they are made of."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UsageError

#: Bytes of a name that are kept in the name of its unfinished file: file systems take 255.
NAME_BYTES = 200


def resolved(path: Path) -> Path:
    """The path itself, or where it is a symbolic link, what that leads to, there or not.

    Links above it do not matter: the files beside it are the same by either name.
    """
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give the path to write a file to, which takes the place of `path` when the block ends.

    Where the block fails, `path` is as it was. The file to write is a hidden one beside it, of this
    process, with the same ending. A link stays one: what it leads to is replaced. What is there and
    no file, as a pipe or /dev/null, is written itself.
    """
    if path.exists() and not path.is_file():
        yield path  # /dev/stdout leads to what has no name, and yet can be written
        return
    real = resolved(path)
    end = os.fsdecode(os.fsencode(real.name)[-NAME_BYTES:])
    unfinished = real.with_name(f".{os.getpid()}-{end}")
    try:
        yield unfinished
        os.replace(unfinished, real)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def require_apart(output: Path | None, inputs: Iterable[Path | None]) -> None:
    """Raise `UsageError` if an output is one of the files that are read, by whatever name."""
    if output is None or not os.path.isfile(output):
        return
    for path in inputs:
        if path is not None and os.path.exists(path) and output.samefile(path):
            raise UsageError(f"output {output} is read too, as {path}; give another -o")
