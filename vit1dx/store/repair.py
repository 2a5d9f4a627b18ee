"""Repair: a feature file written again, with those of its tracks that are sound."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from ..errors import LockedError, StoreError
from ..remote import require_here
from .copying import TrackCopier
from .existing import require_no_shard
from .index import Row
from .journal import journal_path
from .lock import OutputLock
from .place import part_folders
from .reader import FeatureFile
from .shared import recover_output
from .verify import Report, check_all, combined
from .writer import FeatureWriter, create, move_into_place, unfinished


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
    require_here(path, "repair")
    path = Path(path)
    require_no_shard(path)
    with ExitStack() as locks:
        for folder in part_folders(path).values() or [path]:
            locks.enter_context(OutputLock(folder))
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
    assert isinstance(report.path, Path)
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

    The caller holds the output's lock.
    """
    with unfinished(path) as new:
        with FeatureFile(path, damaged=True) as features:
            create(new, features.committed.current().attrs)
            with FeatureWriter(new) as writer:
                writer.finished = finished
                copier = TrackCopier(features, writer)
                for track_id in tracks:
                    copier.copy(track_id)
                for track_id, row in failures.items():
                    writer.failures.put(track_id, **row)
        journal_path(path).unlink(missing_ok=True)
        move_into_place(new, path)
