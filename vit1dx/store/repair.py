"""A feature file written anew, with some of its tracks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from .._types import Array
from .commit import journal_path
from .index import Row
from .place import beside
from .reader import FeatureFile
from .track import HELD_BYTES, TrackEnd
from .writer import FeatureWriter, create, move_into_place


def rewrite(path: Path, tracks: Sequence[str], failures: Mapping[str, Row], finished: bool) -> None:
    """Write a file with these tracks and failures beside a feature file, and put it in its place.

    For whoever holds the output's lock. What the tracks hold is copied a piece at a time.
    """
    new = beside(path, ".new")
    try:
        with FeatureFile(path, damaged=True) as features:
            root = features.committed.current()
            create(new, root.attrs)
            with FeatureWriter(new) as writer:
                writer.finished = finished
                for track_id in tracks:
                    _copy(root["tracks"][track_id], writer, track_id)
                    writer.commit_if_due()
                for track_id, row in failures.items():
                    writer.failures.put(track_id, **row)
        journal_path(path).unlink(missing_ok=True)
        move_into_place(new, path)
    finally:
        new.unlink(missing_ok=True)
        journal_path(new).unlink(missing_ok=True)


def _copy(group: h5py.Group, writer: FeatureWriter, track_id: str) -> None:
    track = writer.begin(track_id)
    arrays = {name: group[name] for name in track.names}
    size = sum(data.nbytes for data in arrays.values())
    pieces = 1 + size // HELD_BYTES if arrays["sequence_tokens"].chunks else 1
    sums = {name: np.ravel(group[name].attrs["crc32"]).tolist() for name in (*arrays, "mean_token")}
    attributes = {key: value for key, value in group.attrs.items() if key != "complete"}
    for piece in range(pieces):
        parts = {name: [_piece(data, piece, pieces)] for name, data in arrays.items()}
        if piece < pieces - 1:
            track.append(parts)
        else:
            track.finish(parts, TrackEnd(group["mean_token"][:], sums, attributes))


def _piece(data: h5py.Dataset, piece: int, pieces: int) -> Array:
    """One of several equal pieces along the axis that grows with a track."""
    axis = 0 if data.ndim == 1 else 1
    start, stop = (data.shape[axis] * n // pieces for n in (piece, piece + 1))
    return data[(slice(None),) * axis + (slice(start, stop),)]
