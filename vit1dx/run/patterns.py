"""Patterns of file names, as people type them and as tab completion completes them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

#: What is left of a glob, part by part, in each way that a path can match it so far; () is its end.
Rest = frozenset[tuple[str, ...]]
EVERYTHING: Rest = frozenset({("**",), ()})


def is_hidden(name: str) -> bool:
    """Whether a name is a hidden one; "...And Justice for All" is a title."""
    return name.startswith(".") and not name.startswith("..")


def split_glob(pattern: str) -> tuple[Path, Rest]:
    """The folder that a glob begins in, and the rest of it.

    What is there by the very name, brackets and all, is no wildcard.
    """
    parts = Path(pattern).parts
    wild = (
        count
        for count, part in enumerate(parts)
        if glob.has_magic(part) and not os.path.lexists(Path(*parts[: count + 1]))
    )
    first = next(wild, len(parts))
    return Path(*parts[:first]), _closed({parts[first:]})


def advance(rest: Rest, name: str, visible: bool, is_link: bool = False) -> Rest:
    """What is left of a glob below a folder, or behind a file, of a name.

    Parameters
    ----------
    rest : Rest
        What was left above it.
    name : str
    visible : bool
        Whether wildcards stand for it; for a hidden name they do not.
    is_link : bool
        A link to a folder, which "**" does not follow.
    """
    after = set()
    for first, *others in filter(None, rest):
        if first == "**":
            after |= {(first, *others)} if visible and not is_link else set()
        elif name == first or (fnmatchcase(name, first) and (visible or first[0] == ".")):
            after.add(tuple(others))
    return _closed(after)


def _closed(rest: set[tuple[str, ...]]) -> Rest:
    """With what is left where "**" stands for no folder at all."""
    more = {parts[1:] for parts in rest if parts[:1] == ("**",)} - rest
    return _closed(rest | more) if more else frozenset(rest)


class Pattern:
    """A pattern of --exclude or --include.

    Parameters
    ----------
    typed : str
        A glob. Without "/" it is held against names; with one, against ids and against paths as
        they are typed. ``solo/`` and ``./solo`` are ``solo``; a name is also a pattern of itself,
        whatever brackets it has.

    Attributes
    ----------
    used : bool
        Whether anything has matched it yet.
    """

    def __init__(self, typed: str) -> None:
        self.typed, self.used = typed, False
        plain = os.path.normpath(typed)
        self._forms = {plain, plain.replace("**/", "")}
        self._is_path = "/" in plain
        self._is_absolute = plain.startswith("/")

    def covers(self, track_id: str, path: Path) -> bool:
        """Whether it names a file or folder, or one that it lies in."""
        if self._is_path:
            return self._any(above for text in self._texts(track_id, path) for above in _up(text))
        return self._any(track_id.split("/"))

    def names(self, track_id: str, path: Path) -> bool:
        """Whether it names a file or folder itself."""
        if self._is_path:
            return self._any(self._texts(track_id, path))
        return self._any([track_id.rpartition("/")[2]])

    def leads_into(self, folder_id: str) -> bool:
        """Whether it names something below a folder."""
        depth = folder_id.count("/") + 1
        heads = (form.split("/")[:depth] for form in self._forms if form.count("/") >= depth)
        return any(fnmatchcase(folder_id, "/".join(head)) for head in heads)

    def _texts(self, track_id: str, path: Path) -> tuple[str, str]:
        return track_id, os.path.abspath(path) if self._is_absolute else os.path.normpath(path)

    def _any(self, texts: Iterator[str] | Sequence[str]) -> bool:
        found = any(
            text == form or fnmatchcase(text, form) for text in texts for form in self._forms
        )
        self.used = self.used or found
        return found


def _up(path: str) -> Iterator[str]:
    """A path, and the folders above it."""
    while path and path != "/":
        yield path
        path = path.rpartition("/")[0]
