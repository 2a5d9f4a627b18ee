"""Self-similarity matrices (claim C4): which musical dimension each layer's resembles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.probes.collection import Memory, Render
from benchmarks.probes.systems import CONFIG
from benchmarks.probes.truth import Truth
from vit1dx.analysis.similarity import self_similarity
from vit1dx.probe.music import EXCLUDED

RATE = CONFIG.mel.frame_rate
BLOCK = 8  # frames, 0.256 s, averaged for all dimensions but beats
BEAT_SECONDS = 16.0  # s in the middle of a track whose single frames are compared for beats
LEAST_APART = {"beats": 1.0}  # s between what is compared, so that neighbours do not decide
APART = 4.0

Similarity = Callable[[Truth, np.ndarray], "np.ndarray | None"]


def measure(memory: Memory, system: str, name: str, test: Sequence[Render]) -> dict[str, float]:
    """Pearson correlation of a feature's self-similarity with that of each musical dimension.

    Similarity is the cosine of features less their track's mean; tracks are averaged, those left
    out that say nothing of a dimension or in which it does not change.
    """
    found: dict[str, list[float]] = {dimension: [] for dimension in DIMENSIONS}
    for render in test:
        frames = memory.read(system, render, "frames", name)
        for dimension, similarity in DIMENSIONS.items():
            features, time = _sampled(frames, dimension)
            truth = similarity(render.truth, time)
            if truth is None:
                continue
            value = correlation(
                self_similarity(features), truth, time, LEAST_APART.get(dimension, APART)
            )
            if value is not None:
                found[dimension].append(value)
    return {dimension: float(np.mean(values)) for dimension, values in found.items()}


def correlation(
    similarity: np.ndarray, truth: np.ndarray, time: np.ndarray, apart: float
) -> float | None:
    """Pearson correlation over pairs at least `apart` seconds apart; None if truth never varies."""
    first, second = np.triu_indices(len(time), 1)
    kept = (time[second] - time[first] >= apart) & ~np.isnan(truth[first, second])
    x, y = similarity[first[kept], second[kept]], truth[first[kept], second[kept]]
    if len(y) < 2 or y.std() == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def _sampled(frames: np.ndarray, dimension: str) -> tuple[np.ndarray, np.ndarray]:
    if dimension == "beats":
        width = min(len(frames), round(BEAT_SECONDS * RATE))
        first = (len(frames) - width) // 2
        return frames[first : first + width], np.arange(first, first + width) / RATE
    n = len(frames) // BLOCK
    blocks = frames[: n * BLOCK].reshape(n, BLOCK, -1).mean(1)
    return blocks, (np.arange(n) * BLOCK + (BLOCK - 1) / 2) / RATE


def _same(classes: np.ndarray) -> np.ndarray:
    same = (classes[:, None] == classes[None, :]).astype(float)
    same[classes == EXCLUDED] = np.nan
    same[:, classes == EXCLUDED] = np.nan
    return np.asarray(same)


def _at(classes: np.ndarray, time: np.ndarray) -> np.ndarray:
    return classes[np.minimum(np.round(time * RATE).astype(int), len(classes) - 1)]


def _chords(truth: Truth, time: np.ndarray) -> np.ndarray | None:
    if not truth.labels["chords"]:
        return None
    return _same(_at(truth.chords(int(time[-1] * RATE) + BLOCK), time))


def _sections(truth: Truth, time: np.ndarray) -> np.ndarray | None:
    if not truth.labels["sections"]:
        return None
    names = {label: i for i, label in enumerate(sorted({s[2] for s in truth.labels["sections"]}))}
    n = int(time[-1] * RATE) + BLOCK
    return _same(_at(truth.classes("sections", n, names.__getitem__), time))


def _instruments(truth: Truth, time: np.ndarray) -> np.ndarray:
    """Jaccard index of the families that play."""
    families = sorted(truth.families)
    playing = np.zeros((len(time), len(families)))
    for family, start, end in truth.labels["instruments"]:
        playing[(time >= start) & (time < end), families.index(family)] = 1
    both = playing @ playing.T
    either = playing.sum(1)[:, None] + playing.sum(1)[None, :] - both
    return np.asarray(np.where(either > 0, both / np.maximum(either, 1), np.nan))


def _beats(truth: Truth, time: np.ndarray) -> np.ndarray | None:
    """Cosine of the difference of phases within the beat."""
    beats = truth.events("beats")
    if beats is None or len(beats) < 2:
        return None
    phase = np.interp(time, beats, np.arange(len(beats)), left=np.nan, right=np.nan)
    return np.asarray(np.cos(2 * np.pi * (phase[:, None] - phase[None, :])))


DIMENSIONS: dict[str, Similarity] = {
    "chords": _chords,
    "instruments": _instruments,
    "sections": _sections,
    "beats": _beats,
}
