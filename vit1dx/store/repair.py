"""Repair: a feature file written again, with those of its tracks that are sound."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from .._types import Array
from ..errors import LockedError, StoreError
from .commit import journal_path
from .existing import require_no_shard
from .index import Row
from .lock import OutputLock
from .place import beside
from .reader import FeatureFile
from .shared import recover_output
from .track import HELD_BYTES, Totals
from .verify import Report, check_all, combined
from .writer import FeatureWriter, create, move_into_place


def repair(path: str | os.PathLike[str]) -> Report:
    """Keep what is sound of features, and drop the rest; report what was wrong.

    What later shards of a folder override is dropped too. A file with the sound tracks is written
    beside each, and takes its place at once.

    Raises
    ------
    StoreError
        If there are none, a file cannot be opened as one at all, or a new one not be written.
    LockedError
        If a run writes them, or a worker of one.
    """
    path = Path(path)
    require_no_shard(path)
    with OutputLock(path):
        reports = check_all(path)
        try:
            if locked := recover_output(path):
                raise LockedError(f"{locked[0]} is being written by a worker of another run")
            # In order, so that a kill never leaves what nothing overrides any more.
            for report in reports:
                _mend(report)
        except OSError as error:
            raise StoreError(
                f"{path} was not fully repaired, and nothing sound is lost: {error}"
            ) from None
    return combined(path, reports)


def _mend(report: Report) -> None:
    if report.opened:
        finished = report.finished and not report.problems
        _rewrite(report.path, report.sound, report.failures, finished)
    else:
        text = "is left as it was; move it away, and 'extract' computes what is missing"
        report.problems.append(("", text))


def _rewrite(
    path: Path, tracks: Sequence[str], failures: Mapping[str, Row], finished: bool
) -> None:
    """Write a file with these tracks and failures beside a feature file, and put it in its place.

    The caller holds the output's lock. What the tracks hold is copied a piece at a time.
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
            track.finish(parts, Totals(group["mean_token"][:], sums, attributes))


def _piece(data: h5py.Dataset, piece: int, pieces: int) -> Array:
    """One of several equal pieces along the axis that grows with a track."""
    axis = 0 if data.ndim == 1 else 1
    start, stop = (data.shape[axis] * n // pieces for n in (piece, piece + 1))
    return data[(slice(None),) * axis + (slice(start, stop),)]
