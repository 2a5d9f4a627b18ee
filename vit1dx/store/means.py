"""The mean tokens of all tracks side by side, ``/index/mean_token``.

They are in the tracks too; here, a matrix of all tracks is read without visiting them, which takes
some 200 times as long. A row of NaN stands for a track that has its own alone, as those of a file
that an earlier version began.
"""

from __future__ import annotations

import h5py
import numpy as np

from .._types import Array
from .format import attach
from .index import runs

NAME = "mean_token"
#: Rows a chunk, of one layer: few, so that a file of few tracks stays small.
ROWS = 16
#: Rows that a reader holds at once, in chunks.
BLOCK = 256 * ROWS


def create_means(file: h5py.File, dtype: str) -> None:
    """Make the table, empty, in a file that has its index and scales."""
    index, layers, features = file["index"], file["layer"], file["feature"]
    data = index.create_dataset(
        NAME,
        (len(index["id"]), len(layers), len(features)),
        dtype,
        maxshape=(None, len(layers), len(features)),
        chunks=(ROWS, 1, len(features)),
        fillvalue=np.nan,
    )
    attach(data, [index["id"], layers, features])


class Means:
    """The table being written: what was put waits for `write`.

    Parameters
    ----------
    file : h5py.File
    dtype : {"float32", "float16"}
        As the tracks have theirs.

    Attributes
    ----------
    held_bytes : int
        Bytes that `write` will add to the file, but for new chunks.
    chunk_bytes : int
        Bytes of the chunks that one row more may need.
    """

    def __init__(self, file: h5py.File, dtype: str) -> None:
        if NAME not in file["index"]:
            create_means(file, dtype)
        self._data: h5py.Dataset = file["index"][NAME]
        self._waiting: dict[int, Array] = {}
        self.chunk_bytes = int(np.prod(self._data.shape[1:])) * ROWS * self._data.dtype.itemsize

    @property
    def held_bytes(self) -> int:
        """See `Means`."""
        return sum(row.nbytes for row in self._waiting.values())

    def put(self, place: int, mean_token: Array) -> None:
        """Set the row of a track by its place in the index: (layer, feature)."""
        self._waiting[place] = mean_token

    def write(self, size: int) -> None:
        """Bring the file up to date with an index of so many rows."""
        if len(self._data) != size:
            self._data.resize(size, axis=0)
        for first, stop in runs(set(self._waiting), size):
            self._data[first:stop] = np.stack([self._waiting[n] for n in range(first, stop)])
        self._waiting.clear()


def read_means(table: h5py.Dataset, row: int, places: Array, out: Array, rows: Array) -> None:
    """Read vectors of one layer, in any order, in bounded memory.

    Parameters
    ----------
    table : h5py.Dataset
    row : int
        Of the layer, on its axis.
    places : (n,) array of int
        Of the vectors, in the table.
    out : (..., feature) array
    rows : (n,) array of int
        Where they go.
    """
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    for first in range(0, len(table), BLOCK):
        begin, end = np.searchsorted(ordered, (first, first + BLOCK))
        if begin < end:
            block = table[first : first + BLOCK, row]
            out[rows[order[begin:end]]] = block[ordered[begin:end] - first]
