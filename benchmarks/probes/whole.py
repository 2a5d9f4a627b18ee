"""Global tasks (claim C1): linear probes on one vector a track."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mir_eval
import numpy as np
import torch

from benchmarks.probes.collection import Memory, Render
from benchmarks.probes.linear import EXCLUDED, fit_classes, fit_tags
from benchmarks.probes.scores import Scores
from benchmarks.probes.truth import KEY_CLASSES, SLOWEST_CLASSES, Truth, key_class
from weights.recipe.corpus.harte import PITCH_NAMES

TASKS = ("instruments", "key", "key, weighted", "tempo", "style")
FITTED_SHARE = 0.8  # of the tracks, drawn anew for each seed
LEAST_POSITIVES = 5  # tracks that an instrument family must play in, and must be missing from


def measure(
    memory: Memory,
    system: str,
    name: str,
    fit: Sequence[Render],
    test: Sequence[Render],
    seeds: int,
) -> list[Scores]:
    """Score one feature on every task; each seed draws the tracks to fit.

    Returns
    -------
    list of Scores
        Mean average precision over instrument families; accuracy of the key (24) and its MIREX
        score; accuracy of the tempo's class (5) and of the style (22, composed songs).
    """
    torch.set_num_threads(1)
    before = Group.of(memory, system, name, fit)
    after = Group.of(memory, system, name, test)
    families = _families(fit, test)
    styles = sorted({style for render in fit if (style := render.truth.style)})
    scores = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(fit))
        part = round(FITTED_SHARE * len(fit))
        fitted, held_out = before.take(order[:part]), before.take(order[part:])
        both = (_probed(fitted, group, families, styles) for group in (held_out, after))
        scores.append(Scores(*both))
    return scores


@dataclass
class Group:
    """Renders and their vectors, (render, dim)."""

    renders: list[Render]
    vectors: np.ndarray

    @classmethod
    def of(cls, memory: Memory, system: str, name: str, renders: Sequence[Render]) -> Group:
        """Renders with one feature of a system."""
        vectors = [memory.read(system, render, "whole", name) for render in renders]
        return cls(list(renders), np.stack(vectors))

    def take(self, rows: np.ndarray) -> Group:
        """Some of them."""
        return Group([self.renders[row] for row in rows], self.vectors[rows])

    def classes(self, of: Callable[[Truth], int]) -> np.ndarray:
        """Class of each, (render,)."""
        return np.array([of(render.truth) for render in self.renders])


def _probed(fit: Group, test: Group, families: list[str], styles: list[str]) -> dict[str, float]:
    def style(truth: Truth) -> int:
        return styles.index(truth.style) if truth.style in styles else EXCLUDED

    return {
        "instruments": _instruments(fit, test, families),
        **_keys(fit, test),
        "tempo": _accuracy(fit, test, lambda t: t.tempo_class, len(SLOWEST_CLASSES) + 1),
        "style": _accuracy(fit, test, style, len(styles)),
    }


def _families(fit: Sequence[Render], test: Sequence[Render]) -> list[str]:
    """Instrument families common enough, and not in every track, in both sets."""
    counts = [
        {f: sum(f in render.truth.families for render in group) for f in _all_families(group)}
        for group in (fit, test)
    ]
    sizes = (len(fit), len(test))
    return [
        family
        for family in sorted(counts[0])
        if all(
            LEAST_POSITIVES <= count.get(family, 0) <= size - LEAST_POSITIVES
            for count, size in zip(counts, sizes, strict=True)
        )
    ]


def _all_families(group: Sequence[Render]) -> set[str]:
    return set().union(*(render.truth.families for render in group))


def _instruments(fit: Group, test: Group, families: list[str]) -> float:
    def tags(group: Group) -> np.ndarray:
        return np.array([[f in r.truth.families for f in families] for r in group.renders])

    logits, truth = fit_tags(fit.vectors, tags(fit)).logits(test.vectors), tags(test)
    found = [i for i in range(len(families)) if truth[:, i].any()]
    return float(np.mean([average_precision(truth[:, i], logits[:, i]) for i in found]))


def average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Mean, over the true ones, of the precision down to each when sorted by score."""
    hits = truth[np.argsort(-scores, kind="stable")].astype(float)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / hits.sum())


def _keys(fit: Group, test: Group) -> dict[str, float]:
    def key(truth: Truth) -> int:
        return key_class(truth.key) if truth.key else EXCLUDED

    probe = fit_classes(fit.vectors, fit.classes(key), KEY_CLASSES)
    known = test.classes(key)
    pairs = list(zip(known, probe.classes(test.vectors), strict=True))
    pairs = [(truth, found) for truth, found in pairs if truth != EXCLUDED]
    weighted = [mir_eval.key.weighted_score(_key_name(t), _key_name(f)) for t, f in pairs]
    return {
        "key": float(np.mean([truth == found for truth, found in pairs])),
        "key, weighted": float(np.mean(weighted)),
    }


def _key_name(number: int) -> str:
    return f"{PITCH_NAMES[number % 12]} {'minor' if number >= 12 else 'major'}"


def _accuracy(fit: Group, test: Group, of: Callable[[Truth], int], n_classes: int) -> float:
    truth = test.classes(of)
    found = fit_classes(fit.vectors, fit.classes(of), n_classes).classes(test.vectors)
    known = truth != EXCLUDED
    return float((found[known] == truth[known]).mean())
