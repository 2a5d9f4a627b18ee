"""Labels and features brought together: what is known of which tracks, and how they divide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np

from ..errors import UsageError
from ..store.reader import Features
from . import splits
from .annotations import Annotations, read_folder, read_rows
from .local import LocalTask, known_tracks, local_task
from .measure import Annotated
from .names import Matches, few
from .notes import note_task
from .options import LOCAL_TASKS, PARENT, WHOLE_TASKS, ProbeOptions
from .splits import Fold
from .tables import LABEL_COLUMNS, TrackRows, by_track, read_table
from .whole import (
    Targets,
    class_targets,
    key_targets,
    number_targets,
    tag_targets,
)

Labels: TypeAlias = "LocalLabels | Targets"
#: Up to so many tracks, choices are made on several fifths of the training side, in turn.
FEW_TRACKS, TURNS = 3000, 3


@dataclass(frozen=True)
class LocalLabels:
    """Labels over time.

    Attributes
    ----------
    task : LocalTask
    tracks : Annotated
    remarks : list of str
    """

    task: LocalTask
    tracks: Annotated
    remarks: list[str]

    @property
    def ids(self) -> list[str]:
        """Of the tracks with labels."""
        return self.tracks.ids


@dataclass(frozen=True)
class Data:
    """Labelled tracks, divided.

    Attributes
    ----------
    labels : LocalLabels or Targets
    groups : list of str
        Of each track.
    folds : list of Fold
    remarks : list of str
        What was left out, and what to mind.
    """

    labels: Labels
    groups: list[str]
    folds: list[Fold]
    remarks: list[str]


def task_of(path: Path, options: ProbeOptions) -> str:
    """The task, as asked for or as the labels suggest.

    Raises
    ------
    UsageError
        If there are no labels, or a folder of them does not say what they are.
    """
    if not path.exists():
        raise UsageError(f"no labels at {path}")
    if options.task is not None:
        if path.is_dir() and options.task not in LOCAL_TASKS:
            raise UsageError(
                f"{path} is a folder; --task {options.task} needs a table of tracks and labels"
            )
        return options.task
    if path.is_file():
        return "classes"
    for task in ("beats", "onsets", "notes"):
        if any(path.rglob(f"*.{task}")):
            return task
    raise UsageError(f"--task is needed: {path} may have any of {', '.join(LOCAL_TASKS)}")


def gathered(features: Features, path: Path, options: ProbeOptions) -> Data:
    """Read labels, match them with tracks, and divide these.

    Raises
    ------
    UsageError
        If labels cannot be read, are of no track, or leave too little to probe.
    """
    task = task_of(path, options)
    ids = list(features)
    table = by_track(read_table(path), ids, options.track_column) if path.is_file() else None
    is_local = path.is_dir() or task not in WHOLE_TASKS or _has_times(task, table)
    labels: Labels
    if is_local:
        labels, matches = _local(task, path, table, ids)
        groups = _groups(table, labels.ids, ids, options)
    else:
        assert table is not None
        found = _cells(table, task, options)
        every_group = dict(zip(found, _groups(table, list(found), ids, options), strict=True))
        labels, matches = _whole(task, found, every_group, options), table.matches
        groups = [every_group[track_id] for track_id in labels.ids]
    remarks = [*_unmatched(features, matches, labels.ids), *labels.remarks]
    divided = _folds(labels, groups, table, ids, options)
    return Data(labels, groups, divided, [*remarks, *_group_remark(labels.ids, options)])


def _has_times(task: str, table: TrackRows | None) -> bool:
    """Whether a table of keys is of stretches of time."""
    return task == "keys" and table is not None and {"start", "end"} <= set(table.table.columns)


def _local(
    task: str, path: Path, table: TrackRows | None, ids: Sequence[str]
) -> tuple[LocalLabels, Matches]:
    found = read_folder(path, task, ids) if table is None else read_rows(table, task)
    of = note_task(found.tracks.values()) if task == "notes" else local_task(task)
    known, left_out, strange = known_tracks(of, found.tracks)
    if not known:
        raise UsageError(f"no {task} in {path}: {'; '.join(few(left_out.values(), 1).split('; '))}")
    remarks = [*_unread(found), *_left_out(left_out)]
    if strange:
        remarks.append(f"{len(strange)} labels not understood, taken as none: {few(strange)}")
    tracks = Annotated(list(known), list(known.values()))
    return LocalLabels(of, tracks, remarks), found.matches


def _unread(found: Annotations) -> list[str]:
    if not found.unread:
        return []
    name, reason = next(iter(found.unread.items()))
    return [f"left out: {len(found.unread)} annotations that cannot be read ({reason or name})"]


def _left_out(reasons: Mapping[str, str]) -> list[str]:
    """One remark a reason."""
    by_reason: dict[str, list[str]] = {}
    for track_id, reason in reasons.items():
        by_reason.setdefault(reason, []).append(track_id)
    return [f"left out: {len(ids)} tracks, {why} ({few(ids)})" for why, ids in by_reason.items()]


def _cells(table: TrackRows, task: str, options: ProbeOptions) -> dict[str, list[str]]:
    """The cells of the column of labels that say something, by track."""
    taken = (table.track_column, options.group_by or "", options.split_column or "")
    if options.label_column is None:
        column = table.table.guess((task.rstrip("s"), *LABEL_COLUMNS), "--label-column", taken)
    else:
        column = table.table.require(options.label_column, "--label-column")
    found = table.column(column)
    if not found:
        raise UsageError(f"no track has a label in column {column!r} of {table.table.path}")
    return table.column(column) if task == "tags" else _singly(table.single(column))


def _singly(cells: Mapping[str, str]) -> dict[str, list[str]]:
    return {track_id: [cell.strip()] for track_id, cell in cells.items()}


def _whole(
    task: str, cells: dict[str, list[str]], groups: Mapping[str, str], options: ProbeOptions
) -> Targets:
    if task == "tags":
        return tag_targets(cells, groups, options.separator)
    labels = {track_id: found[0] for track_id, found in cells.items()}
    if task == "classes":
        return class_targets(labels, groups)
    return key_targets(labels) if task == "keys" else number_targets(labels)


def _groups(
    table: TrackRows | None, tracks: Sequence[str], ids: Sequence[str], options: ProbeOptions
) -> list[str]:
    """The group of each track."""
    if options.group_by is None:
        return list(tracks)
    if options.group_by == PARENT:
        return [str(PurePosixPath(track_id).parent) for track_id in tracks]
    return _column(table, options.group_by, "--group-by", tracks, ids, options)


def _column(
    table: TrackRows | None,
    name: str,
    option: str,
    tracks: Sequence[str],
    ids: Sequence[str],
    options: ProbeOptions,
) -> list[str]:
    """A column's value for each track, of the table of labels or of metadata."""
    if options.metadata is not None:
        table = by_track(read_table(options.metadata), ids, None)
    if table is None:
        raise UsageError(f"{option} {name!r} needs --metadata, a table with that column")
    found = table.single(table.table.require(name, option))
    missing = [track_id for track_id in tracks if track_id not in found]
    if missing:
        raise UsageError(
            f"{option} {name!r}: {len(missing)} tracks have none in {table.table.path}, "
            f"{few(missing)}"
        )
    return [found[track_id].strip() for track_id in tracks]


def _folds(
    labels: Labels,
    groups: Sequence[str],
    table: TrackRows | None,
    ids: Sequence[str],
    options: ProbeOptions,
) -> list[Fold]:
    strata = labels.strata if isinstance(labels, Targets) else None
    turns = turns_of(labels)
    if options.split_column is None:
        return splits.folds(groups, strata, options.folds, options.seeds, turns, options.seed)
    column = _column(table, options.split_column, "--split-column", labels.ids, ids, options)
    divided = splits.given(column, groups, strata, options.seeds, turns, options.seed)
    # Of whole tracks no frames are drawn: where the column says all, seeds find the same.
    alike = all(np.array_equal(fold.held_out, divided[0].held_out) for fold in divided)
    return divided[:1] if alike and isinstance(labels, Targets) else divided


def turns_of(labels: Labels) -> int:
    """In how many turns tracks of the training side are held out: of few, to choose the better."""
    is_small = isinstance(labels, Targets) and len(labels.ids) <= FEW_TRACKS
    return TURNS if is_small else 1


def _unmatched(features: Features, matches: Matches, labelled: Sequence[str]) -> list[str]:
    """What labels have no track, and what tracks no label."""
    remarks = []
    if matches.by_end:
        remarks.append(
            f"{len(matches.by_end)} labels matched by their last names alone, such as "
            f"{matches.by_end[0]} with {matches.ids[matches.by_end[0]]}"
        )
    if matches.missing:
        failed = _failed(features, matches.missing)
        text = f"{len(matches.missing)} labels without a track ({few(matches.missing)})"
        remarks.append(text + (f", {failed} of them of files that failed" if failed else ""))
    without = len(features) - len(labelled)
    if without:
        remarks.append(f"{without} of {len(features)} tracks without a label that is used")
    return remarks


def _failed(features: Features, names: Sequence[str]) -> int:
    """How many names are of files that gave no track."""
    failed = features.failures
    if not failed:
        return 0
    stems = {key for name in failed for key in (name, str(PurePosixPath(name).with_suffix("")))}
    return sum(name in stems for name in names)


def _group_remark(tracks: Sequence[str], options: ProbeOptions) -> list[str]:
    """Tracks of one folder may be one artist's, and are divided unless told otherwise."""
    parents = {str(PurePosixPath(track_id).parent) for track_id in tracks}
    if options.group_by or options.split_column or not 1 < len(parents) < len(tracks):
        return []
    return [
        f"tracks of one folder ({len(parents)} of them) may be on both sides of a split: "
        "--group-by parent keeps them together"
    ]
