"""What may be done to a file that exists: whether it can be extended, repaired or replaced.

What a feature file is, `vit1dx.store.reader.FeatureFile` alone decides.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import ForeignFileError, StoreError, UsageError
from .reader import FeatureFile

#: The attribute of the root that marks a stub; see `vit1dx.store.stub`.
STUB = "uploaded"


def why_not_extended(path: Path) -> str:
    """Why a run cannot add tracks to a feature file that can be read; empty if it can.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    with FeatureFile(path) as features:
        if STUB in features.attributes:
            return "only its tables are here, and its tracks were uploaded"
        if not features.committed.has_commits:
            return "it is not HDF5 as vit1dx writes it (another program rewrote it)"
        if not features.can_grow:
            return "it has tables of a fixed size (another program rewrote it)"
    names = path.stat().st_nlink
    if names > 1:
        return f"it has {names} names (hard links), and writing to one would change all"
    return ""


def require_extendable(path: Path) -> None:
    """Raise `StoreError` unless a file is a feature file that a run can add tracks to."""
    try:
        reason = why_not_extended(path)
    except ForeignFileError as error:
        raise ForeignFileError(f"{error}; give another -o") from None
    if reason:
        raise StoreError(
            f"{path} can be read, but not extended: {reason}; run 'vit1dx repair' on it first, or "
            "give another -o"
        )


def require_replaceable(path: Path) -> None:
    """Raise `StoreError` unless there is nothing, an empty file, or a feature file of any kind."""
    if not path.exists() or (path.is_file() and not path.stat().st_size):
        return
    try:
        FeatureFile(path, damaged=True).close()
    except ForeignFileError as error:
        raise ForeignFileError(
            f"{error}, and --overwrite replaces nothing else; give another -o"
        ) from None
    except StoreError:  # damaged, or of another version
        pass


def require_no_shard(path: Path) -> None:
    """Raise `UsageError` if a file is a shard: only its folder is extended or repaired."""
    if not path.is_file():
        return
    try:
        with FeatureFile(path, damaged=True) as features:
            is_shard = "shard" in features.attributes
    except StoreError:  # what is no feature file is no shard
        return
    if is_shard:
        raise UsageError(f"{path} is a shard of a folder; give the folder, {path.parent}/")
