"""Memory that two processes share: one lays arrays in it, the other reads them where they lie."""

from __future__ import annotations

import io
import mmap
import os
import sys

import numpy as np

from .._types import Array

_ALIGNMENT = 64  # bytes


class Arena:
    """A file that is nowhere but in memory, mapped by both.

    Parameters
    ----------
    descriptor : int
        Of the file, which is closed with it.
    """

    def __init__(self, descriptor: int) -> None:
        self._file = io.FileIO(descriptor, "r+")
        self._map: mmap.mmap | None = None
        self._end = 0

    @classmethod
    def new(cls) -> Arena | None:
        """An empty one; None where the system has no such files."""
        if sys.platform != "linux":
            return None
        try:
            return cls(os.memfd_create("vit1dx"))
        except OSError:
            return None

    def fileno(self) -> int:
        """The descriptor."""
        return self._file.fileno()

    def lay(self, array: Array) -> int | None:
        """Lay a copy of an array behind those that lie there.

        Returns
        -------
        int or None
            Its place; None if it cannot have so much memory.
        """
        place = self._end
        end = place + -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        try:
            if end > (size := os.fstat(self.fileno()).st_size):
                self._file.truncate(max(end, 2 * size))  # what is not written to takes no memory
            self.view(place, array.shape, array.dtype)[...] = array
        except OSError:  # a limit on the size of files counts here too
            return None
        self._end = end
        return place

    def clear(self) -> None:
        """Begin again: what lies there may be overwritten."""
        self._end = 0

    def view(self, place: int, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """The array that lies at a place."""
        end = place + int(np.prod(shape)) * dtype.itemsize
        if self._map is None or end > len(self._map):
            # What still looks at the map before this one keeps it.
            self._map = mmap.mmap(self.fileno(), 0)
        return np.ndarray(shape, dtype, self._map, place)

    def close(self) -> None:
        """Give the descriptor back; views stay."""
        self._file.close()
