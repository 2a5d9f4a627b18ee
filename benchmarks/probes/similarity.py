"""Self-similarity matrices (claim C4): which musical dimension each layer's resembles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

import vit1dx
from benchmarks.probes.collection import Render
from benchmarks.probes.labels import Truth
from benchmarks.probes.systems import CONFIG, LOG_MEL, log_mel
from vit1dx.analysis.similarity import self_similarity
from vit1dx.probe.annotations import Annotation
from vit1dx.probe.frames import classes_at
from vit1dx.probe.music import EXCLUDED, chord_class

RATE = CONFIG.mel.frame_rate
BLOCK = 8  # frames, 0.256 s, averaged for all dimensions but beats
BEAT_SECONDS = 16.0  # s in the middle of a track whose single frames are compared for beats
LEAST_APART = {"beats": 1.0}  # s between what is compared, so that neighbours do not decide
APART = 4.0

Similarity = Callable[[Truth, np.ndarray], "np.ndarray | None"]


def measure(
    test: Iterable[Render], frames_of: Callable[[Render], Mapping[str, np.ndarray]]
) -> dict[str, dict[str, float]]:
    """Pearson correlation of features' self-similarity with that of each musical dimension.

    Similarity is the cosine of features less their track's mean; tracks are averaged, those left
    out that say nothing of a dimension or in which it does not change.

    Parameters
    ----------
    test : iterable of Render
    frames_of : callable
        Frames (time, dim) of a render, by name of the feature.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for render in test:
        truth = render.labels()
        for name, frames in frames_of(render).items():
            of_name = found.setdefault(name, {dimension: [] for dimension in DIMENSIONS})
            for dimension, value in _correlations(frames, truth):
                of_name[dimension].append(value)
    return {
        name: {dimension: float(np.mean(v)) for dimension, v in of_name.items() if v}
        for name, of_name in found.items()
    }


def of_tokens(features: Path, layers: Iterable[int]) -> Callable[[Render], dict[str, np.ndarray]]:
    """Sequence tokens of renders by layer, from a feature file."""

    def frames(render: Render) -> dict[str, np.ndarray]:
        with vit1dx.open(features) as opened:
            track = opened[render.id]
            return {
                f"layer {layer}": np.asarray(track.read("sequence_tokens", layer=layer), np.float32)
                for layer in layers
            }

    return frames


def of_log_mel(render: Render) -> dict[str, np.ndarray]:
    """Log-mel frames of a render."""
    return {LOG_MEL: log_mel(render.audio)}


def _correlations(frames: np.ndarray, truth: Truth) -> Iterable[tuple[str, float]]:
    for dimension, similarity in DIMENSIONS.items():
        features, time = _sampled(frames, dimension)
        true = similarity(truth, time)
        if true is None:
            continue
        apart = LEAST_APART.get(dimension, APART)
        value = correlation(self_similarity(features), true, time, apart)
        if value is not None:
            yield dimension, value


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


def _classes(truth: Truth, name: str, time: np.ndarray, code: Callable[[str], int]) -> np.ndarray:
    start, end, labels = zip(*truth[name], strict=True)
    return classes_at(time, Annotation(np.array(start), np.array(end), labels), code)


def _chords(truth: Truth, time: np.ndarray) -> np.ndarray | None:
    return _same(_classes(truth, "chords", time, chord_class)) if truth["chords"] else None


def _sections(truth: Truth, time: np.ndarray) -> np.ndarray | None:
    if not truth["sections"]:
        return None
    names = {label: i for i, label in enumerate(sorted({s[2] for s in truth["sections"]}))}
    return _same(_classes(truth, "sections", time, names.__getitem__))


def _instruments(truth: Truth, time: np.ndarray) -> np.ndarray:
    """Jaccard index of the families that play."""
    families = sorted({family for family, _, _ in truth["instruments"]})
    playing = np.zeros((len(time), len(families)))
    for family, start, end in truth["instruments"]:
        playing[(time >= start) & (time < end), families.index(family)] = 1
    both = playing @ playing.T
    either = playing.sum(1)[:, None] + playing.sum(1)[None, :] - both
    return np.asarray(np.where(either > 0, both / np.maximum(either, 1), np.nan))


def _beats(truth: Truth, time: np.ndarray) -> np.ndarray | None:
    """Cosine of the difference of phases within the beat."""
    beats = truth["beats"]
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
