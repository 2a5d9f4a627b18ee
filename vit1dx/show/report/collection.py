"""What a page tells of a whole collection: where each track lies, what is near, its label."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from ..._types import Array
from ...errors import UsageError
from ...store.index import Row

MapKind = Literal["pca", "umap"]
#: Neighbours listed of each track.
NEIGHBOURS = 10
#: Similarities computed at once.
AT_ONCE = 1 << 22
#: Fewest tracks that UMAP can lay out.
LEAST_UMAP = 5


def centred(vectors: Array) -> Array:
    """Vectors less the mean of all: what they have in common tells nothing."""
    return (vectors - vectors.mean(0, dtype=np.float64)).astype(np.float32)


def nearest(vectors: Array, k: int = NEIGHBOURS) -> tuple[Array, Array]:
    """The nearest others of each vector by cosine, compared with all.

    Parameters
    ----------
    vectors : (n, feature) array
        As `centred` gives them.
    k : int

    Returns
    -------
    (n, m) int array
        The nearest first; m is k, or n - 1 where that is less.
    (n, m) float32 array
        Cosines.
    """
    n, k = len(vectors), min(k, len(vectors) - 1)
    if not k:
        return np.zeros((n, 0), np.int64), np.zeros((n, 0), np.float32)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    found, cosines = np.zeros((n, k), np.int64), np.zeros((n, k), np.float32)
    step = max(1, AT_ONCE // n)
    for first in range(0, n, step):
        block = unit[first : first + step] @ unit.T
        here = np.arange(len(block))
        block[here, first + here] = -np.inf
        few = np.argpartition(-block, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(block, few, 1), axis=1, kind="stable")
        found[first + here] = np.take_along_axis(few, order, 1)
        cosines[first + here] = np.take_along_axis(block, found[first + here], 1)
    return found, np.clip(cosines, -1, 1)


def principal_axes(vectors: Array) -> tuple[Array, tuple[float, float]]:
    """Vectors on their two first principal axes (PCA).

    Parameters
    ----------
    vectors : (n, feature) array
        As `centred` gives them.

    Returns
    -------
    (n, 2) float64 array
    tuple of two floats
        Share of the variance along each axis, 0 to 1.
    """
    values, axes = np.linalg.eigh(vectors.T.astype(np.float64) @ vectors)
    axes = axes[:, ::-1][:, :2]
    axes *= np.sign(axes[np.abs(axes).argmax(0), [0, 1]])  # the same picture every time
    shares = np.maximum(values[::-1][:2], 0) / max(float(values.sum()), 1e-12)
    return vectors @ axes, (float(shares[0]), float(shares[1]))


def umap_axes(vectors: Array) -> Array:
    """Vectors laid out by UMAP (McInnes et al. 2018) by cosine, the same every time: (n, 2).

    Raises
    ------
    UsageError
        If umap-learn is not installed, or there are too few.
    """
    try:
        from umap import UMAP
    except ImportError as error:
        raise UsageError(f"--map umap needs umap-learn ({error}); pip install umap-learn") from None
    if len(vectors) < LEAST_UMAP:
        raise UsageError(f"UMAP of {len(vectors)} tracks; it takes {LEAST_UMAP}, --map pca any")
    neighbours = min(15, len(vectors) - 1)
    model = UMAP(n_neighbors=neighbours, metric="cosine", random_state=0, n_jobs=1)
    return np.asarray(model.fit_transform(vectors), np.float64)


def folders(ids: Sequence[str]) -> list[str]:
    """The folder of each track, as far up as they differ: ``"."`` for one that is in none."""
    parts = [PurePosixPath(track).parts[:-1] for track in ids]
    depth = 0
    while parts and all(len(p) > depth + 1 for p in parts) and len({p[depth] for p in parts}) == 1:
        depth += 1
    return ["/".join(p[: depth + 1]) or "." for p in parts]


@dataclass(frozen=True)
class Labels:
    """What tracks are coloured by.

    Attributes
    ----------
    name : str
        Of the column, or "folder".
    values : list of str
        One a track; empty where none is known.
    """

    name: str
    values: list[str]

    @property
    def missing(self) -> int:
        """Tracks without one."""
        return sum(not value for value in self.values)


def read_labels(path: Path, column: str | None, index: Mapping[str, str]) -> Labels:
    """One column of a table (csv with a header, or tsv), by track.

    Parameters
    ----------
    path : Path
        Its first column has ids, or the files that tracks were read from.
    column : str, optional
        The column; may be left out where there is one beside the first.
    index : mapping of str to str
        The file of each track, by id.

    Raises
    ------
    UsageError
        If it cannot be read, there is no such column, a track comes twice, or none is known.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = [row for row in csv.reader(file, delimiter=delimiter) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    except ValueError:
        raise UsageError(f"{path} is empty; a header and a row a track are needed") from None
    at = _column(path, header, column)
    found: dict[str, str] = {}
    for row in rows:
        if found.setdefault(row[0], value := row[at] if at < len(row) else "") != value:
            raise UsageError(f"{path} has {row[0]} twice, as {found[row[0]]} and as {value}")
    values = [found.get(track, found.get(file, "")).strip() for track, file in index.items()]
    if not any(values):
        first = next(iter(index))
        raise UsageError(f"{path} knows none of the {len(index)} tracks, by ids such as {first}")
    return Labels(header[at], values)


def _column(path: Path, header: Sequence[str], asked: str | None) -> int:
    others = header[1:]
    if asked is None and len(others) == 1:
        return 1
    if asked not in others:
        has = ", ".join(others) or "none beside the first"
        said = "give --color" if asked is None else f"no column {asked!r}"
        raise UsageError(f"{path}: {said}; columns: {has}")
    return header.index(asked, 1)


def rows_of(index: Mapping[str, Row], ids: Sequence[str]) -> dict[str, Any]:
    """Durations (s) and warnings (codes) of tracks, column by column."""
    return {
        "duration": [round(float(index[track]["duration"]), 2) for track in ids],
        "warnings": [str(index[track].get("warnings", "")) for track in ids],
    }
