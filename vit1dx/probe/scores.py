"""How well a probe does, by the measures of each field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)

from .._types import Array
from .music import key_scores

#: Scores by measure; the first is what choices are made by.
Scores = dict[str, float]

#: Tolerance of events, s: mir_eval's, and the field's.
TOLERANCE = {"beats": 0.07, "downbeats": 0.07, "onsets": 0.05}


def class_scores(truth: Array, found: Array) -> Scores:
    """Accuracy, and F1 averaged over the classes that occur in the truth."""
    present = np.unique(truth)
    return {
        "accuracy": float(accuracy_score(truth, found)),
        "F1 (macro)": float(
            f1_score(truth, found, labels=present, average="macro", zero_division=0)
        ),
    }


def key_class_scores(truth: Array, found: Array) -> Scores:
    """MIREX's weighted score, and accuracy."""
    return {
        "weighted": float(key_scores()[truth, found].mean()),
        "accuracy": float(np.mean(truth == found)),
    }


def tag_scores(truth: Array, logits: Array) -> Scores:
    """Average precision and area under the ROC curve, each averaged over tags.

    Tags that all tracks have, or none, tell nothing, and are left out; nan where all are.
    """
    positive = truth.sum(axis=0)
    told = (positive > 0) & (positive < len(truth))
    if not told.any():
        return {"mAP": np.nan, "ROC AUC": np.nan}
    return {
        "mAP": float(average_precision_score(truth[:, told], logits[:, told], average="macro")),
        "ROC AUC": float(roc_auc_score(truth[:, told], logits[:, told], average="macro")),
    }


def number_scores(truth: Array, found: Array) -> Scores:
    """Share of variance explained, and mean absolute error in the label's unit."""
    r2 = float(r2_score(truth, found)) if len(truth) > 1 else np.nan
    return {"R2": r2, "MAE": float(mean_absolute_error(truth, found))}


def matches(reference: Array, estimated: Array, tolerance: float) -> int:
    """The most pairs of events, both ascending (s), no further apart than `tolerance`.

    On a line, pairing the earliest with the earliest is as good as any pairing: these are as many
    as mir_eval's bipartite matching finds.
    """
    i = j = hits = 0
    while i < len(reference) and j < len(estimated):
        gap = estimated[j] - reference[i]
        if abs(gap) <= tolerance:
            i, j, hits = i + 1, j + 1, hits + 1
        elif gap < 0:
            j += 1
        else:
            i += 1
    return hits


@dataclass
class Counts:
    """Events found, estimated and true, of many tracks."""

    hits: int = 0
    estimated: int = 0
    true: int = 0

    def add(self, reference: Array, estimated: Array, tolerance: float) -> None:
        """Take in a track's events, s."""
        self.hits += matches(reference, estimated, tolerance)
        self.estimated += len(estimated)
        self.true += len(reference)

    @property
    def f_measure(self) -> float:
        """Of all events together; 0 where there are none."""
        total = self.estimated + self.true
        return 2 * self.hits / total if total else 0.0
