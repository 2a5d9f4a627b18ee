"""Which track a label is of: names of labels beside ids of tracks.

An id is a path below the folder that was extracted. A name is one, with or without its ending, or
any path whose last parts are those of one, or that is the last parts of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..errors import UsageError

#: Examples named in a message.
FEW = 3


@dataclass(frozen=True)
class Matches:
    """What was found of names.

    Attributes
    ----------
    ids : dict of str
        Id of the track of each name.
    missing : list of str
        Names of which there is no track.
    by_end : list of str
        Names that agree with their id in the last parts alone, their folders being others.
    """

    ids: dict[str, str]
    missing: list[str]
    by_end: list[str]


def match(names: Iterable[str], ids: Iterable[str]) -> Matches:
    """Match names with ids.

    Where some names agree with ids as far as both go, those that agree in their last parts alone
    are taken for other tracks'; where none does, the labels lie in folders of other names.

    Raises
    ------
    UsageError
        If a name may be of two tracks, or two names that agree in their last parts alone are of
        one.
    """
    index = _Index(ids)
    whole: dict[str, str] = {}
    by_end: dict[str, str] = {}
    asked = list(dict.fromkeys(names))
    for name in asked:
        track_id, is_whole = index.find(name)
        if track_id is not None:
            (whole if is_whole else by_end)[name] = track_id
    found = whole or by_end
    missing = [name for name in asked if name not in found]
    if not whole:
        _require_one_name_each(by_end)
    return Matches(found, missing, [] if whole else list(by_end))


def few(names: Iterable[str], most: int = FEW) -> str:
    """Some names, for a message."""
    listed = list(names)
    return ", ".join(listed[:most]) + (", ..." if len(listed) > most else "")


def _require_one_name_each(ids: dict[str, str]) -> None:
    names: dict[str, str] = {}
    for name, track_id in ids.items():
        first = names.setdefault(track_id, name)
        if first != name:
            raise UsageError(
                f"labels {first!r} and {name!r} may both be of track {track_id!r}; "
                "name tracks by their ids"
            )


class _Index:
    """Ids, to be found by their last parts."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids: dict[tuple[str, ...], list[str]] = {}
        self._whole: dict[str, str] = {}
        for track_id in ids:
            self._whole[track_id] = track_id
            for parts in _spellings(track_id):
                for start in range(len(parts)):
                    self._ids.setdefault(parts[start:], []).append(track_id)

    def find(self, name: str) -> tuple[str | None, bool]:
        """The id that a name is of, and whether all of the one is the end of the other."""
        if name in self._whole:
            return name, True
        spellings = list(_spellings(name))
        for length in range(max(map(len, spellings), default=0), 0, -1):
            for parts in spellings:
                ids = self._ids.get(parts[-length:], []) if len(parts) >= length else []
                whole = [i for i in ids if length == len(parts) or length in _lengths(i)]
                if whole:
                    return _one(name, whole), True
                if len(set(ids)) == 1:
                    return ids[0], False
        return None, False


def _lengths(track_id: str) -> set[int]:
    return {len(parts) for parts in _spellings(track_id)}


def _one(name: str, ids: list[str]) -> str:
    """The only id, or the only one that is the name but for its ending."""
    exact = [each for each in ids if _without_ending(each) == name]
    left = list(dict.fromkeys(exact if len(exact) == 1 else ids))
    if len(left) > 1:
        raise UsageError(f"label {name!r} may be of {few(left)}; name the track by its whole id")
    return left[0]


def _spellings(name: str) -> Iterator[tuple[str, ...]]:
    """The parts of a path, as it is and without its ending."""
    parts = tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))
    if parts:
        yield parts
        stem = _without_ending(parts[-1])
        if stem != parts[-1]:
            yield (*parts[:-1], stem)


def _without_ending(name: str) -> str:
    stem, _, ending = name.rpartition(".")
    return stem if stem and ending and "/" not in ending else name
