"""Where an output is: its path, its shards' names, and whether it may be written."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..errors import StoreError, UsageError
from ..remote import AnyPath
from ..whole import resolved

_AnyPath = TypeVar("_AnyPath", bound=AnyPath)


def beside(path: Path, ending: str) -> Path:
    """The file beside a path, or beside what it leads to, of the same name and this ending."""
    real = resolved(path)
    return real.with_name(real.name + ending)


#: What the name of a feature file ends in.
SUFFIXES = (".h5", ".hdf5")
#: Most bytes of a shard, unless another size is asked for.
SHARD_SIZE = "16GiB"
#: Smallest file that a folder of shards may be made of: what holds no track counts, too.
LEAST_SHARD = 1_000_000

#: In a folder: how its files were shared out to parts, and what is known of its shards.
SHARES_NAME, CATALOGUE_NAME = "parts.json", "index.sqlite"

#: In a folder that the workers of a cluster write: which shards each batch at work is written to.
NOTES = ".at-work"

_SIZE = re.compile(r"([\d.]+)\s*([kmgt]?)(i?)b", re.IGNORECASE)
_SHARD = re.compile(r"(\d{5,})\.h5")
_PART = re.compile(r"part-(\d{3,})-of-(\d{3,})")
#: A shard, and what a run that was killed may leave of one, or of its lock.
_OURS = re.compile(
    rf"{_SHARD.pattern}(\.new)?(\.journal|\.lock)?|lock|{SHARES_NAME}|{re.escape(CATALOGUE_NAME)}"
)


def shard_limit(output: str, size: str | None) -> int | None:
    """Most bytes of a shard where an output is a folder, by its name or as it is there; or None.

    Raises
    ------
    UsageError
        If the output is neither a folder nor named as a feature file; or if a size is given that
        cannot be read, or is not for a folder.
    """
    if output.endswith("/") or Path(output).is_dir():
        return parse_bytes(size or SHARD_SIZE)
    if Path(output).suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"-o {output}: the output is HDF5; give a name that ends in "
            f"{' or '.join(SUFFIXES)}, or in '/' for a folder"
        )
    if size is not None:
        raise UsageError(
            f"--shard-size {size} with one file, {output}; leave it out, or end -o in '/' for a "
            "folder of shards"
        )
    return None


def parse_bytes(text: str) -> int:
    """The size of a shard, given as ``"4GiB"`` or ``"500MB"``.

    Raises
    ------
    UsageError
        If it cannot be read, or is too small for a shard.
    """
    match = _SIZE.fullmatch(text.strip())
    try:
        number, unit, binary = match.groups() if match else ("", "", "")
        size = float(number) * (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " ")
    except ValueError:
        raise UsageError(f"size {text!r}; give a number with a unit, as 4GiB or 500MB") from None
    if size < LEAST_SHARD:
        raise UsageError(f"size {text!r} is too small for a shard; give 1MB or more")
    return int(size)


def shard_path(folder: Path, number: int) -> Path:
    """Where a shard is."""
    return folder / f"{number:05}.h5"


def shard_number(path: AnyPath) -> int:
    """Which shard a file is."""
    return int(path.stem)


@dataclass(frozen=True, order=True)
class Part:
    """One of several parts of a collection, each a folder of shards of its own: 3 of 16."""

    count: int
    number: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"part-{self.number:03}-of-{self.count:03}"

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def part_of(path: AnyPath) -> Part | None:
    """The part that a folder is, by its name."""
    found = _PART.fullmatch(path.name)
    return Part(int(found[2]), int(found[1])) if found else None


def part_folders(output: _AnyPath) -> dict[Part, _AnyPath]:
    """The parts of an output that are there, in order; empty where it is not in parts."""
    if not output.is_dir():
        return {}
    inside: Any = output.iterdir()
    found = ((part_of(path), path) for path in inside)
    return dict(sorted((part, path) for part, path in found if part and path.is_dir()))


def feature_files(output: _AnyPath) -> list[_AnyPath]:
    """The feature files of an output that are there: one, or the shards of a folder in order.

    Those of its parts follow part by part.
    """
    if not output.is_dir():
        return [output] if output.exists() else []
    inside: Any = output.iterdir()
    shards = [path for path in inside if _SHARD.fullmatch(path.name)]
    parts = [file for folder in part_folders(output).values() for file in feature_files(folder)]
    return sorted(shards, key=shard_number) + parts


def locked_shards(folder: Path) -> list[Path]:
    """Shards of a folder, there or not yet, that have locks of their own, in order."""
    names = (name.removesuffix(".lock") for name in os.listdir(folder) if name.endswith(".lock"))
    return sorted((folder / name for name in names if _SHARD.fullmatch(name)), key=shard_number)


def require_writable(path: Path) -> None:
    """Raise `StoreError` unless a file may be written at `path`, or where it leads."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; the name of a file is needed")
    _require_home(path)
    if path.exists() and not os.access(path, os.W_OK):
        raise StoreError(f"no permission to write {path}")


def require_folder(path: Path) -> None:
    """Make a folder for shards at `path`, unless it exists.

    Raises
    ------
    UsageError
        If it is a file, or holds other things.
    StoreError
        If shards cannot be written there.
    """
    if not path.is_dir():
        make_folder(path)
    if parts := part_folders(path):
        count = max(parts).count
        raise UsageError(
            f"{path} is in {count} parts; give --part K/{count}, or another -o, into which 'vit1dx "
            "merge' puts the whole"
        )
    _require_ours(path)
    for file in (shard_path(path, 0), *feature_files(path)):
        require_writable(file)


def require_part_folder(path: Path, part: Part, make: bool = True) -> Path:
    """Make the folder of a part, and the one that it is in, unless they exist; returns the first.

    Parameters
    ----------
    path : Path
    part : Part
    make : bool
        Otherwise, only make sure that they can be made.

    Raises
    ------
    UsageError
        If `path` is a file, or holds other things, or is in another number of parts.
    StoreError
        If shards cannot be written there.
    """
    folder = path / part.name
    if not path.is_dir():
        make_folder(path) if make else require_makeable(path)
    if path.is_dir():
        _require_ours(path)
    require_parts_of(path, part)
    if make or folder.is_dir():
        require_folder(folder)
    return folder


def require_parts_of(path: AnyPath, part: Part) -> None:
    """Raise `UsageError` if an output holds parts of another number, or shards beside them."""
    others = [other for other in part_folders(path) if other.count != part.count]
    if others or (feature_files(path) and not part_folders(path)):
        held = f"parts of {others[0].count}" if others else "shards of a run without --part"
        raise UsageError(
            f"{path} holds {held}, and --part {part} was asked for; give another -o, and let "
            "'vit1dx merge' join the two"
        )


def make_folder(path: Path) -> None:
    """Make a folder, which another process may do at the same time.

    Raises
    ------
    UsageError
        If it is a file.
    StoreError
        If it cannot be made.
    """
    require_makeable(path)
    try:
        resolved(path).mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(f"folder {path} cannot be made: {error.strerror}") from None


def require_makeable(path: Path) -> None:
    """Raise what `make_folder` would, as far as that can be known before."""
    if path.is_file():
        raise UsageError(
            f"{path} is a file, not a folder of shards; leave out the '/', or give another -o"
        )
    _require_home(path)


def _require_ours(path: Path) -> None:
    foreign = sorted(name for name in os.listdir(path) if not _is_ours(name))
    if foreign:
        raise UsageError(
            f"{path} holds files other than shards, such as {foreign[0]}; give a folder for "
            "features alone"
        )


def _require_home(path: Path) -> None:
    real = resolved(path)
    if real.is_symlink():
        raise StoreError(f"{path} is a symbolic link that leads to itself")
    if not real.parent.is_dir():
        raise StoreError(f"no folder {real.parent} to write {real.name} into")
    if not os.access(real.parent, os.W_OK):
        raise StoreError(f"no permission to write into {real.parent}")


def _is_ours(name: str) -> bool:
    return name.startswith(".") or any(known.fullmatch(name) for known in (_OURS, _PART))
