"""The values of stored arrays, checked against their checksums.

Where an array lies in a file as it is, in one piece or in chunks that are not compressed, its bytes
are read past HDF5, block by block, which several threads can do side by side.
"""

from __future__ import annotations

import math
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import h5py
import numpy as np
from h5py import h5a, h5d

from .._types import Array
from .objects import numbers_in

#: How far from 1 a row of attention may add up, by the dtype it is stored in.
ROW_TOLERANCE = {"float32": 1e-4, "float16": 2e-2}
#: Bytes read at once: what stays in a core's cache.
BLOCK_BYTES = 256 << 10
#: Rows read at once by HDF5, of so many bytes.
HDF5_BYTES = 4 << 20

#: Fills a buffer with the bytes of a file from an offset on; threads call it side by side.
ReadAt: TypeAlias = Callable[[int, memoryview], Any]
#: Where bytes are in a file: offset and size of each piece, in order.
Pieces: TypeAlias = list[tuple[int, int]]

_thread = threading.local()


@dataclass(frozen=True)
class Values:
    """An array as it lies in a file.

    Attributes
    ----------
    name : str
    dtype : dtype
    width : int
        Values of a row of attention; 1 of other arrays.
    recorded : list of int or None
        Its checksums; see `recorded_of`.
    layers : list of Pieces
        Where each layer is; of an array without, where it is.
    """

    name: str
    dtype: np.dtype
    width: int
    recorded: list[int] | None
    layers: list[Pieces]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(size for pieces in self.layers for _, size in pieces)

    def problems(self, read: ReadAt) -> list[str]:
        """What is wrong with it."""
        layers = (self._blocks(pieces, read) for pieces in self.layers)
        return _problems(self.name, layers, self.recorded)

    def _blocks(self, pieces: Pieces, read: ReadAt) -> Iterator[Array]:
        row = self.width * self.dtype.itemsize
        step = max(1, BLOCK_BYTES // row) * row
        for offset, size in pieces:
            for at in range(0, size, step):
                block = _buffer(step)[: min(step, size - at)]
                read(offset + at, block.data)
                yield block.view(self.dtype).reshape(-1, self.width)


def _buffer(size: int) -> Array:
    """Memory of this thread, the same each time."""
    if len(getattr(_thread, "buffer", ())) < size:
        _thread.buffer = np.empty(size, np.uint8)
    buffer: Array = _thread.buffer
    return buffer


def recorded_of(data: h5d.DatasetID) -> list[int] | None:
    """The checksums of an array, one a layer unless it has one axis; None if it has none."""
    if not h5a.exists(data, b"crc32"):
        return None
    return list(numbers_in(h5a.open(data, b"crc32")).reshape(-1).tolist())


def values_of(name: str, data: h5d.DatasetID, end: int) -> Values | None:
    """Where an array is in a file of so many bytes; None where only HDF5 knows."""
    shape, dtype = data.shape, data.dtype
    if dtype.kind not in "fiu" or (name == "attention" and dtype.name not in ROW_TOLERANCE):
        return None
    pieces = _pieces(data, shape, dtype.itemsize)
    if pieces is None or any(at < 0 or at + size > end for layer in pieces for at, size in layer):
        return None
    return Values(name, dtype, _width(name, shape), recorded_of(data), pieces)


def _width(name: str, shape: Sequence[int]) -> int:
    return shape[-1] if name == "attention" else 1


def _pieces(data: h5d.DatasetID, shape: tuple[int, ...], itemsize: int) -> list[Pieces] | None:
    made = data.get_create_plist()
    if made.get_layout() == h5d.CHUNKED:
        return None if made.get_nfilters() else _chunks(data, shape, made.get_chunk(), itemsize)
    offset = data.get_offset()
    if offset is None or not math.prod(shape):
        return None
    layers = 1 if len(shape) == 1 else shape[0]
    size = math.prod(shape) * itemsize // layers
    return [[(offset + layer * size, size)] for layer in range(layers)]


def _chunks(
    data: h5d.DatasetID, shape: tuple[int, ...], chunk: tuple[int, ...], itemsize: int
) -> list[Pieces] | None:
    """Of chunks as `vit1dx.store.track` makes them: some rows of one layer."""
    axis = min(1, len(shape) - 1)
    if chunk[:axis] != (1,) * axis or chunk[axis + 1 :] != shape[axis + 1 :]:
        return None
    found: dict[tuple[int, ...], int] = {}
    data.chunk_iter(lambda info: found.update({info.chunk_offset: info.byte_offset}))
    row = math.prod(shape[axis + 1 :]) * itemsize
    rest = (0,) * (len(shape) - axis - 1)
    firsts = range(0, shape[axis], chunk[axis])
    try:
        return [
            [
                (found[(*layer, first, *rest)], min(chunk[axis], shape[axis] - first) * row)
                for first in firsts
            ]
            for layer in np.ndindex(shape[:axis])
        ]
    except KeyError:  # never written
        return None


def problems_by_hdf5(name: str, data: h5py.Dataset) -> list[str]:
    """What is wrong with an array that HDF5 reads."""
    layers = [None] if data.ndim == 1 else range(data.shape[0])
    blocks = (_blocks_by_hdf5(name, data, layer) for layer in layers)
    return _problems(name, blocks, recorded_of(data.id))


def _blocks_by_hdf5(name: str, data: h5py.Dataset, layer: int | None) -> Iterator[Array]:
    shape = data.shape if layer is None else data.shape[1:]
    step = max(1, HDF5_BYTES // max(1, math.prod(shape[1:]) * data.dtype.itemsize))
    for start in range(0, shape[0], step):
        rows = slice(start, start + step)
        block = data[rows] if layer is None else data[layer, rows]
        yield block.reshape(-1, _width(name, data.shape))


def _problems(
    name: str, layers: Iterable[Iterable[Array]], recorded: list[int] | None
) -> list[str]:
    """What is wrong with values that come layer by layer, block by block: rows of some width."""
    sums: list[int] = []
    finite, whole_rows = True, True
    for blocks in layers:
        total = 0
        for block in blocks:
            total = zlib.crc32(block.data, total)
            finite = finite and bool(np.isfinite(block).all())
            whole_rows = whole_rows and (name != "attention" or _sum_to_one(block))
        sums.append(total)
    found = []
    if recorded is None:
        found.append(f"{name} has no checksum")
    elif recorded != sums:
        found.append(f"{name} does not match its checksum")
    if not finite:
        found.append(f"{name} holds values that are not finite")
    if not whole_rows:
        found.append(f"{name} has rows that do not sum to 1")
    return found


def _sum_to_one(rows: Array) -> bool:
    off = np.abs(rows.sum(axis=-1, dtype=np.float64) - 1)
    return bool((off <= ROW_TOLERANCE[rows.dtype.name]).all())
