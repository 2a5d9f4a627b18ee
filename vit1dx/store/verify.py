"""Reads features back and checks all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import h5py
import numpy as np

from .._types import Array
from ..errors import StoreError, reason_of
from ..model.request import Request
from ..remote import AnyPath, path_of
from .folder import state_of_parts, why_no_shard
from .format import LAYER_AXES, SHARED_SCALES, axes_of
from .index import Row
from .means import NAME
from .place import feature_files
from .reader import FeatureFile, Parts
from .track import checksums

#: How far from 1 a row of attention may add up, by the dtype it is stored in.
ROW_TOLERANCE = {"float32": 1e-4, "float16": 2e-2}
#: Values read at once.
BLOCK = 1 << 24

ATTRIBUTES = ("source", "size", "mtime_ns", "duration", "sample_rate", "channels", "complete")


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
            if not is_later and all(map(_is_text, (key, *row.values()))):
                report.failures[key] = row
        root = features.committed.current()
        tracks = dict(_items(root)).get("tracks")
        found = set(_tree(tracks, "")) if isinstance(tracks, h5py.Group) else set()
        found -= tracks_later
        report.tracks = len(found)
        report.problems += [
            (key, "is in the index, but missing")
            for key in sorted(set(index) - found - tracks_later)
        ]
        layers = list(features.layers)
        request = Request.from_dict(features.config["request"])
        places = {key: place for place, key in enumerate(index)}
        for track_id in sorted(found):
            problems = _track_problems(root, track_id, layers, request)
            if not problems:
                report.sound.append(track_id)
            if track_id not in index:  # which 'repair' rebuilds
                problems.append("is not in the index")
            problems += _mean_problems(root, track_id, places.get(track_id))
            report.problems += [(track_id, problem) for problem in problems]
        features.committed.require_read()
        if features.committed.was_written:
            raise StoreError(f"{path} was written while it was checked; wait for the run's end")
    return report


def _readable(report: Report, name: str, read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return read()
    except Exception as error:  # HDF5 raises whatever a damaged byte leads to
        report.problems.append(("", f"/{name} cannot be read: {error}"))
        return {}


def _tree(group: h5py.Group, prefix: str) -> Iterator[str]:
    """Ids of all groups with data sets in them, whole or not, that can be reached."""
    items = dict(_items(group))
    if any(isinstance(item, h5py.Dataset) for item in items.values()):
        yield prefix.rstrip("/")
        return
    for name, item in items.items():
        if isinstance(item, h5py.Group):
            yield from _tree(item, f"{prefix}{name}/")


def _items(group: h5py.Group) -> Iterator[tuple[str, Any]]:
    """What of a group can be read; the index lists what else there should be."""
    with suppress(Exception):  # HDF5 raises whatever a damaged byte leads to
        for name in list(group):
            with suppress(Exception):
                yield name, group[name]


def _track_problems(
    root: h5py.File, track_id: str, layers: list[int], request: Request
) -> list[str]:
    try:
        return list(_problems(root["tracks"][track_id], layers, request))
    except Exception as error:  # HDF5 raises whatever a damaged byte leads to
        return [f"cannot be read: {' '.join(str(error).split())}"]


def _mean_problems(root: h5py.File, track_id: str, place: int | None) -> Iterator[str]:
    """What is wrong with the row of a track in the index's matrix, if it has one."""
    if place is None or NAME not in root["index"]:
        return
    try:
        row, track = root["index"][NAME][place], root["tracks"][track_id]
        if NAME in track and not np.isnan(row).all() and row.tobytes() != track[NAME][:].tobytes():
            yield f"{NAME} differs from its row in the index"
    except Exception as error:  # HDF5 raises whatever a damaged byte leads to
        yield f"its row of /index/{NAME} cannot be read: {reason_of(error)}"


def _problems(group: h5py.Group, layers: list[int], request: Request) -> Iterator[str]:
    missing = [name for name in ATTRIBUTES if name not in group.attrs]
    if missing:
        yield f"has no attribute {', '.join(missing)}"
    damaged = [name for name, value in group.attrs.items() if not _is_text(value)]
    if damaged:
        yield f"has a damaged attribute {', '.join(damaged)}"
    axes = axes_of(request)
    own = {axis for named in axes.values() for axis in named}.difference(SHARED_SCALES)
    absent = sorted({*axes, *own}.difference(group))
    if absent:
        yield f"has no {', '.join(absent)}"
        return
    if list(group["layer"]) != layers:
        yield f"has layers {list(group['layer'])}, the file {layers}"
    if "attention_layer" in own and list(group["attention_layer"]) != list(
        request.attention_layers
    ):
        yield f"has attention of layers {list(group['attention_layer'])}, the file of others"
    sizes = _sizes(group)
    for name, named in axes.items():
        data = group[name]
        expected = tuple(sizes[axis] for axis in named)
        if data.shape != expected:
            yield f"{name} is of shape {data.shape}; by its axes it should be {expected}"
        else:
            yield from _array_problems(name, data)


def _is_text(value: object) -> bool:
    """Whether a value is, or can be shown as, text: HDF5 has no checksums on that."""
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True


def _sizes(group: h5py.Group) -> dict[str, int]:
    names = {*LAYER_AXES, "window", "time", "query", "key", *SHARED_SCALES}
    homes = ((name, group.file if name in SHARED_SCALES else group) for name in names)
    return {name: len(home[name]) for name, home in homes if name in home}


def _array_problems(name: str, data: h5py.Dataset) -> Iterator[str]:
    """What is wrong with the values of an array, read a piece at a time."""
    sums: list[list[int]] = []
    finite, whole_rows = True, True
    for layer in [None] if data.ndim == 1 else range(data.shape[0]):
        total: list[int] | None = None
        for block in _blocks(data, layer):
            total = checksums(block.reshape(-1), total)
            finite = finite and bool(np.isfinite(block).all())
            if name == "attention":
                rows = block.sum(axis=-1, dtype=np.float64)
                tolerance = ROW_TOLERANCE[data.dtype.name]
                whole_rows = whole_rows and bool((np.abs(rows - 1) <= tolerance).all())
        sums.append(total or [0])
    if "crc32" not in data.attrs:
        yield f"{name} has no checksum"
    elif np.ravel(data.attrs["crc32"]).tolist() != [number for (number,) in sums]:
        yield f"{name} does not match its checksum"
    if not finite:
        yield f"{name} holds values that are not finite"
    if not whole_rows:
        yield f"{name} has rows that do not sum to 1"


def _blocks(data: h5py.Dataset, layer: int | None) -> Iterator[Array]:
    shape = data.shape if layer is None else data.shape[1:]
    step = max(1, BLOCK // max(1, int(np.prod(shape[1:]))))
    for start in range(0, shape[0], step):
        rows = slice(start, start + step)
        yield data[rows] if layer is None else data[layer, rows]


def verify(path: str | os.PathLike[str]) -> Report:
    """Check a feature file, or a folder of shards.

    Raises
    ------
    StoreError
        If there is none, or a file cannot be opened as one at all.
    """
    path = path_of(path)
    return combined(path, check_all(path))


def check_all(path: AnyPath) -> list[Report]:
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
