"""Which tracks a probe is fitted, tuned and scored on: groups are never divided."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold

from .._types import Array
from ..errors import UsageError

#: Share of the training groups that choices are made on: one in so many.
INNER_FOLDS = 5
#: Groups that are needed: to score on, to choose on, and to fit.
LEAST_GROUPS = 3
#: What a column of splits calls its parts.
TRAIN, VALID, TEST = ("train", "training"), ("valid", "validation", "val", "dev"), ("test",)


@dataclass(frozen=True)
class Fold:
    """One division of tracks.

    Attributes
    ----------
    train : (track,) bool array
        Fitted on, those held out included.
    held_out : (k, track) bool array
        Of the training tracks, those that penalties, thresholds and the layer are chosen on, in
        turn.
    test : (track,) bool array
        Scored on.
    seed : int
        That it was drawn by, and that draws the frames to fit on.
    """

    train: Array
    held_out: Array
    test: Array
    seed: int = 0


def folds(
    groups: Sequence[str],
    classes: Array | None,
    n_folds: int,
    seeds: int,
    turns: int,
    seed: int = 0,
) -> list[Fold]:
    """Cross-validation by groups, anew for each of some seeds.

    Parameters
    ----------
    groups : (track,) sequence of str
    classes : (track,) int array or None
        To have alike shares of in all folds, as far as groups allow.
    n_folds, seeds : int
    turns : int
        In which others of the training tracks are held out.
    seed : int
        The first.

    Raises
    ------
    UsageError
        If there are fewer groups than folds, or than a fit and its choices need.
    """
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    n_groups = int(numbers.max()) + 1 if len(numbers) else 0
    if n_groups < max(LEAST_GROUPS, n_folds):
        need = f"--folds {n_folds} needs {n_folds}" if n_groups >= LEAST_GROUPS else "3 are needed"
        raise UsageError(f"{n_groups} groups of tracks with labels; {need} at least")
    found = []
    for each in range(seeds):
        for train in _parts(numbers, classes, n_folds, seed + each):
            if len(np.unique(numbers[train])) < 2:
                raise UsageError(
                    f"{n_groups} groups of tracks with labels; --folds {n_folds} leaves one to fit "
                    "and choose on, and two are needed"
                )
            held_out = _inner(train, numbers, classes, turns, seed + each)
            found.append(Fold(train, held_out, ~train, seed + each))
    return found


def given(
    split: Sequence[str],
    groups: Sequence[str],
    classes: Array | None,
    seeds: int,
    turns: int,
    seed: int = 0,
) -> list[Fold]:
    """The division that a column says, once a seed.

    Where it has no validation part, one is drawn by seed; where it has, seeds draw frames alone.

    Raises
    ------
    UsageError
        If the column has no training or no test tracks.
    """
    words = np.array([word.strip().lower() for word in split])
    train, valid, test = (np.isin(words, names) for names in (TRAIN, VALID, TEST))
    if not train.any() or not test.any():
        raise UsageError(
            f"--split-column has {', '.join(sorted(set(words))[:5])}; train and test are needed, "
            "and valid where there is one"
        )
    if valid.any():
        return [Fold(train | valid, valid[None], test, seed + each) for each in range(seeds)]
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(np.unique(numbers[train])) < 2:
        raise UsageError("--split-column puts all training tracks in one group; two are needed")
    return [
        Fold(train, _inner(train, numbers, classes, turns, seed + each), test, seed + each)
        for each in range(seeds)
    ]


def inner(groups: Sequence[str], classes: Array | None, turns: int, seed: int = 0) -> Array:
    """Tracks to make choices on where all are fitted on: (k, track) bool."""
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    return _inner(np.ones(len(numbers), bool), numbers, classes, turns, seed)


def _inner(train: Array, groups: Array, classes: Array | None, turns: int, seed: int) -> Array:
    """About a fifth of the training tracks, in some turns another: (k, track) bool.

    Each is at least one group and not all; so many that every turn may have each class on both
    sides, as far as groups allow.
    """
    places = np.flatnonzero(train)
    some = None if classes is None else classes[places]
    most = len(np.unique(groups[places]))
    if some is not None:
        most = min(most, max(2, max(_groups_of_classes(groups[places], some))))
    fitted = _parts(groups[places], some, min(INNER_FOLDS, most), seed)[:turns]
    held_out = np.zeros((len(fitted), len(train)), bool)
    for part, kept in zip(held_out, fitted, strict=True):
        part[places[~kept]] = True
    return held_out


def _groups_of_classes(groups: Array, classes: Array) -> list[int]:
    return [len(np.unique(groups[classes == each])) for each in np.unique(classes)]


def _parts(groups: Array, classes: Array | None, n_folds: int, seed: int) -> list[Array]:
    """Which are fitted on in each fold: (track,) bool arrays, none of them empty or full."""
    if classes is not None and np.bincount(classes).max() >= n_folds:
        single = len(np.unique(groups)) == len(groups)
        kind = StratifiedKFold if single else StratifiedGroupKFold
        parts = _divided(kind(n_folds, shuffle=True, random_state=seed), groups, classes)
        if all(part.any() and not part.all() for part in parts):
            return parts
    # Few groups, or no class with a track for each fold: nothing can be spread evenly.
    return _divided(GroupKFold(n_folds, shuffle=True, random_state=seed), groups, classes)


def _divided(splitter: Any, groups: Array, classes: Array | None) -> list[Array]:
    parts = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes with fewer tracks than folds are said elsewhere
        for fitted, _ in splitter.split(np.zeros(len(groups)), classes, groups):
            part = np.zeros(len(groups), bool)
            part[fitted] = True
            parts.append(part)
    return parts
