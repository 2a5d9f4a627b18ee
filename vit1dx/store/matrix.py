"""A matrix with a vector a track."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5s

from .._types import Array
from ..config import MelConfig
from ..errors import TrackError, UsageError
from ..remote import AnyPath
from .committed import CommittedFile
from .index import read_ids
from .means import NAME, read_means

VectorKind = Literal["mean", "class"]
VECTORS: tuple[VectorKind, ...] = ("mean", "class")
#: About the most bytes of vectors of many tracks, where they come in batches.
HELD_BYTES = 16 << 20
#: Frames of a layer read at once, some megabytes, and tracks.
FRAMES, TRACKS = 8192, 256


_T = TypeVar("_T")


class Source(Protocol):
    """Features, as they are needed here."""

    path: AnyPath
    layers: tuple[int, ...]
    config: dict[str, Any]

    def __iter__(self) -> Iterator[str]:
        """The ids of the tracks."""

    def homes(self, track_ids: Iterable[str]) -> Iterator[tuple[Any, list[str]]]:
        """See `vit1dx.Features`."""

    def visit(self, track_id: str, take: Callable[[h5py.Group], _T]) -> _T:
        """See `vit1dx.Features`."""


class OneFile(Protocol):
    """A feature file, as it is needed here."""

    path: AnyPath

    @property
    def committed(self) -> CommittedFile:
        """The file below."""


def layer_row(features: Source, layer: int) -> int:
    """Where a layer is on the first axis.

    Raises
    ------
    UsageError
        If it was not kept.
    """
    if layer not in features.layers:
        kept = ", ".join(map(str, features.layers))
        raise UsageError(f"no layer {layer} in {features.path}; layers {kept} were kept")
    return features.layers.index(layer)


def matrix(
    features: Source, layer: int, kind: VectorKind = "mean", ids: Iterable[str] | None = None
) -> tuple[Array, list[str]]:
    """A vector a track; see `Features.matrix`."""
    row = layer_row(features, layer)
    if kind not in VECTORS:
        raise UsageError(f"kind {kind!r}; {' or '.join(VECTORS)} is accepted")
    listed = listed_ids(features, ids)
    places = {track_id: place for place, track_id in enumerate(dict.fromkeys(listed))}
    array = np.full((len(places), dim_of(features)), np.nan, np.float32)
    for file, members in features.homes(places):
        if kind == "mean":
            _fill_means(file, row, members, array, [places[member] for member in members])
        rest = [member for member in members if np.isnan(array[places[member], 0])]
        for track_id, vector in _vectors(file, row, kind, rest):
            array[places[track_id]] = vector
    if len(places) < len(listed):  # some are wanted more than once
        array = array[[places[track_id] for track_id in listed]]
    return array, listed


def listed_ids(features: Source, ids: Iterable[str] | None) -> list[str]:
    """The ids asked for; all by default, in the order of the alphabet."""
    if isinstance(ids, str):
        raise UsageError(f"ids is {ids!r}; a list of ids is needed")
    return list(features) if ids is None else list(ids)


def dim_of(features: Source) -> int:
    """Length of a token."""
    return int(features.config["model"]["dim"])


def token_step(features: Source) -> float:
    """Time from one sequence token to the next, s: a frame's, or with --pool a bin's."""
    pool = features.config["request"].get("pool")
    return float(pool or 1 / MelConfig(**features.config["mel"]).frame_rate)


def vectors_at_once(features: Source, layers: int = 1) -> int:
    """How many vectors, of so many layers each, are held at once."""
    return max(1, HELD_BYTES // (4 * layers * dim_of(features)))


def id_batches(features: Source, layers: int = 1) -> Iterator[list[str]]:
    """All ids in order, as many at a time as their vectors may be held."""
    ids, step = list(features), vectors_at_once(features, layers)
    for first in range(0, len(ids), step):
        yield ids[first : first + step]


def about(features: Source, ids: Iterable[str]) -> dict[str, tuple[str, float, float]]:
    """The audio file that each track was read from, and what it is of it: from, to, s."""
    found: dict[str, tuple[str, float, float]] = {}
    for file, members in features.homes(ids):

        def take(root: h5py.File, some: Sequence[str], file: OneFile = file) -> None:
            for track_id in some:
                group = h5py.Group(_group(root, track_id, file))
                found[track_id] = source_and_span(group)

        for first in range(0, len(members), TRACKS):
            file.committed.read(partial(take, some=members[first : first + TRACKS]))
    return found


def source_and_span(group: h5py.Group) -> tuple[str, float, float]:
    """What a track's group says of its audio file, and from when to when it is of it, s."""
    start = float(group.attrs.get("segment_start", 0.0))
    end = start + float(group.attrs.get("duration", 0.0))
    return str(group.attrs.get("source", "")), start, end


def _fill_means(
    file: OneFile, row: int, members: Sequence[str], array: Array, rows: Sequence[int]
) -> None:
    """Put what the index has of these tracks into rows of an array; NaN where it has not."""

    def take(root: h5py.File) -> None:
        if NAME not in root["index"]:
            return
        known = {track_id: place for place, track_id in enumerate(read_ids(root["index"]))}
        unknown = next((member for member in members if member not in known), None)
        if unknown is not None:
            raise TrackError(no_track(unknown, file))
        places = np.array([known[member] for member in members], dtype=np.int64)
        read_means(root["index"][NAME], row, places, array, np.array(rows, dtype=np.int64))

    file.committed.read(take)


def no_track(track_id: str, features: Source | OneFile) -> str:
    """What an error says of a track that is not there."""
    return f"no track {track_id!r} in {features.path}; iterating gives those it has"


def _vectors(
    file: OneFile, row: int, kind: VectorKind, members: Sequence[str]
) -> Iterator[tuple[str, Array]]:
    """Tracks and their vectors, from the tracks themselves."""
    make = _class_vector if kind == "class" else _mean_vector

    def take(root: h5py.File, some: Sequence[str]) -> list[Array]:
        return [make(_group(root, track_id, file), row, track_id) for track_id in some]

    for first in range(0, len(members), TRACKS):
        some = members[first : first + TRACKS]
        yield from zip(some, file.committed.read(partial(take, some=some)), strict=True)


def _group(root: h5py.File, track_id: str, file: OneFile) -> h5g.GroupID:
    with suppress(KeyError, ValueError):  # no such name, or one that HDF5 cannot have
        group = h5g.open(root["tracks"].id, track_id.encode())
        if h5a.exists(group, b"complete"):
            return group
    raise TrackError(no_track(track_id, file))


def _class_vector(group: h5g.GroupID, row: int, track_id: str) -> Array:
    total, count = _sum(group, b"class_token", row)
    if not count:
        raise UsageError(f"track {track_id!r} has no class tokens: they were not kept")
    return np.asarray(total / count)


def _mean_vector(group: h5g.GroupID, row: int, track_id: str) -> Array:
    """The mean token, or where it was not kept, the mean of the tokens that were."""
    name = b"mean_token"
    if name in group:
        return _read(h5d.open(group, name), (row, slice(None)))
    windows, windows_count = _sum(group, b"class_token", row)
    frames, frames_count = _sum(group, b"sequence_tokens", row)
    if not frames_count:
        raise UsageError(f"track {track_id!r} has neither a mean token nor sequence tokens")
    if h5a.exists(h5d.open(group, b"sequence_tokens"), b"pool"):  # bins do not count alike
        raise UsageError(
            f"track {track_id!r} has no mean token, and sequence tokens of --pool do not give it"
        )
    return np.asarray((windows + frames) / (windows_count + frames_count))


def _sum(group: h5g.GroupID, name: bytes, row: int) -> tuple[Array | float, int]:
    """The sum of a layer's tokens, and their number; 0 where they were not kept."""
    if name not in group:
        return 0.0, 0
    data = h5d.open(group, name)
    count = data.shape[1]
    parts = (slice(first, first + FRAMES) for first in range(0, count, FRAMES))
    return sum(_read(data, (row, part)).sum(axis=0, dtype=np.float64) for part in parts), count


def _read(data: h5d.DatasetID, part: tuple[int, slice]) -> Array:
    """A part of a layer as float32."""
    row, span = part
    first, stop, _ = span.indices(data.shape[1])
    inner = data.shape[2:]
    return read_block(data, (row, first, *(0 for _ in inner)), (1, stop - first, *inner))[0]


def read_block(
    data: h5d.DatasetID, first: tuple[int, ...], shape: tuple[int, ...], dtype: Any = np.float32
) -> Array:
    """Some of an array, from one place on, without what h5py's own indexing takes for it."""
    array = np.empty(shape, dtype)
    space = data.get_space()
    space.select_hyperslab(first, shape)
    data.read(h5s.create_simple(shape), space, array)
    return array
