"""A folder of shards, read as one; and `open_features`, which opens whatever is there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import StoreError
from .features import Features, Track
from .lock import is_locked
from .output import feature_files
from .reader import FeatureFile
from .tables import Row

#: A file that a run is writing is tried again: for some milliseconds of each second, while a commit
#: is applied, it is between two states.
ATTEMPTS, PAUSE = 5, 0.05  # s
#: Shards open at a time.
OPEN_SHARDS = 8
#: What shards of one folder have in common.
SHARED = ("model_sha256", "precision", "config")


class FeatureFolder(Features):
    """A folder of shards, open for reading as they were when it was opened.

    Later shards override earlier ones. A shard is opened when it is needed, and closed when others
    are; its tracks open it again.

    Parameters
    ----------
    path : path

    Raises
    ------
    StoreError
        If there are no shards, or they are not of one kind.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._shards = feature_files(self.path)
        if not self._shards:
            raise StoreError(f"no feature files in {path}")
        self._open: dict[Path, FeatureFile] = {}
        self._is_closed = False
        self._made: dict[str, Any] = {}
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
            for key, row in shard.failed().items():
                index.pop(key, None)
                failures[key] = row
            for key, row in shard.index().items():
                failures.pop(key, None)
                index[key] = path, row
        return index, failures

    def _shard(self, path: Path) -> FeatureFile:
        """A shard, opened if it is not; the one that was not needed for longest is closed then."""
        if self._is_closed:
            raise StoreError(f"{self.path} was closed")
        shard = self._open.pop(path) if path in self._open else _open_file(path)
        self._open[path] = shard
        self._require_kin(shard)
        if len(self._open) > OPEN_SHARDS:
            self._open.pop(next(iter(self._open))).close()
        return shard

    def _require_kin(self, shard: FeatureFile) -> None:
        made = {key: shard.attributes.get(key) for key in SHARED}
        self._made = self._made or made
        if "shard" not in shard.attributes:
            raise StoreError(f"{shard.path} was made as one file, and is no shard of {self.path}")
        if made != self._made:
            raise StoreError(
                f"{shard.path} was made differently from {self._shards[0].name}, and is no shard "
                f"of the same {self.path}"
            )

    def __getitem__(self, track_id: str) -> Track:
        path, _ = self._tables[0][track_id]
        return Track(track_id, lambda: self._shard(path).group(track_id))

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
    return FeatureFolder(path) if os.path.isdir(path) else _open_file(Path(path))


def _open_file(path: Path) -> FeatureFile:
    for _ in range(ATTEMPTS - 1):
        try:
            return FeatureFile(path)
        except StoreError:
            if not is_locked(path):
                raise
            time.sleep(PAUSE)
    return FeatureFile(path)
