"""A folder of shards, read as one; and `open_features`, which opens whatever is there."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import h5py

from ..errors import StoreError, TrackError
from .features import Features
from .place import feature_files
from .reader import FeatureFile
from .index import Row

#: Shards open at a time.
OPEN_SHARDS = 8
#: What shards of one folder have in common.
SHARED = ("model_sha256", "precision", "config")

_T = TypeVar("_T")


class FeatureFolder(Features):
    """A folder of shards, open for reading: the tracks that are there when it is first looked at.

    A track in a later shard overrides one in an earlier. A shard is opened when it is needed, and
    closed when others are; its tracks open it again.

    Parameters
    ----------
    path : path

    Raises
    ------
    StoreError
        If there are no shards, or they are not of one kind.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, self._place = Path(path), os.path.abspath(path)
        self._shards = feature_files(Path(self._place))
        if not self._shards:
            raise StoreError(f"no feature files in {path}")
        self._open: dict[Path, FeatureFile] = {}
        self._is_closed = False
        self._guard = threading.RLock()
        self._first: FeatureFile | None = None
        try:
            first, last = (self._shard(self._shards[place]) for place in (0, -1))
        except StoreError:
            self.close()
            raise
        self.layers, self.config = first.layers, first.config
        self.attributes = {**first.attributes, "finished": last.attributes.get("finished", 0)}
        del self.attributes["shard"]

    def index(self) -> dict[str, Row]:
        """See `Features`."""
        return {key: row for key, (_, row) in self._tables[0].items()}

    def failed(self) -> dict[str, Row]:
        """See `Features`."""
        return self._tables[1]

    def close(self) -> None:
        """See `Features`."""
        self._is_closed = True
        while self._open:
            self._open.popitem()[1].close()

    @cached_property
    def _tables(self) -> tuple[dict[str, tuple[Path, Row]], dict[str, Row]]:
        """Each track with its shard and its row, and each failure with its row."""
        index: dict[str, tuple[Path, Row]] = {}
        failures: dict[str, Row] = {}
        for path in self._shards:
            shard = self._shard(path)
            for key, row in shard.index().items():
                failures.pop(key, None)
                index[key] = path, row
            failures.update(shard.failed())  # in one shard, a failure came after the track
        return index, failures

    def _shard(self, path: Path) -> FeatureFile:
        """A shard, opened if it is not; the one that was not needed for longest is closed then."""
        if self._is_closed:
            raise StoreError(f"{self.path} was closed")
        shard = self._open.pop(path) if path in self._open else FeatureFile(path)
        self._open[path] = shard
        self._first = shard if self._first is None else self._first
        strange = why_no_shard(shard, self._first)
        if strange:
            raise StoreError(f"{shard.path} {strange}")
        if len(self._open) > OPEN_SHARDS:
            self._open.pop(next(iter(self._open))).close()
        return shard

    def read(self, track_id: str, take: Callable[[h5py.Group], _T]) -> _T:
        """See `Features`."""
        with self._guard:
            if not self.has(track_id):
                raise TrackError(
                    f"no track {track_id!r} in {self.path}; iterating gives those it has"
                )
            return self._shard(self._tables[0][track_id][0]).read(track_id, take)

    def has(self, track_id: str) -> bool:
        """See `Features`."""
        return track_id in self._tables[0]

    def files(self, track_ids: Iterable[str]) -> dict[str, str]:
        """See `Features`."""
        homes: dict[Path, list[str]] = {}
        for track_id in track_ids:
            homes.setdefault(self._tables[0][track_id][0], []).append(track_id)
        found: dict[str, str] = {}
        for path, ids in homes.items():
            found.update(self._shard(path).files(ids))
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._tables[0]))

    def __len__(self) -> int:
        return len(self._tables[0])


def open_features(path: str | os.PathLike[str]) -> Features:
    """Open a feature file, or a folder of shards; also ``vit1dx.open``.

    Raises
    ------
    StoreError
        If there is nothing, or no feature file of a known version.

    Examples
    --------
    >>> with vit1dx.open("feats.h5") as features:  # doctest: +SKIP
    ...     for track in features.values():
    ...         tokens = track.sequence_tokens(layer=8, start=10.0, stop=20.0)
    """
    return FeatureFolder(path) if os.path.isdir(path) else FeatureFile(path)


def why_no_shard(file: FeatureFile, first: FeatureFile) -> str:
    """Why a feature file is no shard of the folder that begins with `first`; empty if it is."""
    if "shard" not in file.attributes:
        return "was made as one file, and is no shard of this folder"
    if _made(file.attributes) != _made(first.attributes):
        return f"was made differently from {first.path.name}, and is no shard of the same folder"
    return ""


def _made(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: attributes.get(key) for key in SHARED}
