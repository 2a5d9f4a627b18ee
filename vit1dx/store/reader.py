"""One feature file, read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import h5py

from .latest import CommittedFile
from ..errors import ForeignFileError, StoreError, TrackError
from .features import Features, plain
from .format import FORMAT, FORMAT_VERSION
from .index import Row, read_table

_T = TypeVar("_T")


class FeatureFile(Features):
    """A feature file, open for reading, as it is at its last commit whenever it is looked at.

    Whether this can be made is what tells a feature file from others, for every command.

    Parameters
    ----------
    path : path
    damaged : bool
        Open a file that was cut too, to see what of it is sound.

    Raises
    ------
    StoreError
        If there is no such file, or it is damaged, or of another version; `ForeignFileError`, if
        it is not a feature file at all.
    """

    def __init__(self, path: str | os.PathLike[str], damaged: bool = False) -> None:
        self.path, self._place = Path(path), os.path.abspath(path)
        self._committed = CommittedFile(self.path, damaged)
        try:
            self._committed.read(self._read_root)
        except BaseException:
            self.close()
            raise

    def _read_root(self, file: h5py.File) -> None:
        try:
            self.attributes = plain(file.attrs)
            self._require_known_format()
            for value in self.attributes.values():
                str(value).encode()  # HDF5 guards most of a file by checksums, but not text
            self.layers = tuple(int(layer) for layer in file["layer"])
            self.config = json.loads(self.attributes["config"])
            for key in ("layers", "attention", "dtype"):
                self.config["request"][key]
        except StoreError:
            raise
        except Exception as error:  # HDF5 raises whatever a damaged byte leads to
            raise StoreError(f"{self.path} is damaged at its root: {error}") from None

    def _require_known_format(self) -> None:
        kind, version = (self.attributes.get(key) for key in ("format", "format_version"))
        if kind != FORMAT:
            raise ForeignFileError(f"{self.path} is of format {kind!r}; {FORMAT!r} is needed")
        if version != FORMAT_VERSION:
            raise StoreError(
                f"{self.path} is of version {version!r} of the format; {FORMAT_VERSION} is needed"
            )

    @property
    def committed(self) -> CommittedFile:
        """The file below."""
        return self._committed

    def index(self) -> dict[str, Row]:
        """See `Features`."""
        return self._table("index", read_table)

    def failed(self) -> dict[str, Row]:
        """See `Features`."""
        return self._table("failures", read_table)

    def _table(self, name: str, take: Callable[[h5py.Group], _T]) -> _T:
        try:
            return self._committed.read(lambda file: take(file[name]))
        except (KeyError, OSError, ValueError, RuntimeError) as error:
            raise StoreError(
                f"/{name} of {self.path} cannot be read ({error}); 'vit1dx repair' makes it anew"
            ) from None

    @property
    def can_grow(self) -> bool:
        """Whether its tables can take more rows."""
        return all(self._table(name, _can_grow) for name in ("index", "failures"))

    def read(self, track_id: str, take: Callable[[h5py.Group], _T]) -> _T:
        """See `Features`."""

        def taken(file: h5py.File) -> tuple[bool, Any]:
            group = _track(file, track_id)
            return group is not None, group and take(group)

        is_there, result = self._committed.read(taken)
        if not is_there:
            raise TrackError(f"no track {track_id!r} in {self.path}; iterating gives those it has")
        return result

    def has(self, track_id: str) -> bool:
        """See `Features`."""
        return self._committed.read(lambda file: _track(file, track_id) is not None)

    def files(self, track_ids: Iterable[str]) -> dict[str, str]:
        """See `Features`."""

        def sources(file: h5py.File) -> dict[str, str]:
            found = ((key, _track(file, key)) for key in track_ids)
            return {key: str(group.attrs.get("source", "")) for key, group in found if group}

        return self._committed.read(sources)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._table("index", lambda index: index["id"].asstr()[:].tolist())))

    def __len__(self) -> int:
        return self._table("index", lambda index: len(index["id"]))

    def close(self) -> None:
        """See `Features`."""
        self._committed.close()


def _can_grow(table: h5py.Group) -> bool:
    return all(column.maxshape == (None,) for column in table.values())


def _track(file: h5py.File, track_id: str) -> h5py.Group | None:
    """A track's group, if it is one."""
    with suppress(KeyError, ValueError):  # no such name, or one that HDF5 cannot have
        group = file["tracks"][track_id]
        if isinstance(group, h5py.Group) and "complete" in group.attrs:
            return group
    return None
