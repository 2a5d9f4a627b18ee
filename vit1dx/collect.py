"""Which files to extract, and under which ids."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from .audio.files import mtime_ns, printable
from .audio.formats import AUDIO_EXTENSIONS
from .errors import UsageError

OUT_OF_FOLDER = "symbolic link out of the folder; --follow-symlinks follows it"


@dataclass(frozen=True)
class Source:
    """A file to extract.

    Attributes
    ----------
    id : str
        Its path below the input root, with "/" between folders.
    path : Path
    size : int
        Bytes; 0 if it cannot be had.
    mtime_ns : int
        When it was last changed.
    problem : str or None
        Why it cannot be extracted, where that is known without opening it.
    """

    id: str
    path: Path
    size: int = 0
    mtime_ns: int = 0
    problem: str | None = None


def collect(
    paths: Sequence[str],
    listed: Iterable[str] = (),
    exclude: Sequence[str] = (),
    follow_symlinks: bool = False,
    root: str | os.PathLike[str] | None = None,
) -> list[Source]:
    """Find the files to extract.

    Parameters
    ----------
    paths : sequence of str
        Folders, searched for audio by extension (ids are paths below them); files (ids are their
        names); and globs (ids are paths below the part without wildcards).
    listed : iterable of str
        Files; ids are paths below the current folder, or absolute ones without the first "/".
    exclude : sequence of str
        Globs. One without "/" is held against each part of an id, one with "/" against all of it.
    follow_symlinks : bool
        Follow symbolic links that lead out of a folder, or to folders. Those to files inside it
        always are.
    root : path, optional
        A folder above all files: every id is the path below it, however a file is given.

    Returns
    -------
    list of Source
        Each id once.

    Raises
    ------
    UsageError
        If a path is not there, or not below the root; or two files would have one id, or one id
        would lie inside another.
    """
    found: dict[str, Source] = {}
    for source in _sources(paths, listed, exclude, follow_symlinks, root):
        known = found.setdefault(source.id, source)
        if known.path != source.path and not _same_file(known.path, source.path):
            raise UsageError(
                f"{printable(known.path)} and {printable(source.path)} would both be track "
                f"{source.id}; give the folder above them, or extract them apart"
            )
    _require_no_nesting(found)
    return list(found.values())


def read_list(data: bytes) -> list[str]:
    """Paths of a list, one a line or, where there are NUL bytes, between those."""
    separator = b"\0" if b"\0" in data else b"\n"
    entries = (entry.removesuffix(b"\r") for entry in data.split(separator))
    return [os.fsdecode(entry) for entry in entries if entry]


def _below(root: str | os.PathLike[str] | None, path: Path, otherwise: str) -> PurePosixPath:
    """A path as an id has it: below the root, if there is one."""
    if root is None:
        return PurePosixPath(otherwise)
    top, full = os.path.abspath(root), Path(os.path.abspath(path))
    if not full.is_relative_to(top):
        raise UsageError(f"{printable(path)} is not below --root {printable(root)}")
    return PurePosixPath(printable(full.relative_to(top).as_posix()))


def _sources(
    paths: Sequence[str],
    listed: Iterable[str],
    exclude: Sequence[str],
    follow: bool,
    root: str | os.PathLike[str] | None,
) -> Iterator[Source]:
    folders = Walker(exclude, follow)
    for text in paths:
        path = Path(text)
        if path.is_dir():
            yield from folders.walk(path, _below(root, path, "."))
        elif os.path.lexists(path):
            below = _below(root, path, printable(path.name))
            yield from _wanted(_source(str(below), path), exclude)
        elif glob.has_magic(text):
            yield from _globbed(text, folders, root)
        else:
            raise UsageError(f"{printable(text)}: no such file or folder")
    here = Path.cwd()
    for text in listed:
        path = Path(os.path.normpath(here / text))
        usual = path.relative_to(here if path.is_relative_to(here) else path.anchor)
        below = _below(root, path, printable(usual.as_posix()))
        yield from _wanted(_source(str(below), path), exclude)


def _globbed(
    pattern: str, folders: Walker, root: str | os.PathLike[str] | None
) -> Iterator[Source]:
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    base = Path(os.path.normpath(Path(*parts[:fixed])))
    for match in sorted(glob.glob(pattern, recursive=True)):
        path = Path(match)
        plain = Path(os.path.normpath(match))
        if not plain.is_relative_to(base):
            raise UsageError(f"{printable(pattern)} leads out of {base} by '..'; leave that out")
        below = _below(root, plain, printable(plain.relative_to(base).as_posix()))
        is_audio = path.suffix.lower() in AUDIO_EXTENSIONS
        leaves = not Path(os.path.realpath(path)).is_relative_to(base.resolve())
        if leaves and not folders.follow and (is_audio or path.is_dir()):
            yield from _wanted(Source(str(below), path, problem=OUT_OF_FOLDER), folders.exclude)
        elif path.is_dir():
            # "**" names the files in a folder too.
            if "**" not in parts:
                yield from folders.walk(path, below)
        elif is_audio:
            yield from _wanted(_source(str(below), path), folders.exclude)


class Walker:
    """Searches folders for audio, by extension, in the order of names; hidden ones are passed over.

    Parameters
    ----------
    exclude : sequence of str
    follow : bool
        See `collect`.
    """

    def __init__(self, exclude: Sequence[str], follow: bool) -> None:
        self.exclude, self.follow = exclude, follow

    def walk(self, root: Path, below: PurePosixPath) -> Iterator[Source]:
        """Audio files under a folder, with ids that begin with `below`."""
        yield from self._walk(root, below, root.resolve(), ())

    def _walk(
        self, folder: Path, below: PurePosixPath, root: Path, above: tuple[tuple[int, int], ...]
    ) -> Iterator[Source]:
        try:
            here = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            yield Source(f"{below}/", folder, problem=f"folder not read: {error.strerror}")
            return
        if (here.st_dev, here.st_ino) in above:  # a symbolic link to a folder we are in
            return
        above = (*above, (here.st_dev, here.st_ino))
        for entry in entries:
            inner = below / printable(entry.name)
            if entry.name.startswith(".") or _excluded(str(inner), self.exclude):
                continue
            yield from self._entry(entry, inner, root, above)

    def _entry(
        self,
        entry: os.DirEntry[str],
        below: PurePosixPath,
        root: Path,
        above: tuple[tuple[int, int], ...],
    ) -> Iterator[Source]:
        path = Path(entry.path)
        is_folder = _is_folder(entry)
        if not is_folder and path.suffix.lower() not in AUDIO_EXTENSIONS:
            return
        if entry.is_symlink() and not self.follow:
            inside = Path(os.path.realpath(path)).is_relative_to(root)
            if is_folder and inside:  # what it leads to is found without it
                return
            if not inside and os.path.exists(path):
                yield Source(str(below), path, problem=OUT_OF_FOLDER)
                return
        if is_folder:
            yield from self._walk(path, below, root, above)
        else:
            yield _source(str(below), path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link to itself, for one
        return False


def _source(track_id: str, path: Path) -> Source:
    """A source with its size; what else may be wrong with it, opening it will tell."""
    try:
        status = path.stat()
    except OSError:
        return Source(track_id, path)
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    return Source(track_id, path, size, mtime_ns(status))


def _wanted(source: Source, exclude: Sequence[str]) -> Iterator[Source]:
    if not _excluded(source.id, exclude):
        yield source


def _excluded(track_id: str, patterns: Sequence[str]) -> bool:
    return any(
        fnmatchcase(track_id, pattern)
        or ("/" not in pattern and any(fnmatchcase(part, pattern) for part in track_id.split("/")))
        for pattern in patterns
    )


def _same_file(one: Path, other: Path) -> bool:
    return os.path.abspath(one) == os.path.abspath(other)


def _require_no_nesting(found: dict[str, Source]) -> None:
    """A track is a group; nothing else may lie in it."""
    for track_id, source in found.items():
        parts = track_id.split("/")
        for count in range(1, len(parts)):
            outer = found.get("/".join(parts[:count]))
            if outer is not None:
                raise UsageError(
                    f"{printable(source.path)} would lie inside track {outer.id}, which is "
                    f"{printable(outer.path)}; extract them apart"
                )
