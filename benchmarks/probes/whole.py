"""Global tasks (claim C1): linear probes on one vector a track."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.probes.collection import Memory, Render
from benchmarks.probes.features import Remembered, divided
from benchmarks.probes.scores import Scores
from benchmarks.probes.truth import SLOWEST_CLASSES, Truth
from vit1dx.probe.measure import measure_whole
from vit1dx.probe.music import EXCLUDED, key_class
from vit1dx.probe.whole import ClassTask, KeyTask, TagTask, Targets, WholeTask

TASKS = ("instruments", "key", "key, weighted", "tempo", "style")
HELD_OUT = 0.2  # of the tracks to fit on, drawn anew for each seed
LEAST_POSITIVES = 5  # tracks that an instrument family must play in, and must be missing from
#: Our names of scores, by task and measure.
NAMES = {
    "instruments": {"mAP": "instruments"},
    "key": {"accuracy": "key", "weighted": "key, weighted"},
    "tempo": {"accuracy": "tempo"},
    "style": {"accuracy": "style"},
}


def measure(
    memory: Memory,
    system: str,
    name: str,
    fit: Sequence[Render],
    test: Sequence[Render],
    seeds: int,
) -> list[Scores]:
    """Score one feature on every task; each seed draws the tracks that choices are made on.

    Returns
    -------
    list of Scores
        Mean average precision over instrument families; accuracy of the key (24) and its MIREX
        score; accuracy of the tempo's class (5) and of the style (22, composed songs).
    """
    renders = [*fit, *test]
    feature = Remembered(memory, system, name, renders)
    scores = [Scores({}, {}) for _ in range(seeds)]
    for task, targets in _targets(fit, test).items():
        is_fit = np.array([int(place) < len(fit) for place in targets.ids])
        with threadpool_limits(1):
            found = measure_whole(feature, targets, divided(is_fit, HELD_OUT, seeds))
        for each, one in zip(scores, found, strict=True):
            for measure, ours in NAMES[task].items():
                each.held_out[ours] = one.held_out[measure]
                each.test[ours] = one.test[measure]
    return scores


def _targets(fit: Sequence[Render], test: Sequence[Render]) -> dict[str, Targets]:
    truths = [render.truth for render in (*fit, *test)]
    families = tuple(_families(fit, test))
    styles = tuple(sorted({truth.style for truth in truths[: len(fit)] if truth.style}))
    tempos = tuple(map(str, range(len(SLOWEST_CLASSES) + 1)))
    everyone = [str(place) for place in range(len(truths))]
    tags = np.array([[f in t.families for f in families] for t in truths], np.float32)

    def style(truth: Truth) -> int:
        return styles.index(truth.style) if truth.style in styles else EXCLUDED

    return {
        "instruments": Targets(TagTask(families), everyone, tags, []),
        "key": _known(KeyTask(), truths, lambda t: key_class(t.key) if t.key else EXCLUDED),
        "tempo": _known(ClassTask(tempos), truths, lambda t: t.tempo_class),
        "style": _known(ClassTask(styles), truths, style),
    }


def _known(task: WholeTask, truths: Sequence[Truth], of: Callable[[Truth], int]) -> Targets:
    """Classes of the tracks of which there is one."""
    classes = {str(place): of(truth) for place, truth in enumerate(truths)}
    known = {place: number for place, number in classes.items() if number != EXCLUDED}
    return Targets(task, list(known), np.array(list(known.values())), [])


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
