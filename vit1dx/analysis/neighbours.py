"""Nearest vectors by cosine, exactly."""

from __future__ import annotations

import numpy as np

from .._types import Array
from ..errors import UsageError

#: Rows compared at once, some megabytes.
BLOCK = 8192


class Nearest:
    """The rows most like a vector, of a matrix that comes in blocks.

    Parameters
    ----------
    query : (feature,) array
    n : int
        How many, at most.

    Raises
    ------
    UsageError
        If `n` is below 1, or the query is no vector or not finite.

    Examples
    --------
    >>> found = Nearest(np.array([1.0, 0.0]), 2)
    >>> found.add(np.array([[0.0, 1.0], [2.0, 0.0]]))
    >>> found.add(np.array([[1.0, 1.0]]))
    >>> found.rows.tolist(), found.similarity.round(3).tolist()
    ([1, 2], [1.0, 0.707])
    """

    def __init__(self, query: Array, n: int) -> None:
        query = np.asarray(query, np.float32)
        if n < 1:
            raise UsageError(f"n {n}; 1 or more is accepted")
        if query.ndim != 1 or not np.isfinite(query).all():
            raise UsageError(f"a query of shape {query.shape}; a vector of numbers is needed")
        self._query, self._n, self._seen = _unit(query[None])[0], n, 0
        self._rows, self._similarity = np.empty(0, np.int64), np.empty(0, np.float32)

    @property
    def rows(self) -> Array:
        """Which rows, counted over all blocks, the most alike first; of equals, the first first."""
        return self._rows

    @property
    def similarity(self) -> Array:
        """The cosine of each, float32; 0 of a row of zeros."""
        return self._similarity

    def add(self, block: Array) -> None:
        """Take the next rows, (row, feature)."""
        for first in range(0, len(block), BLOCK):
            part = _unit(np.asarray(block[first : first + BLOCK], np.float32))
            # Not by a product of matrices, which adds up equal rows in different orders.
            similarity = (part * self._query).sum(axis=1)
            rows = np.arange(self._seen, self._seen + len(part))
            self._seen += len(part)
            self._merge(np.clip(similarity, -1, 1), rows)

    def _merge(self, similarity: Array, rows: Array) -> None:
        similarity = np.concatenate([self._similarity, similarity])
        rows = np.concatenate([self._rows, rows])
        best = np.argsort(-similarity, kind="stable")[: self._n]
        self._similarity, self._rows = similarity[best], rows[best]


def nearest(matrix: Array, query: Array, n: int = 10) -> tuple[Array, Array]:
    """The rows of a matrix that are most like a vector, by cosine.

    Parameters
    ----------
    matrix : (row, feature) array
    query : (feature,) array
    n : int
        How many, at most.

    Returns
    -------
    (n,) int64 array
        Rows, the most alike first; of equals, the first first.
    (n,) float32 array
        The cosine of each.
    """
    found = Nearest(query, n)
    found.add(matrix)
    return found.rows, found.similarity


def _unit(rows: Array) -> Array:
    """Rows of length 1, but for those of zeros."""
    length = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return rows / np.where(length > 0, length, 1)
