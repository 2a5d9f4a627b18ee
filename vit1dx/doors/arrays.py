"""An array of one track, piece by piece: for what is written in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import h5py
import numpy as np

from .._types import Array
from ..errors import UsageError
from ..store.reader import Features

#: About the most bytes of a piece.
PIECE_BYTES = 8 << 20


@dataclass(frozen=True)
class Part:
    """An array of a track, or some layers of it.

    Attributes
    ----------
    features : Features
    track_id, name : str
    rows : sequence of int or None
        Layers, by their places on the first axis; None is all of an array without layers.
    shape : tuple of int
        With the axis of layers, if there is one.
    dtype : numpy dtype
        As it is stored.
    """

    features: Features
    track_id: str
    name: str
    rows: Sequence[int] | None
    shape: tuple[int, ...]
    dtype: Any

    def pieces(self) -> Iterator[Array]:
        """Consecutive pieces, in C order, without the axis of layers."""
        for row in [None] if self.rows is None else self.rows:
            inner = self.shape if row is None else self.shape[1:]
            step = max(1, PIECE_BYTES // max(1, int(np.prod(inner[1:])) * self.dtype.itemsize))
            for first in range(0, inner[0], step):
                part = slice(first, first + step)
                take = partial(_piece, name=self.name, row=row, part=part)
                yield self.features.visit(self.track_id, take)

    def header(self, is_one_layer: bool = False) -> dict[str, Any]:
        """As numpy's format wants it; of one layer, whose axis may be dropped."""
        shape = self.shape[1:] if is_one_layer else self.shape
        return {"descr": self.dtype.str, "fortran_order": False, "shape": shape}


def part_of(
    features: Features, track_id: str, name: str, rows: Sequence[int] | None = None
) -> Part:
    """An array of a track, or some layers of it.

    Raises
    ------
    UsageError
        If it was not kept.
    TrackError
        If there is no such track.
    """
    shape, dtype = features.visit(track_id, partial(_kind, track_id=track_id, name=name))
    if rows is not None:
        shape = (len(rows), *shape[1:])
    return Part(features, track_id, name, rows, shape, dtype)


def write_npy(file: BinaryIO, part: Part, is_one_layer: bool = False) -> None:
    """Write an array as an .npy file."""
    np.lib.format.write_array_header_1_0(file, part.header(is_one_layer))
    for piece in part.pieces():
        file.write(piece.data)


def _kind(group: h5py.Group, track_id: str, name: str) -> tuple[tuple[int, ...], Any]:
    if name not in group:
        raise UsageError(f"track {track_id!r} has no {name}: it was not kept")
    return group[name].shape, group[name].dtype


def _piece(group: h5py.Group, name: str, row: int | None, part: slice) -> Array:
    data = group[name]
    return np.ascontiguousarray(data[part] if row is None else data[row, part])
