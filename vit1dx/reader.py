"""One feature file, read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import h5py

from .errors import StoreError
from .features import Features, Track, plain
from .header import FORMAT, FORMAT_VERSION
from .journal import read_journal
from .journaled import JournaledFile
from .tables import Row, read_table


class FeatureFile(Features):
    """A feature file, open for reading.

    Parameters
    ----------
    path : path
    damaged : bool
        Open a file that was cut too, to see what of it is sound.

    Raises
    ------
    StoreError
        If there is no such file, or it is not a feature file of a known version.
    """

    def __init__(self, path: str | os.PathLike[str], damaged: bool = False) -> None:
        self.path = Path(path)
        self._raw: JournaledFile | None = None
        try:
            self._file = h5py.File(self._committed(damaged), "r")
        except FileNotFoundError:
            raise StoreError(f"no feature file at {path}") from None
        except OSError as error:
            hint = "; 'vit1dx repair' keeps what is sound" if "truncated file" in str(error) else ""
            raise StoreError(f"{path} cannot be opened as HDF5: {error}{hint}") from None
        try:
            self.attributes = plain(self._file.attrs)
            self._require_known_format()
            for value in self.attributes.values():
                str(value).encode()  # HDF5 guards most of a file by checksums, but not text
            self.layers = tuple(int(layer) for layer in self._file["layer"])
            self.config = json.loads(self.attributes["config"])
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            self.close()
            raise StoreError(f"{path} is damaged at its root: {error}") from None

    def _committed(self, damaged: bool) -> Path | JournaledFile:
        """The file, or where a commit was cut short, the file as that makes it."""
        if read_journal(self.path) is None and not damaged:
            return self.path
        self._raw = JournaledFile(self.path, writable=False, damaged=damaged)
        return self._raw

    @property
    def root(self) -> h5py.File:
        """The file as h5py has it."""
        return self._file

    @property
    def cut(self) -> str:
        """How a damaged file was cut; empty if it was not, or not opened as one."""
        return self._raw.cut if self._raw else ""

    def _require_known_format(self) -> None:
        kind, version = (self.attributes.get(key) for key in ("format", "format_version"))
        if kind != FORMAT or version != FORMAT_VERSION:
            self.close()
            raise StoreError(
                f"{self.path} is of format {kind!r}, version {version!r}; "
                f"{FORMAT!r}, version {FORMAT_VERSION} is needed"
            )

    def index(self) -> dict[str, Row]:
        """See `Features`."""
        return self._table("index")

    def failed(self) -> dict[str, Row]:
        """See `Features`."""
        return self._table("failures")

    def _table(self, name: str) -> dict[str, Row]:
        try:
            return read_table(self._file[name])
        except (KeyError, OSError, ValueError) as error:
            raise StoreError(
                f"/{name} of {self.path} cannot be read ({error}): it is damaged, or of another "
                "version of vit1dx; 'vit1dx verify' says more, 'extract --overwrite' replaces it"
            ) from None

    def group(self, track_id: str) -> h5py.Group:
        """A track as h5py has it; raises KeyError if there is none."""
        group = self._file["tracks"].get(track_id)
        if not _is_track(group):
            raise KeyError(track_id)
        return group

    def __getitem__(self, track_id: str) -> Track:
        group = self.group(track_id)
        return Track(track_id, lambda: group)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._file["index/id"].asstr()[:].tolist()))

    def __len__(self) -> int:
        return len(self._file["index/id"])

    def close(self) -> None:
        """See `Features`."""
        self._file.close()
        if self._raw is not None:
            self._raw.close()


def require_no_shard(path: Path) -> None:
    """Raise `StoreError` if a file is a shard: only its folder is gone on with, or repaired."""
    if not path.is_file():
        return
    try:
        with FeatureFile(path, damaged=True) as features:
            is_shard = "shard" in features.attributes
    except StoreError:  # what is no feature file is no shard
        return
    if is_shard:
        raise StoreError(f"{path} is a shard of a folder; give the folder, {path.parent}/")


def _is_track(item: object) -> bool:
    return isinstance(item, h5py.Group) and "complete" in item.attrs
