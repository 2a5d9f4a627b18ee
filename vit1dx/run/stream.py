"""The files of a long list, some thousands at a time: a million take as little memory as few."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .._types import Array
from ..remote import path_of
from .ids import placed
from .lists import FileList
from .sources import PassedOver, Search, Source, ids_above, require_together

#: Files that are looked at before work begins, and at most at a time.
FIRST_BATCH, LARGEST_BATCH = 500, 32_000


def stream(
    listed: FileList,
    exclude: Sequence[str] = (),
    include: Sequence[str] = (),
    root: str | os.PathLike[str] | None = None,
    passed_over: PassedOver | None = None,
    is_ours: Callable[[str], bool] = lambda track_id: True,
) -> Iterator[list[Source]]:
    """Find the files of a long list, some thousands at a time, in bounded memory; see `collect`.

    Parameters
    ----------
    is_ours : callable
        Whether a file of this id is to be done here; others are not even looked at.
    """
    search = Search(exclude, include, False, passed_over or PassedOver())
    here, size = os.getcwd(), FIRST_BATCH
    batch: dict[str, Source] = {}
    for entry in listed:
        track_id, place = placed(entry, here, root)
        if is_ours(track_id):
            batch |= {source.id: source for source in search.listed(track_id, place)}
        if len(batch) >= size:
            yield list(batch.values())
            batch, size = {}, min(2 * size, LARGEST_BATCH)
    search.end()
    if batch:
        yield list(batch.values())


def require_names(listed: FileList, root: str | os.PathLike[str] | None) -> None:
    """Raise `UsageError` unless the ids of a long list can stand together; see `collect`."""

    def named() -> Iterator[tuple[str, str]]:
        here = os.getcwd()
        for entry in listed:
            yield placed(entry, here, root)

    names = Names()
    for track_id, path in named():
        names.add(track_id, path)
    suspects = names.suspects()
    if suspects:  # looked at again, as a whole: they are few
        hashes = suspects
        few = [
            (key, path)
            for key, path in named()
            if hash(key) in hashes or not hashes.isdisjoint(map(hash, ids_above(key)))
        ]
        require_together(Source(key, path_of(path)) for key, path in few)


class Names:
    """Ids of a list of any length, by their hashes, to find those that cannot stand together."""

    def __init__(self) -> None:
        self._ids, self._files, self._folders = array("q"), array("q"), array("q")
        self._above = ""

    def add(self, track_id: str, path: str) -> None:
        """Take note of one."""
        self._ids.append(hash(track_id))
        self._files.append(hash((track_id, path)))
        above = track_id.rpartition("/")[0]
        if above != self._above:
            self._above = above
            while above:
                self._folders.append(hash(above))
                above = above.rpartition("/")[0]

    def __len__(self) -> int:
        return len(self._ids)

    def suspects(self) -> set[int]:
        """Hashes of ids that two files would have, or in which others would lie."""
        ids, files, folders = (
            np.frombuffer(held, dtype=np.int64) for held in (self._ids, self._files, self._folders)
        )
        ordered = np.sort(ids)
        again = _is_in(ids, ordered[1:][ordered[1:] == ordered[:-1]])
        pairs = np.unique(np.stack([ids[again], files[again]]), axis=1)  # one file, listed twice
        found, counts = np.unique(pairs[0], return_counts=True)
        folders = np.unique(folders)
        above = folders[_is_in(folders, ordered)]
        return {*found[counts > 1].tolist(), *above.tolist()}


def _is_in(values: Array, ordered: Array) -> Array:
    """Which values are among others that are in order: as np.isin, without sorting anew."""
    if not len(ordered):
        return np.zeros(len(values), bool)
    places = np.searchsorted(ordered, values)
    return ordered.take(places, mode="clip") == values
