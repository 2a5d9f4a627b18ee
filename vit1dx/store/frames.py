"""Frames of many tracks: as a stream of blocks, or in one array."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import h5py
import numpy as np

from .._types import Array
from ..errors import StoreError, UsageError
from ..whole import whole
from .matrix import FRAMES, Source, dim_of, layer_row, listed_ids

#: Up to so many seconds of each track, or from one time up to, not including, another.
Seconds: TypeAlias = float | tuple[float, float] | None
#: From so many on, what lies between the frames that are taken is not read.
SPARSE = 16


def iter_frames(
    features: Source,
    layer: int,
    every: int = 1,
    ids: Iterable[str] | None = None,
    seconds: Seconds = None,
) -> Iterator[tuple[str, Array, Array]]:
    """Blocks of frames; see `Features.iter_frames`."""
    row = layer_row(features, layer)
    _require(every, seconds)
    listed = listed_ids(features, ids)
    for track_id in _by_file(features, listed) if ids is None else listed:
        yield from _blocks(features, row, _part(features, track_id, every, seconds))


def frames(
    features: Source,
    layer: int,
    every: int = 1,
    ids: Iterable[str] | None = None,
    seconds: Seconds = None,
    out: str | os.PathLike[str] | None = None,
) -> tuple[Array, Array, Array]:
    """Frames in one array; see `Features.frames`."""
    row = layer_row(features, layer)
    _require(every, seconds)
    listed = listed_ids(features, ids)
    found = {key: _part(features, key, every, seconds) for key in _by_file(features, listed)}
    counts = [len(found[track_id].time) for track_id in listed]
    if len(found) < len(listed):
        raise UsageError("ids names a track more than once")
    starts = dict(zip(listed, np.cumsum([0, *counts]), strict=False))

    def fill(array: Array) -> None:
        for track_id, part in found.items():
            at = starts[track_id]
            for _, tokens, _ in _blocks(features, row, part):
                array[at : at + len(tokens)] = tokens
                at += len(tokens)

    shape = (sum(counts), dim_of(features))
    time = np.concatenate([np.empty(0), *(found[track_id].time for track_id in listed)])
    array = _in_memory(shape, fill) if out is None else _in_file(Path(out), shape, fill)
    return array, np.repeat(np.arange(len(listed), dtype=np.int32), counts), time


def _by_file(features: Source, ids: Iterable[str]) -> list[str]:
    """Ids file by file, so that each file of a folder is opened once."""
    return [member for _, members in features.homes(ids) for member in members]


def _require(every: int, seconds: Seconds) -> None:
    if int(every) != every or every < 1:
        raise UsageError(f"every {every}; a whole number from 1 on is accepted")
    first, stop = seconds if isinstance(seconds, tuple) else (0.0, seconds)
    if stop is not None and not first < stop:
        raise UsageError(f"seconds {seconds}; some time, or a start and a later stop, is accepted")


@dataclass(frozen=True)
class _Part:
    """What is taken of a track: a slice of its frames, of so many in all, and their times."""

    track_id: str
    span: slice
    length: int
    time: Array


def _part(features: Source, track_id: str, every: int, seconds: Seconds) -> _Part:
    time = features.visit(track_id, lambda group: _sequence(group, track_id) and group["time"][:])
    first, stop = 0, len(time)
    if seconds is not None:
        bounds = seconds if isinstance(seconds, tuple) else (-np.inf, seconds)
        first, stop = map(int, np.searchsorted(time, bounds))
    return _Part(track_id, slice(first, stop, every), len(time), time[first:stop:every])


def _sequence(group: h5py.Group, track_id: str) -> h5py.Dataset:
    if "sequence_tokens" not in group:
        raise UsageError(f"track {track_id!r} has no sequence tokens: they were not kept")
    return group["sequence_tokens"]


def _blocks(features: Source, row: int, part: _Part) -> Iterator[tuple[str, Array, Array]]:
    """What is taken of a track, some at a time."""
    every, step = part.span.step, max(1, FRAMES // part.span.step) * part.span.step
    for first in range(part.span.start, part.span.stop, step):
        span = slice(first, min(first + step, part.span.stop), every)
        tokens = features.visit(part.track_id, partial(_tokens, row=row, span=span, part=part))
        begin = (first - part.span.start) // every
        yield part.track_id, tokens, part.time[begin : begin + len(tokens)]


def _tokens(group: h5py.Group, row: int, span: slice, part: _Part) -> Array:
    data = _sequence(group, part.track_id)
    if data.shape[1] != part.length:
        raise StoreError(f"track {part.track_id!r} was replaced while it was read; read again")
    if span.step >= SPARSE:
        return np.asarray(data[row, span], np.float32)
    return np.asarray(data[row, span.start : span.stop][:: span.step], np.float32)


def _in_memory(shape: tuple[int, int], fill: Callable[[Array], None]) -> Array:
    array = np.empty(shape, np.float32)
    fill(array)
    return array


def _in_file(path: Path, shape: tuple[int, int], fill: Callable[[Array], None]) -> Array:
    """Fill an array that is an .npy file, which has its name when it is whole; memory-mapped."""
    if path.exists():
        raise UsageError(f"{path} exists; give another name for the frames")
    try:
        with whole(path) as new:
            array = np.lib.format.open_memmap(new, "w+", np.float32, shape)
            fill(array)
            array.flush()
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from None
    return np.load(path, mmap_mode="r")
