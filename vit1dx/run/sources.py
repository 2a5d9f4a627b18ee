"""Which files to extract, and under which ids."""

from __future__ import annotations

import glob
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..audio.files import mtime_ns, printable
from ..audio.formats import AUDIO_EXTENSIONS
from ..errors import UsageError
from ..remote import AnyPath, RemotePath, path_of, place_of
from .ids import id_below, placed
from .lists import Entry
from .objects import Object, find, named
from .patterns import EVERYTHING, Pattern, Rest, advance, is_hidden, split_glob

OUT_OF_FOLDER = "symbolic link out of the folder; --follow-symlinks follows it"

#: Endings that folders are not searched for, but behind which there may be audio.
AUDIO_LIKE_EXTENSIONS = frozenset(
    ".3g2 .aa .aax .adts .asf .awb .bwf .dff .divx .dsf .dts .dv .eac3 .f4a .f4v .flv .gsm .m2ts"
    " .m4p .m4r .mlp .mpa .mpeg .mpg .mpga .mts .ofr .ogm .ogv .ogx .ra .rm .rmvb .sd2 .sf .shn"
    " .spx .tak .thd .ts .vob .voc .vox .vqf .weba".split()
)


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a file, from `start` up to `end`, s; an end of None is the file's."""

    start: float
    end: float | None = None

    def __str__(self) -> str:
        return f"{self.start:.15g}-" + ("" if self.end is None else f"{self.end:.15g}")


@dataclass(frozen=True, slots=True)
class Source:
    """A file to extract.

    Attributes
    ----------
    id : str
        Its path below the input root, with "/" between folders.
    path : Path or RemotePath
    size : int
        Bytes; 0 if it cannot be had.
    mtime_ns : int
        When it was last changed.
    problem : str or None
        Why it cannot be extracted, where that is known without opening it.
    segment : Segment or None
        The part of the file that is meant; None for all of it.
    """

    id: str
    path: AnyPath
    size: int = 0
    mtime_ns: int = 0
    problem: str | None = None
    segment: Segment | None = None

    @property
    def part(self) -> str:
        """The segment in words, empty of a whole file."""
        return "" if self.segment is None else str(self.segment)


@dataclass
class PassedOver:
    """What a search met and did not take.

    Attributes
    ----------
    hidden : int
        Hidden folders, and hidden files with an ending that is searched for; but for those that
        macOS writes beside others (``._song.mp3``).
    other_endings : dict of str to int
        Files by their ending, in lower case, where it is not searched for.
    unused_patterns : list of str
        Patterns to exclude or include that matched nothing.
    """

    hidden: int = 0
    other_endings: Counter[str] = field(default_factory=Counter)
    unused_patterns: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; the commonest endings first."""
        return {
            "hidden": self.hidden,
            "other_endings": dict(self.other_endings.most_common()),
            "unused_patterns": self.unused_patterns,
        }


def searched_endings() -> list[str]:
    """Endings of file names that folders are searched for, without the dot."""
    return sorted(ending.removeprefix(".") for ending in AUDIO_EXTENSIONS)


def collect(
    paths: Sequence[str],
    listed: Iterable[Entry | str] = (),
    exclude: Sequence[str] = (),
    follow_symlinks: bool = False,
    root: str | os.PathLike[str] | None = None,
    include: Sequence[str] = (),
    passed_over: PassedOver | None = None,
) -> list[Source]:
    """Find the files to extract.

    Parameters
    ----------
    paths : sequence of str
        Folders, searched for audio by ending (ids are paths below them); files (ids are their
        names); and globs (ids are paths below the part without wildcards).
    listed : iterable of str or Entry
        Files; ids are those given, or paths below the current folder, or absolute ones without
        the first "/".
    exclude : sequence of str
        Patterns (`vit1dx.run.patterns.Pattern`) of files and folders to leave out.
    follow_symlinks : bool
        Follow symbolic links that lead out of a folder, or to folders. Those to files inside it
        always are, as are those to folders inside it that a part of a glob other than "**" names.
    root : path, optional
        A folder above all files: every id is the path below it, however a file is given.
    include : sequence of str
        Patterns of files and folders to take too, although they are hidden or have another ending.
    passed_over : PassedOver, optional
        Filled with what was not taken.

    Returns
    -------
    list of Source
        Each id once.

    Raises
    ------
    UsageError
        If a path is not there, or not below the root; a glob matches nothing; two files would have
        one id, or one id would lie inside another.
    """
    search = Search(exclude, include, follow_symlinks, passed_over or PassedOver())
    found = require_together(_sources(paths, listed, search, root))
    search.end()
    return list(found.values())


def _sources(
    paths: Sequence[str],
    listed: Iterable[Entry | str],
    search: Search,
    root: str | os.PathLike[str] | None,
) -> Iterator[Source]:
    for text in paths:
        if not text:
            raise UsageError("'': an empty name; '.' is the current folder")
        path = path_of(text)
        if isinstance(path, RemotePath):
            yield from search.objects(find(path, root))
            continue
        if path.is_dir():
            yield from search.folder(path, id_below(root, path, "."))
        elif os.path.lexists(path):
            yield from search.file(str(id_below(root, path, printable(path.name))), path)
        elif glob.has_magic(str(path)):
            yield from search.matches(str(path), root)
        else:
            raise UsageError(f"{printable(text)}: no such file or folder")
    here = os.getcwd()
    for entry in listed:
        yield from _listed(entry, here, search, root)


def _listed(
    entry: Entry | str, here: str, search: Search, root: str | os.PathLike[str] | None
) -> Iterator[Source]:
    track_id, place = placed(entry, here, root)
    yield from search.listed(track_id, place)


class Search:
    """Searches folders for audio, by ending, in the order of names.

    Parameters
    ----------
    exclude, include : sequence of str
    follow : bool
    passed_over : PassedOver
        See `collect`.
    """

    def __init__(
        self,
        exclude: Sequence[str],
        include: Sequence[str],
        follow: bool,
        passed_over: PassedOver,
    ) -> None:
        self._exclude, self._include = ([*map(Pattern, given)] for given in (exclude, include))
        self._follow, self._passed_over = follow, passed_over
        self._matched = False

    def file(self, track_id: str, path: Path) -> Iterator[Source]:
        """A file that was named, whatever it is called, unless it is excluded."""
        if not self._is_excluded(track_id, path):
            yield source_of(track_id, path)

    def folder(self, folder: Path, below: PurePosixPath) -> Iterator[Source]:
        """Audio files of a folder, with ids that begin with `below`."""
        yield from self._walk(folder, below, EVERYTHING, folder.resolve(), ())

    def matches(self, pattern: str, root: str | os.PathLike[str] | None) -> Iterator[Source]:
        """Audio files that match a glob, and those in folders that do; for `root` see `collect`.

        Raises
        ------
        UsageError
            If nothing matches it.
        """
        base, rest = split_glob(pattern)
        if any(".." in parts for parts in rest):
            raise UsageError(f"{printable(pattern)}: '..' after a wildcard; leave it out")
        self._matched = False
        if base.is_dir():
            yield from self._walk(base, id_below(root, base, "."), rest, base.resolve(), ())
        if not self._matched:
            raise UsageError(
                f"{printable(pattern)}: no such file, and no match for it as a pattern"
            )

    def listed(self, track_id: str, place: str) -> Iterator[Source]:
        """A file of a list; see `placed`."""
        path = path_of(place)
        if isinstance(path, RemotePath):
            return self.objects([named(path, track_id)])
        return self.file(track_id, path)

    def objects(self, found: Iterable[Object]) -> Iterator[Source]:
        """Of files behind URLs, those that are music by their endings, or were named."""
        for item in found:
            below = Path(item.id)
            if self._is_excluded(item.id, below):
                continue
            shown = item.was_named or not any(map(is_hidden, below.parts))
            if not (shown or self._is_included(item.id, below)):
                self._passed_over.hidden += _has_audio_ending(below)
            elif item.was_named or self._is_audio(below, item.id):
                status = item.status
                size, changed = (status.st_size, status.st_mtime_ns) if status else (0, 0)
                yield Source(item.id, item.path, size, changed)

    def end(self) -> None:
        """Take note of the patterns that matched nothing."""
        patterns = [*self._exclude, *self._include]
        self._passed_over.unused_patterns = [p.typed for p in patterns if not p.used]

    def _walk(
        self,
        folder: Path,
        below: PurePosixPath,
        rest: Rest,
        root: Path,
        above: tuple[tuple[int, int], ...],
    ) -> Iterator[Source]:
        try:
            here = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            self._matched = True
            yield Source(f"{below}/", folder, problem=f"folder not read: {error.strerror}")
            return
        if (here.st_dev, here.st_ino) in above:  # a symbolic link to a folder we are in
            return
        above = (*above, (here.st_dev, here.st_ino))
        for entry in entries:
            yield from self._entry(entry, below / printable(entry.name), rest, root, above)

    def _entry(
        self,
        entry: os.DirEntry[str],
        below: PurePosixPath,
        rest: Rest,
        root: Path,
        above: tuple[tuple[int, int], ...],
    ) -> Iterator[Source]:
        path, is_folder = Path(entry.path), _is_folder(entry)
        leads_out = _leads_out(entry, root) and not self._follow
        is_link = is_folder and entry.is_symlink() and not self._follow and not leads_out
        rest = self._rest(entry.name, path, str(below), rest, is_folder, is_link)
        if not rest or (not is_folder and () not in rest):
            return
        self._matched = self._matched or () in rest
        if self._is_excluded(str(below), path) or not (
            is_folder or self._is_audio(path, str(below))
        ):
            return
        if leads_out:
            self._matched = True
            yield Source(str(below), path, problem=OUT_OF_FOLDER)
        elif is_folder:
            yield from self._walk(path, below, EVERYTHING if () in rest else rest, root, above)
        else:
            yield source_of(str(below), path)

    def _rest(
        self, name: str, path: Path, below: str, rest: Rest, is_folder: bool, is_link: bool
    ) -> Rest:
        """What is left of a glob below, or behind, an entry; hidden ones are counted."""
        shown = not is_hidden(name) or self._is_included(below, path, is_folder)
        after = advance(rest, name, shown, is_link)
        if not shown and not after and not name.startswith("._"):
            missed = advance(rest, name, True, is_link)
            wanted = bool(missed) if is_folder else () in missed and _has_audio_ending(path)
            if wanted and not self._is_excluded(below, path):
                self._passed_over.hidden += 1
                self._matched = True
        return after

    def _is_audio(self, path: Path, below: str) -> bool:
        """Whether a file is taken by its ending; others are counted."""
        if _has_audio_ending(path) or self._is_included(below, path):
            return True
        self._passed_over.other_endings[path.suffix.lower()] += 1
        return False

    def _is_included(self, below: str, path: Path, is_folder: bool = False) -> bool:
        named = [pattern.names(below, path) for pattern in self._include]
        return any(named) or (is_folder and any(p.leads_into(below) for p in self._include))

    def _is_excluded(self, below: str, path: Path) -> bool:
        covered = [
            pattern.covers(below, path) for pattern in self._exclude
        ]  # all: their use is noted
        return any(covered)


def _has_audio_ending(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_EXTENSIONS


def _leads_out(entry: os.DirEntry[str], root: Path) -> bool:
    """Whether an entry is a symbolic link to something outside a folder."""
    if not entry.is_symlink() or not os.path.exists(entry.path):
        return False
    return not Path(os.path.realpath(entry.path)).is_relative_to(root)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link to itself, for one
        return False


def source_of(track_id: str, path: Path) -> Source:
    """A source with its size; what else may be wrong shows when it is opened."""
    try:
        status = path.stat()
    except OSError:
        return Source(track_id, path)
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    return Source(track_id, path, size, mtime_ns(status))


def _same_file(one: AnyPath, other: AnyPath) -> bool:
    return place_of(one) == place_of(other)


def require_together(sources: Iterable[Source]) -> dict[str, Source]:
    """Sources by their ids, each once, and none inside another: a track is a group."""
    found: dict[str, Source] = {}
    for source in sources:
        known = found.setdefault(source.id, source)
        if known.path != source.path and not _same_file(known.path, source.path):
            raise UsageError(
                f"{printable(known.path)} and {printable(source.path)} would both be track "
                f"{source.id}; give the folder above them, or extract them apart"
            )
    for track_id, source in found.items():
        for above in ids_above(track_id):
            outer = found.get(above)
            if outer is not None:
                raise UsageError(
                    f"{printable(source.path)} would lie inside track {outer.id}, which is "
                    f"{printable(outer.path)}; extract them apart"
                )
    return found


def ids_above(track_id: str) -> Iterator[str]:
    """The ids of what a track would lie in."""
    above = track_id.rpartition("/")[0]
    while above:
        yield above
        above = above.rpartition("/")[0]
