"""Both ends of a track's way into a feature file: gathered from windows, and written."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import h5py
import numpy as np
from h5py import h5d, h5ds

from .._types import Array
from ..model.request import DType, Request
from ..tokens import CLOCKS, MeanToken, Tokens, in_range
from .format import GROWING, LAYER_AXES, SHARED_SCALES, axes_of
from .objects import attach, create_array, reference_to, set_attribute, write_array

#: A track with more than this waiting is handed on piece by piece.
HELD_BYTES = 64 << 20

#: Consecutive parts of each growing array, by its name.
Parts = Mapping[str, list[Array]]


def size_of(parts: Parts) -> int:
    """Bytes of all arrays together."""
    return sum(part.nbytes for held in parts.values() for part in held)


@dataclass(frozen=True)
class Totals:
    """What is known of a track once all of it was seen.

    Attributes
    ----------
    mean_token : (layer, feature) array or None
        None where it is not kept.
    checksums : dict of lists of int
        CRC-32 of each array's bytes; one a layer where the first axis is the layer.
    attributes : dict
        Of the track's group.
    """

    mean_token: Array | None
    checksums: Mapping[str, list[int]]
    attributes: Mapping[str, Any]


class Sink(Protocol):
    """Takes a track's arrays: a place in a feature file, or the way to one."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """Room for an array to be kept; threads may ask side by side."""

    def keep(self, array: Array) -> Array:
        """An array that will be handed on later, or a copy of it, to be handed on instead."""

    def append(self, parts: Parts) -> None:
        """Take some of a track that is too long to hold; more will come."""

    def finish(self, parts: Parts, totals: Totals) -> None:
        """Take the rest, or all, of a track."""


class TokenBuffer:
    """One track, taken batch by batch.

    Parameters
    ----------
    sink : Sink
    dtype : {"float32", "float16"}
        Of tokens and attention, as they are kept.
    keep_mean : bool
        Whether the mean token is kept.

    Attributes
    ----------
    dtype : str
    attributes : dict
        Of the track's group; set before `finish`.
    """

    def __init__(self, sink: Sink, dtype: DType, keep_mean: bool = True) -> None:
        self.dtype, self.attributes = dtype, dict[str, Any]()
        self._sink, self._keep_mean = sink, keep_mean
        self._mean = MeanToken()
        self._parts: dict[str, list[Array]] = {}
        self._checksums: dict[str, list[int]] = {}
        self._held_bytes = 0

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """Room for an array of `Tokens`, where `add` will need no copy of it."""
        return self._sink.empty(shape, dtype)

    def add(self, tokens: Tokens) -> None:
        """Take the next windows' tokens.

        Raises
        ------
        TokensError
            If they are not finite, or beyond the type's range.
        """
        self._mean.add(tokens)
        for name, array in tokens.arrays.items():
            if array.size and name == CLOCKS[name]:
                self._hold(name, array)
            elif array.size:
                with in_range(self.dtype, [array]):  # an extractor gives them in it
                    self._hold(name, array.astype(self.dtype, copy=False))
        if self._held_bytes > HELD_BYTES:
            self._sink.append(self._take())

    def finish(self) -> None:
        """Hand on what is held, and what is known of the whole.

        Raises
        ------
        TokensError
            If the mean token is beyond the type's range.
        """
        mean = self._mean.value
        with in_range(self.dtype, [mean]):
            mean = mean.astype(self.dtype, copy=False)
        if self._keep_mean:
            self._checksums["mean_token"] = checksums(mean)
        kept = mean if self._keep_mean else None
        self._sink.finish(self._take(), Totals(kept, self._checksums, self.attributes))

    def _hold(self, name: str, array: Array) -> None:
        array = self._sink.keep(array)
        self._parts.setdefault(name, []).append(array)
        self._checksums[name] = checksums(array, self._checksums.get(name))
        self._held_bytes += array.nbytes

    def _take(self) -> Parts:
        parts, self._parts, self._held_bytes = self._parts, {}, 0
        return parts


def checksums(array: Array, before: list[int] | None = None) -> list[int]:
    """CRC-32 of an array's bytes, one a layer unless it has one axis; continues from `before`."""
    rows = [array] if array.ndim == 1 else list(array)
    starts = before or [0] * len(rows)
    return [
        zlib.crc32(np.ascontiguousarray(row).data, start)
        for row, start in zip(rows, starts, strict=True)
    ]


#: Arrays smaller than this are written at once.
GATHERED_BYTES = 1 << 20
#: Size of the chunks of an array that grows on disk; others are contiguous, layer after layer.
CHUNK_BYTES = 256 << 10


class Home(Protocol):
    """The feature file, from a track's side."""

    def writing(self) -> AbstractContextManager[None]:
        """For the time that something is written."""

    def put(self, data: Array, offset: int) -> None:
        """Write bytes, (n,) uint8, where HDF5 has made room for them."""

    def new_group(self) -> h5py.Group:
        """A group outside the tree: gone, unless it is linked."""

    def link(self, track_id: str, group: h5py.Group, attributes: Mapping[str, Any]) -> None:
        """Put a track that is whole into the tree, in the place of one of that id."""

    def commit_if_due(self) -> None:
        """Commit, if the last time is a while ago."""


class TrackWriter:
    """One track of a feature file, a `Sink`.

    Attributes
    ----------
    written : int
        Bytes of the arrays that are in the file by now.
    """

    def __init__(self, writer: Home, track_id: str, request: Request) -> None:
        self._writer, self._id, self._request = writer, track_id, request
        self._all_axes = axes_of(request)
        self._axes = {name: self._all_axes[name] for name in request.arrays}
        self._data: dict[str, h5d.DatasetID] = {}
        self._growing: dict[str, h5py.Dataset] = {}
        self.written = 0

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """Memory as any other: it is written in this process."""
        return np.empty(shape, dtype)

    def keep(self, array: Array) -> Array:
        """The array: it is written in this process."""
        return array

    def append(self, parts: Parts) -> None:
        """Let the arrays grow on disk."""
        with self._writer.writing():
            for name, held in parts.items():
                self._grow(name, held)
        self.written += size_of(parts)
        self._writer.commit_if_due()

    def finish(self, parts: Parts, totals: Totals) -> None:
        """Write the rest, contiguously if it is all there is, and link the track into the tree."""
        with self._writer.writing():
            for name in self._axes:
                if name not in self._growing:
                    self._write_whole(name, parts[name])
                elif parts.get(name):
                    self._grow(name, parts[name])
            if totals.mean_token is not None:
                self._put_array("mean_token", totals.mean_token)
            self._name_axes()
            for name, sums in totals.checksums.items():
                scalar = len(self._data[name].shape) == 1
                set_attribute(
                    self._data[name], "crc32", np.array(sums[0] if scalar else sums, np.uint32)
                )
            for name, value in totals.attributes.items():
                set_attribute(self._group.id, name, value)
            set_attribute(self._group.id, "complete", np.int8(1))
            self._writer.link(self._id, self._group, totals.attributes)

    @property
    def names(self) -> list[str]:
        """The arrays that grow with a track."""
        return list(self._axes)

    @cached_property
    def _group(self) -> h5py.Group:
        return self._writer.new_group()

    def _write_whole(self, name: str, parts: Sequence[Any]) -> None:
        """Write past HDF5, which would ask for a selection of each part."""
        shape, axis = self._shape(name, parts), self._growing_axis(name)
        data = create_array(self._group.id, name, shape, parts[0].dtype, at_once=True)
        self._data[name] = data
        if axis and sum(part.nbytes for part in parts) < GATHERED_BYTES:
            parts = [np.concatenate(parts, axis)]
        offset = data.get_offset()
        for piece in _in_order(parts, axis):
            self._writer.put(np.ascontiguousarray(piece).reshape(-1).view(np.uint8), offset)
            offset += piece.nbytes

    def _grow(self, name: str, parts: Sequence[Any]) -> None:
        """Add to the end of a data set that can grow."""
        shape, axis = self._shape(name, parts), self._growing_axis(name)
        data = self._growing.get(name)
        if data is None:
            most = [None if i == axis else n for i, n in enumerate(shape)]
            layout = {"maxshape": most, "chunks": self._chunks(name, shape, parts[0].itemsize)}
            data = self._group.create_dataset(name, shape, parts[0].dtype, **layout)
            self._growing[name], self._data[name] = data, data.id
            self._write(name, parts, 0)
        else:
            before = data.shape[axis]
            data.resize(before + shape[axis], axis=axis)
            self._write(name, parts, before)

    def _growing_axis(self, name: str) -> int:
        return next(i for i, axis in enumerate(self._axes[name]) if axis in GROWING)

    def _shape(self, name: str, parts: Sequence[Any]) -> tuple[int, ...]:
        axis = self._growing_axis(name)
        grown = sum(part.shape[axis] for part in parts)
        return tuple(grown if i == axis else n for i, n in enumerate(parts[0].shape))

    def _chunks(self, name: str, shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
        """One layer at a time, so that a layer can be read alone."""
        axes, axis = self._axes[name], self._growing_axis(name)
        chunk = [1 if axis in LAYER_AXES else n for axis, n in zip(axes, shape, strict=True)]
        chunk[axis] = 1
        chunk[axis] = max(1, CHUNK_BYTES // (int(np.prod(chunk)) * itemsize))
        return tuple(chunk)

    def _write(self, name: str, parts: Sequence[Any], at: int) -> None:
        axis = self._growing_axis(name)
        for part in parts:
            end = at + part.shape[axis]
            self._growing[name][(slice(None),) * axis + (slice(at, end),)] = part
            at = end

    def _put_array(self, name: str, values: Array) -> None:
        self._data[name] = write_array(self._group.id, name, values)

    def _name_axes(self) -> None:
        data = self._data
        scales = {"layer": np.array(self._request.layers)}
        if "window_start" in data:
            scales["window"] = np.arange(data["window_start"].shape[0])
        of_attention = self._axes.get("attention", ())
        if "attention_layer" in of_attention:
            scales["attention_layer"] = np.array(self._request.attention_layers)
        for name in set(of_attention).intersection(("query", "key")):
            scales[name] = np.arange(data["attention"].shape[of_attention.index(name)])
        for name, values in scales.items():
            self._put_array(name, values)
        for name in {*scales, "time"}.intersection(data):
            h5ds.set_scale(data[name], name.encode())
        home = dict.fromkeys(SHARED_SCALES, self._group.file)
        references = {
            axis: reference_to(home.get(axis, self._group), axis)
            for axis in {axis for named in self._all_axes.values() for axis in named}
        }
        for name, named in self._all_axes.items():
            if name != "time":
                attach(data[name], [references[axis] for axis in named])
        for name in {"time", "window_start"}.intersection(data):
            set_attribute(data[name], "units", "s")
        if self._request.pool is not None:
            set_attribute(data["sequence_tokens"], "pool", self._request.pool)


def _in_order(parts: Sequence[Array], axis: int) -> Iterator[Array]:
    """Pieces of an array as they follow each other in memory, of its parts along an axis."""
    if axis == 0 or len(parts) == 1:
        yield from parts
    else:
        assert axis == 1
        yield from (part[row] for row in range(len(parts[0])) for part in parts)
