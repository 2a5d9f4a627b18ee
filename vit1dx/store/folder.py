"""A folder of shards, read as one."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import h5py

from ..errors import StoreError, TrackError
from ..remote import AnyPath, absolute, path_of
from .catalogue import Catalogue, Contents, key_of
from .index import Row
from .matrix import no_track
from .place import feature_files, part_folders
from .reader import FeatureFile, Features, Parts

#: Shards open at a time.
OPEN_SHARDS = 8
#: What shards of one folder have in common.
SHARED = ("model_sha256", "precision", "config")

_log = logging.getLogger("vit1dx")

_T = TypeVar("_T")


class FeatureFolder(Features):
    """A folder of shards, open for reading: the tracks that are there when it is first looked at.

    The shards of its parts are as its own. A track in a later shard overrides one in an earlier.
    A shard is opened when it is needed, and closed when others are; its tracks open it again.

    Parameters
    ----------
    path : path or URL

    Raises
    ------
    StoreError
        If there are no shards, or they are not of one kind.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path_of(path)
        self._place = absolute(self.path)
        self._shards = feature_files(self._place)
        if not self._shards:
            raise StoreError(f"no feature files in {self.path}")
        self._open: dict[AnyPath, FeatureFile] = {}
        self._is_closed = False
        self._guard = threading.RLock()
        self._first: FeatureFile | None = None
        self._catalogue = Catalogue(self._place, self._shards, self._contents)
        try:
            first = self._shard(self._shards[0])
            self.parts = state_of_parts(self._place, self._shards, self._is_finished)
            finished = self.parts.whole if self.parts else self._is_finished(self._shards[-1])
        except BaseException:
            self.close()
            raise
        self.layers, self.config = first.layers, first.config
        self.attributes = {**first.attributes, "finished": int(finished)}
        del self.attributes["shard"]

    def _is_finished(self, shard: AnyPath) -> bool:
        known = self._catalogue.is_finished(shard)
        return bool(self._shard(shard).attributes.get("finished")) if known is None else known

    def _contents(self, path: AnyPath) -> Contents:
        shard = self._shard(path)
        return Contents(shard.index(), shard.failed(), bool(shard.attributes.get("finished")))

    def index(self) -> dict[str, Row]:
        """See `Features`."""
        with self._looking() as catalogue:
            return catalogue.tracks()

    def row(self, track_id: str) -> Row | None:
        """See `Features`."""
        with self._looking() as catalogue:
            return catalogue.row(track_id)

    def rows(self) -> Iterator[tuple[str, Row]]:
        """See `Features`."""
        seen: set[str] = set()
        for path in reversed(self._shards):
            for track_id, row in self._shard(path).rows():
                if track_id not in seen:
                    seen.add(track_id)
                    yield track_id, row

    def failed(self) -> dict[str, Row]:
        """See `Features`."""
        with self._looking() as catalogue:
            return catalogue.failures()

    def close(self) -> None:
        """See `Features`."""
        self._is_closed = True
        self._catalogue.close()
        while self._open:
            self._open.popitem()[1].close()

    @contextmanager
    def _looking(self) -> Iterator[Catalogue]:
        """The catalogue, for one thread at a time."""
        with self._guard:
            if self._is_closed:
                raise StoreError(f"{self.path} was closed")
            yield self._catalogue

    def _shard(self, path: AnyPath) -> FeatureFile:
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

    def visit(self, track_id: str, take: Callable[[h5py.Group], _T]) -> _T:
        """See `Features`."""
        with self._guard:
            return self._shard(self._home(track_id)).visit(track_id, take)

    def _home(self, track_id: str) -> AnyPath:
        home = self.shard_of(track_id)
        if home is None:
            raise TrackError(no_track(track_id, self))
        return home

    def shard_of(self, track_id: str) -> AnyPath | None:
        """The shard that a track is in; None if there is no such track."""
        with self._looking() as catalogue:
            return catalogue.shard_of(track_id)

    def has(self, track_id: str) -> bool:
        """See `Features`."""
        return self.shard_of(track_id) is not None

    def files(self, track_ids: Iterable[str]) -> dict[str, str]:
        """See `Features`."""
        found: dict[str, str] = {}
        for shard, ids in self.homes(track_ids):
            found.update(shard.files(ids))
        return found

    def homes(self, track_ids: Iterable[str]) -> Iterator[tuple[FeatureFile, list[str]]]:
        """See `Features`."""
        found: dict[AnyPath, list[str]] = {}
        for track_id in track_ids:
            found.setdefault(self._home(track_id), []).append(track_id)
        for path, ids in sorted(found.items(), key=lambda item: key_of(item[0])):
            yield self._shard(path), ids

    def __iter__(self) -> Iterator[str]:
        last: list[str] = [""]
        while last:
            with self._looking() as catalogue:
                last = catalogue.ids_after(last[-1])
            yield from last

    def __len__(self) -> int:
        with self._looking() as catalogue:
            return len(catalogue)


def open_features(path: str | os.PathLike[str]) -> Features:
    """Open a feature file, or a folder of shards; also ``vit1dx.open``.

    What is behind a URL (``"s3://bucket/feats/"``; extra ``cloud``) is read where it is, and as it
    is when its shards are opened.

    Raises
    ------
    StoreError
        If there is nothing, or no feature file of a known version.

    Examples
    --------
    >>> with vit1dx.open("feats.h5") as features:  # doctest: +SKIP
    ...     for track in features.values():
    ...         tokens = track.read("sequence_tokens", layer=8, start=10.0, stop=20.0)
    """
    path = path_of(path)
    if not path.is_dir():
        return FeatureFile(path)
    features = FeatureFolder(path)
    if features.parts and not features.parts.whole:
        _log.warning("%s: %s", features.path, features.parts)
    return features


def state_of_parts(
    output: AnyPath, shards: Sequence[AnyPath], is_finished: Callable[[Any], bool]
) -> Parts | None:
    """How far the parts of an output are; None where it is not in parts.

    Raises
    ------
    StoreError
        If it holds parts of different numbers, or other shards too.
    """
    folders = part_folders(output)
    if not folders:
        return None
    counts = sorted({part.count for part in folders})
    if len(counts) > 1 or shards[0].parent == output:
        beside = "" if len(counts) > 1 else ", and shards beside them"
        raise StoreError(
            f"{output} holds parts of {' and of '.join(map(str, counts))}{beside}; give one of "
            "them, or 'vit1dx merge' each into one output"
        )
    last = {path.parent: path for path in shards}
    numbers = {part.number for part in folders}
    done = {
        part.number
        for part, folder in folders.items()
        if folder in last and is_finished(last[folder])
    }
    missing = [number for number in range(1, counts[0] + 1) if number not in numbers]
    return Parts(counts[0], missing, sorted(numbers - done))


def why_no_shard(file: FeatureFile, first: FeatureFile) -> str:
    """Why a feature file is no shard of the folder that begins with `first`; empty if it is."""
    if "shard" not in file.attributes:
        return "was made as one file, and is no shard of this folder"
    if _made(file.attributes) != _made(first.attributes):
        return f"was made differently from {first.path.name}, and is no shard of the same folder"
    return ""


def _made(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: attributes.get(key) for key in (*SHARED, "shares")}
