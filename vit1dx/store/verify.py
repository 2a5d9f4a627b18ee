"""Verifies and repairs a feature file, or the shards of a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .checks import Report, check_file
from ..errors import StoreError
from .folder import why_no_shard
from .journal import recover
from .kind import require_no_shard
from .lock import OutputLock
from .place import feature_files
from .reader import FeatureFile
from .repair import rewrite


def verify(path: str | os.PathLike[str]) -> Report:
    """Check a feature file, or a folder of shards.

    Raises
    ------
    StoreError
        If there is none, or a file cannot be opened as one at all.
    """
    return _in_all(Path(path), _check(Path(path)))


def repair(path: str | os.PathLike[str]) -> Report:
    """Keep what is sound of features, and drop the rest; says what was wrong.

    What later shards of a folder override is dropped too. A file with the sound tracks is written
    beside each, and takes its place at once.

    Raises
    ------
    StoreError
        If there are none, a file cannot be opened as one at all, or a new one not be written.
    """
    path = Path(path)
    require_no_shard(path)
    with OutputLock(path):
        reports = _check(path)
        try:
            for report in reports:
                if report.opened:
                    recover(report.path)
            # In order, so that a kill never leaves what nothing overrides any more.
            for report in reports:
                _rewrite(report)
        except OSError as error:
            raise StoreError(
                f"{path} was not repaired to its end, and nothing sound is lost: {error}"
            ) from None
    return _in_all(path, reports)


def _rewrite(report: Report) -> None:
    if report.opened:
        finished = report.finished and not report.problems
        rewrite(report.path, report.sound, report.failures, finished)
    else:
        words = "is as it was; without it in the folder, 'extract' does again what is missing"
        report.problems.append(("", words))


def _check(path: Path) -> list[Report]:
    """A report on each feature file of an output, without what later shards override."""
    if not path.is_dir():
        return [check_file(path)]
    reports: list[Report] = []
    tracks: set[str] = set()
    failures: set[str] = set()
    strange = _strange(feature_files(path))
    for shard in reversed(feature_files(path)):
        if shard in strange:
            report = Report(shard, problems=[("", strange[shard])], opened=False)
        else:
            report = check_file(shard, tracks, failures)
        tracks.update(report.sound)
        failures.update(report.failures)
        reports.insert(0, report)
    if not reports:
        raise StoreError(f"no feature files in {path}")
    return reports


def _strange(shards: Sequence[Path]) -> dict[Path, str]:
    """Files that cannot be read as shards of one folder, each with why."""
    found, first = {}, None
    for shard in shards:
        try:
            with FeatureFile(shard, damaged=True) as features:
                first = features if first is None else first
                reason = why_no_shard(features, first)
        except StoreError as error:
            reason = str(error)
        if reason:
            found[shard] = reason
    return found


def _in_all(path: Path, reports: Sequence[Report]) -> Report:
    """Reports on the shards of a folder as one; that on a file as it is."""
    if not path.is_dir():
        return reports[0]
    return Report(
        path,
        tracks=sum(report.tracks for report in reports),
        sound=[key for report in reports for key in report.sound],
        problems=[
            (key, text if key else f"{report.path.name}: {text}")
            for report in reports
            for key, text in report.problems
        ],
        failures={key: row for report in reports for key, row in report.failures.items()},
        finished=reports[-1].finished,
    )
