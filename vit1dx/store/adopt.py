"""Feature files that become shards of a folder as they are: copied as files, not track by track."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import StoreError, WriteError
from .journal import journal_path
from .lock import is_locked
from .reader import FeatureFile
from .verify import Report, check_file
from .writer import FeatureWriter, move_into_place, not_written, unfinished

#: Bytes copied between two checks for an interruption.
BLOCK = 64 << 20


def has_shard_size(path: Path, limit: int) -> bool:
    """Whether a file would do as a shard of so many bytes at most.

    Smaller than half of that it would not: the output should have fewer files than the inputs.
    """
    return limit // 2 <= path.stat().st_size <= limit


def is_shard_like(features: FeatureFile) -> bool:
    """Whether a file is as a run writes its shards, and none is writing it."""
    path = Path(features.path)
    is_at_rest = not (journal_path(path).exists() or is_locked(path))
    return is_at_rest and features.committed.has_commits and features.can_grow


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
    with unfinished(target) as new:
        return _adopted(features, new, target, attributes, check)


def _adopted(
    features: FeatureFile,
    new: Path,
    target: Path,
    attributes: Mapping[str, Any],
    check: Callable[[], None],
) -> Report | None:
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
        raise not_written(target, error) from None


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
