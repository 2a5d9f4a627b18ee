"""Reads features back and checks all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

import h5py

from ..errors import StoreError
from ..model.request import Request
from ..remote import AnyPath, path_of
from .folder import state_of_parts, why_no_shard
from .index import Row
from .place import feature_files
from .reader import FeatureFile, Parts
from .soundness import Soundness, is_text, tracks_below


@dataclass
class Report:
    """What a check found.

    Attributes
    ----------
    path : Path or RemotePath
        Of a feature file, or a folder of shards.
    tracks : int
        Tracks that are there.
    sound : list of str
        Those with nothing wrong.
    problems : list of (id, problem)
        An empty id stands for the file as a whole.
    failures : dict of str to Row
        Rows of ``/failures`` that are sound.
    finished : bool
        Whether the run that wrote it came to its end.
    opened : bool
        Whether it could be opened as a feature file at all.
    parts : Parts or None
        How far the parts are, where it is in parts.
    """

    path: AnyPath
    tracks: int = 0
    sound: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    failures: dict[str, Row] = field(default_factory=dict)
    finished: bool = False
    opened: bool = True
    parts: Parts | None = None

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong, and no part is missing."""
        return not self.problems and (self.parts is None or self.parts.whole)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return {
            "path": str(self.path),
            "tracks": self.tracks,
            "sound": len(self.sound),
            "finished": self.finished,
            **({"parts": asdict(self.parts)} if self.parts else {}),
            "problems": [{"id": key, "problem": text} for key, text in self.problems],
        }


def check_file(
    path: AnyPath, tracks_later: Set[str] = frozenset(), failures_later: Set[str] = frozenset()
) -> Report:
    """Check a feature file, but for what later shards override.

    Parameters
    ----------
    path : Path
    tracks_later : set of str
        Tracks of later shards that are sound: they override tracks and failures.
    failures_later : set of str
        Failures of later shards: they override failures.

    Raises
    ------
    StoreError
        If it cannot be opened as one at all, or a run wrote it meanwhile.
    """
    with FeatureFile(path, damaged=True) as features:
        report = Report(path, finished=bool(features.attributes.get("finished")))
        if features.committed.cut:
            report.problems.append(("", features.committed.cut))
        index = _readable(report, "index", features.index)
        for key, row in _readable(report, "failures", features.failed).items():
            is_later = key in tracks_later or key in failures_later
            if not is_later and all(map(is_text, (key, *row.values()))):
                report.failures[key] = row
        found = _tracks(features.committed.current()) - tracks_later
        report.tracks = len(found)
        report.problems += [
            (key, "is in the index, but missing")
            for key in sorted(set(index) - found - tracks_later)
        ]
        request = Request.from_dict(features.config["request"])
        places = {key: place for place, key in enumerate(index)}
        checks = Soundness(features.committed, list(features.layers), request, places)
        for track_id, problems, of_mean in checks.problems(sorted(found)):
            if not problems:
                report.sound.append(track_id)
            if track_id not in index:  # which 'repair' rebuilds
                problems.append("is not in the index")
            report.problems += [(track_id, problem) for problem in (*problems, *of_mean)]
        features.committed.require_read()
        if features.committed.was_written:
            raise StoreError(f"{path} was written while it was checked; wait for the run's end")
    return report


def _tracks(root: h5py.File) -> set[str]:
    """Ids of all tracks that can be reached."""
    with suppress(Exception):  # HDF5 raises whatever a damaged byte leads to
        return set(tracks_below(root["tracks"].id))
    return set()


def _readable(report: Report, name: str, read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return read()
    except Exception as error:  # HDF5 raises whatever a damaged byte leads to
        report.problems.append(("", f"/{name} cannot be read: {error}"))
        return {}


def verify(path: str | os.PathLike[str]) -> Report:
    """Check a feature file, or a folder of shards.

    Raises
    ------
    StoreError
        If there is none, or a file cannot be opened as one at all.
    """
    path = path_of(path)
    return combined(path, check_all(path))


def check_all(
    path: AnyPath, known: Mapping[AnyPath, Report] = MappingProxyType({})
) -> list[Report]:
    """A report on each feature file of an output, without what later shards override.

    Those known were checked just now, and no later one overrides anything of them.
    """
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
            report = known.get(shard) or check_file(shard, tracks, failures)
        tracks.update(report.sound)
        failures.update(report.failures)
        reports.insert(0, report)
    if not reports:
        raise StoreError(f"no feature files in {path}")
    return reports


def _strange(shards: Sequence[AnyPath]) -> dict[AnyPath, str]:
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


def combined(path: AnyPath, reports: Sequence[Report]) -> Report:
    """Reports on the shards of a folder as one; that on a file as it is."""
    if not path.is_dir():
        return reports[0]
    finished = {report.path: report.finished for report in reports}
    parts = state_of_parts(path, list(finished), finished.__getitem__)
    return Report(
        path,
        tracks=sum(report.tracks for report in reports),
        sound=[key for report in reports for key in report.sound],
        problems=[
            (key, text if key else f"{_below(path, report.path)}: {text}")
            for report in reports
            for key, text in report.problems
        ],
        failures={key: row for report in reports for key, row in report.failures.items()},
        finished=parts.whole if parts else reports[-1].finished,
        parts=parts,
    )


def _below(folder: AnyPath, shard: Any) -> str:
    return str(shard.relative_to(folder))
