"""Tasks of whole tracks: a class, tags, a number or a key each."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .._types import Array
from ..errors import UsageError
from .linear import Kind
from .music import EXCLUDED, KEYS, key_class
from .names import few
from .scores import Scores, class_scores, key_class_scores, number_scores, tag_scores

#: Groups of tracks that a class, or a tag and its absence, must be in: one to fit, one to score.
LEAST_GROUPS = 2
#: What may stand between tags in a cell, the likeliest first.
SEPARATORS = ("|", ";", ",")
#: More different numbers than this are no classes.
MOST_NUMBERS = 50


class WholeTask(ABC):
    """A task of whole tracks.

    Attributes
    ----------
    name : str
    kind : Kind
        Of the probe's outputs.
    classes : tuple of str
        What the outputs are.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...]

    @abstractmethod
    def scores(self, truth: Array, outputs: Array) -> Scores:
        """Scores of outputs (track, outputs), the task's own measure first."""


@dataclass(frozen=True)
class ClassTask(WholeTask):
    """One of several classes."""

    classes: tuple[str, ...]
    name: str = "classes"
    kind: Kind = "classes"

    def scores(self, truth: Array, outputs: Array) -> Scores:
        """See `WholeTask`."""
        return class_scores(truth, outputs.argmax(axis=1))


@dataclass(frozen=True)
class KeyTask(WholeTask):
    """One of 24 keys."""

    classes: tuple[str, ...] = KEYS
    name: str = "keys"
    kind: Kind = "classes"

    def scores(self, truth: Array, outputs: Array) -> Scores:
        """See `WholeTask`."""
        return key_class_scores(truth, outputs.argmax(axis=1))


@dataclass(frozen=True)
class TagTask(WholeTask):
    """Any of several tags."""

    classes: tuple[str, ...]
    name: str = "tags"
    kind: Kind = "tags"

    def scores(self, truth: Array, outputs: Array) -> Scores:
        """See `WholeTask`."""
        return tag_scores(truth, outputs)


@dataclass(frozen=True)
class NumberTask(WholeTask):
    """A number, fitted in deviations from the mean of all.

    Attributes
    ----------
    mean, deviation : float
        Of all labels, in their unit.
    """

    mean: float
    deviation: float
    classes: tuple[str, ...] = ("value",)
    name: str = "regression"
    kind: Kind = "numbers"

    def scores(self, truth: Array, outputs: Array) -> Scores:
        """See `WholeTask`."""
        return number_scores(self.in_unit(truth[:, 0]), self.in_unit(outputs[:, 0]))

    def in_unit(self, values: Array) -> Array:
        """Values in the labels' unit."""
        return np.asarray(values * self.deviation + self.mean)


@dataclass(frozen=True)
class Targets:
    """What is known of tracks for a task.

    Attributes
    ----------
    task : WholeTask
    ids : list of str
    values : (track,) int array or (track, outputs) float32 array
    remarks : list of str
        What was left out.
    """

    task: WholeTask
    ids: list[str]
    values: Array
    remarks: list[str]

    @property
    def strata(self) -> Array | None:
        """Classes to have alike shares of in all folds."""
        return np.unique(self.values, return_inverse=True)[1] if self.values.ndim == 1 else None


def class_targets(labels: Mapping[str, str], groups: Mapping[str, str]) -> Targets:
    """Targets of classes; those in one group of tracks are left out.

    Raises
    ------
    UsageError
        If fewer than two classes are left, or the labels look like numbers.
    """
    _require_classes(set(labels.values()))
    homes: dict[str, set[str]] = {}
    for track_id, label in labels.items():
        homes.setdefault(label, set()).add(groups[track_id])
    rare = sorted(label for label, found in homes.items() if len(found) < LEAST_GROUPS)
    classes = tuple(sorted(set(homes) - set(rare)))
    if len(classes) < 2:
        raise UsageError(
            f"{len(homes)} classes, {len(classes)} of them in two or more groups of tracks"
            f" ({few(sorted(homes))}); two such are needed"
        )
    ids = [track_id for track_id, label in labels.items() if label not in rare]
    numbers = {label: number for number, label in enumerate(classes)}
    values = np.array([numbers[labels[track_id]] for track_id in ids])
    remarks = _rare_remark("class", "classes", rare, len(labels) - len(ids))
    return Targets(ClassTask(classes), ids, values, remarks)


def _require_classes(labels: set[str]) -> None:
    if len(labels) > MOST_NUMBERS and all(_number(label) is not None for label in labels):
        raise UsageError(
            f"the labels are {len(labels)} different numbers; --task regression is for these"
        )


def _rare_remark(one: str, many: str, rare: Sequence[str], tracks: int) -> list[str]:
    if not rare:
        return []
    noun = one if len(rare) == 1 else many
    lost = f", {tracks} tracks" if tracks else ""
    return [f"left out: {len(rare)} {noun} in fewer than {LEAST_GROUPS} groups{lost} ({few(rare)})"]


def tag_targets(
    labels: Mapping[str, Sequence[str]], groups: Mapping[str, str], separator: str | None = None
) -> Targets:
    """Targets of tags, of cells that may have several, and of tracks that may have several cells.

    Tags that are in one group of tracks, or missing from one at most, are left out.

    Raises
    ------
    UsageError
        If no tag is left.
    """
    separator = separator or _separator(labels)
    tags = {
        track_id: {tag for cell in cells for tag in _split(cell, separator)}
        for track_id, cells in labels.items()
    }
    everyone = sorted(set().union(*tags.values()))
    members: dict[str, list[set[str]]] = {}
    for track_id, found in tags.items():
        members.setdefault(groups[track_id], []).append(found)
    having = Counter(tag for group in members.values() for tag in set().union(*group))
    in_all = Counter(tag for group in members.values() for tag in set.intersection(*group))
    # Groups where it is, and groups where a track lacks it.
    told = {tag: min(having[tag], len(members) - in_all[tag]) for tag in everyone}
    kept = tuple(tag for tag in everyone if told[tag] >= LEAST_GROUPS)
    if not kept:
        raise UsageError(
            f"{len(everyone)} tags ({few(everyone)}), none of them in two groups of tracks and "
            f"missing from two; separator {separator!r}"
        )
    rare = [tag for tag in everyone if tag not in set(kept)]
    ids = list(tags)
    values = np.array([[tag in tags[track_id] for tag in kept] for track_id in ids], np.float32)
    return Targets(TagTask(kept), ids, values, _rare_remark("tag", "tags", rare, 0))


def _separator(labels: Mapping[str, Sequence[str]]) -> str | None:
    """What stands between tags: nothing where tracks have several cells."""
    if any(len(set(cells)) > 1 for cells in labels.values()):
        return None
    cells = [cell for found in labels.values() for cell in found]
    return next((s for s in SEPARATORS if any(s in cell for cell in cells)), None)


def _split(cell: str, separator: str | None) -> list[str]:
    parts = re.split(re.escape(separator), cell) if separator else [cell]
    return [part.strip() for part in parts if part.strip()]


def number_targets(labels: Mapping[str, str]) -> Targets:
    """Targets of numbers.

    Raises
    ------
    UsageError
        If a label is no number, or all are the same.
    """
    for track_id, label in labels.items():
        if _number(label) is None:
            raise UsageError(f"label {label!r} of {track_id}; a number is needed for regression")
    numbers = {track_id: float(label) for track_id, label in labels.items()}
    ids = [track_id for track_id, number in numbers.items() if np.isfinite(number)]
    values = np.array([numbers[track_id] for track_id in ids])
    if len(set(values.tolist())) < 2:
        raise UsageError(f"all labels are {values[:1].tolist()}; there is nothing to tell apart")
    remarks = []
    if len(ids) < len(numbers):
        remarks.append(f"left out: {len(numbers) - len(ids)} tracks with labels that are infinite")
    task = NumberTask(float(values.mean()), float(values.std()))
    scaled = ((values - task.mean) / task.deviation).astype(np.float32)
    return Targets(task, ids, scaled[:, None], remarks)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def key_targets(labels: Mapping[str, str]) -> Targets:
    """Targets of keys; other modes, and what names no key, are left out.

    Raises
    ------
    UsageError
        If fewer than two keys are left.
    """
    known: dict[str, int] = {}
    for track_id, label in labels.items():
        try:
            number = key_class(label)
        except UsageError:
            continue
        if number != EXCLUDED:
            known[track_id] = number
    if len(set(known.values())) < 2:
        example = few(sorted(set(labels.values())))
        raise UsageError(
            f"{len(set(known.values()))} different keys in {len(labels)} labels ({example}); two "
            "such as C:major and A minor are needed"
        )
    others = [label for track_id, label in labels.items() if track_id not in known]
    remarks = []
    if others:
        remarks = [
            f"left out: {len(others)} tracks whose label is no major or minor key "
            f"({few(dict.fromkeys(others))})"
        ]
    return Targets(KeyTask(), list(known), np.array(list(known.values())), remarks)
