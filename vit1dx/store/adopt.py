"""Feature files that become shards of a folder as they are: copied as files, not track by track."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import StoreError, WriteError
from .journal import journal_path
from .lock import is_locked
from .place import beside
from .reader import FeatureFile
from .verify import Report, check_file
from .writer import FeatureWriter, move_into_place

#: Bytes copied between two checks for an interruption.
BLOCK = 64 << 20


def is_shard_like(features: FeatureFile, limit: int) -> bool:
    """Whether a file that is not being written would do as a shard of so many bytes at most.

    Smaller than half of that it would not: the output should have fewer files than the inputs.
    """
    path = Path(features.path)
    size = path.stat().st_size
    is_at_rest = not (journal_path(path).exists() or is_locked(path))
    is_ours = features.committed.has_commits and features.can_grow
    return limit // 2 <= size <= limit and is_at_rest and is_ours


def adopt(
    features: FeatureFile, target: Path, attributes: Mapping[str, Any], check: Callable[[], None]
) -> Report | None:
    """Copy a feature file to where there is none, under another heading, and check it.

    Parameters
    ----------
    features : FeatureFile
    target : Path
    attributes : mapping
        Of the new root.
    check : callable
        Called now and then; what it raises ends the copy, and nothing of it stays.

    Returns
    -------
    Report or None
        What the check found; None if the file is not sound, or was written meanwhile, and so was
        not taken as a whole.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    new = beside(target, ".new")
    try:
        with Path(features.path).open("rb") as source, new.open("wb") as copy:
            _copy(source, copy, check)
        if features.committed.was_written:
            return None
        with FeatureWriter(new) as writer:
            writer.restate(attributes)
            writer.finished = False
        report = check_file(new)
        if not report.is_good:
            return None
        move_into_place(new, target)
        report.path = target
        return report
    except WriteError:
        raise
    except StoreError:  # it is damaged: track by track, what is sound of it is found
        return None
    except OSError as error:
        raise WriteError(
            f"{target} cannot be written: {error.strerror or error}; what was finished is kept, "
            "and the same command continues where it stopped"
        ) from None
    finally:
        new.unlink(missing_ok=True)
        journal_path(new).unlink(missing_ok=True)


def _copy(source: BinaryIO, target: BinaryIO, check: Callable[[], None]) -> None:
    """Within the kernel where it can, which shares blocks where the file system can."""
    block = _copied_by_kernel
    while True:
        check()
        try:
            if not block(source, target):
                return
        except (AttributeError, OSError):
            if block is _copied_by_reading:
                raise
            block = _copied_by_reading


def _copied_by_kernel(source: BinaryIO, target: BinaryIO) -> int:
    return os.copy_file_range(source.fileno(), target.fileno(), BLOCK)


def _copied_by_reading(source: BinaryIO, target: BinaryIO) -> int:
    try:
        data = source.read(BLOCK)
    except OSError as error:
        raise StoreError(f"{source.name} cannot be read: {error.strerror or error}") from None
    return target.write(data)
