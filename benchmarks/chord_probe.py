"""A quick look at a run: frame-wise chords by a linear probe, while training goes on.

    python -m benchmarks.chord_probe CORPUS [WEIGHTS] [--layers 1,3,6,9,12] [--window 62]

The probe is fitted on songs that the encoder was trained on and scored on songs that it was not
(those that the corpus's manifest calls "valid"), both in one soundfont. It is
for steering: the shipped table is that of the testing songs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import mir_eval
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.corpus.build import MANIFEST
from benchmarks.corpus.labels import labels_path, read_labels
from vit1dx.audio import AudioFile, mono_at_rate
from vit1dx.config import Config
from vit1dx.mel import LogMel
from vit1dx.model import ViT1D, load

CLASSES = 25  # 12 major, 12 minor, none
EXCLUDED = -1
FIT_SONGS, EVERY = 100, 3
PENALTIES = (1e-3, 1e-2, 3e-2)


def renders(corpus: Path, split: str, soundfont: str, limit: int) -> list[Path]:
    """One render of each of the first songs of a split, spread over its numbers."""
    rows = [json.loads(line) for line in (corpus / MANIFEST).read_text().splitlines()]
    rows = [r for r in rows if (r["split"], r["soundfont"]) == (split, soundfont)]
    rows = [r for r in rows if r["source"] == "pop909"]
    by_song = {r["song"]: corpus / r["audio"] for r in reversed(rows)}
    paths = [by_song[song] for song in sorted(by_song)]
    return paths[:: max(1, len(paths) // limit)][:limit]


def chord_class(label: str) -> int:
    """0 to 11 for major, 12 to 23 for minor, by root; 24 for none; -1 for other chords."""
    root, intervals, _ = mir_eval.chord.encode(label)
    if root < 0:
        return 24 if label == "N" else EXCLUDED
    if intervals[7] and intervals[4] != intervals[3]:
        return int(root) + 12 * int(intervals[3])
    return EXCLUDED


def chord_frames(audio: Path, times: np.ndarray) -> np.ndarray:
    """Class of the chord at each time."""
    labels = read_labels(labels_path(audio))
    classes = np.full(len(times), EXCLUDED)
    for start, end, label in labels["chords"]:
        classes[(times >= start) & (times < end)] = chord_class(label)
    return classes


def log_mel(audio: Path, config: Config) -> np.ndarray:
    """Frames of a file, (time, n_mels)."""
    with AudioFile(audio) as file:
        blocks = mono_at_rate(file.blocks(), file.sample_rate, config.mel.sample_rate)
        return np.concatenate(list(LogMel(config.mel).stream(blocks)))


def averaged(mel: np.ndarray, width: int = 9) -> np.ndarray:
    """Each frame's mean with its neighbours, `width` in all."""
    padded = np.pad(mel, ((width // 2, width // 2), (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, width, axis=0).mean(axis=-1)


def tokens(
    encoder: ViT1D, mel: np.ndarray, layers: list[int], window: int
) -> dict[str, np.ndarray]:
    """Sequence tokens of whole windows, by layer."""
    whole = len(mel) // window * window
    batch = torch.from_numpy(mel[:whole].reshape(-1, window, mel.shape[1]))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found, _ = encoder(batch, layers, attentions=range(1, max(layers) + 1))
    return {f"layer {k}": v[:, 1:].float().reshape(whole, -1).numpy() for k, v in found.items()}


def features(
    audio: Path, encoder: ViT1D | None, layers: list[int], window: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Features of every `EVERY`th frame that has a class, and the classes."""
    config = encoder.config if encoder else Config()
    mel = log_mel(audio, config)
    found = tokens(encoder, mel, layers, window) if encoder else {}
    if encoder is None:
        found = {"log-mel": mel, "log-mel, 9 frames": averaged(mel)}
    length = min(len(values) for values in found.values())
    classes = chord_frames(audio, np.arange(length) / config.mel.frame_rate)
    rows = np.flatnonzero(classes != EXCLUDED)[::EVERY]
    return {name: values[rows] for name, values in found.items()}, classes[rows]


def table(
    parts: Iterator[tuple[dict[str, np.ndarray], np.ndarray]],
) -> tuple[dict[str, Tensor], Tensor]:
    """Features of several files joined, by name, and their classes."""
    found, classes = zip(*parts, strict=True)
    joined = {k: torch.from_numpy(np.concatenate([f[k] for f in found])) for k in found[0]}
    return joined, torch.from_numpy(np.concatenate(classes))


def probe(fit: Tensor, classes: Tensor, test: Tensor, truth: Tensor) -> float:
    """Accuracy of a multinomial logistic regression, at the best of `PENALTIES`.

    It is fitted to convergence, on whitened features: those of a transformer are so correlated that
    400 steps of AdamW on standardised ones stop 20 points short. The penalty is chosen on the last
    fifth of the frames to fit, whose songs are others.
    """
    fit, test = _whitened(fit, test)
    part = 4 * len(fit) // 5
    fits = {p: _regression(fit[:part], classes[:part], p) for p in PENALTIES}
    best = max(fits, key=lambda p: _accuracy(fits[p], fit[part:], classes[part:]))
    return _accuracy(_regression(fit, classes, best), test, truth)


def _whitened(fit: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both with a column of ones, decorrelated and scaled as `fit` is."""
    centre = fit.mean(0)
    basis, variance, _ = torch.linalg.svd(((fit - centre).T @ (fit - centre) / len(fit)).double())
    whiten = (basis / (variance + 1e-6 * variance[0]).sqrt()).float()
    return tuple(F.pad((x - centre) @ whiten, (0, 1), value=1.0) for x in (fit, test))  # type: ignore


def _regression(features: Tensor, classes: Tensor, penalty: float) -> Tensor:
    weights = torch.zeros(features.shape[1], CLASSES, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(features @ weights, classes) + penalty * weights.square().sum()
        torch.autograd.backward(value)
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach()


def _accuracy(weights: Tensor, features: Tensor, truth: Tensor) -> float:
    return float(((features @ weights).argmax(1) == truth).float().mean())


def scores(
    corpus: Path, encoder: ViT1D | None, layers: list[int], window: int, soundfont: str
) -> dict[str, float]:
    """Accuracy by kind of feature."""
    data = [
        table(features(path, encoder, layers, window) for path in paths)
        for paths in (
            renders(corpus, "train", soundfont, FIT_SONGS),
            renders(corpus, "valid", soundfont, FIT_SONGS),
        )
    ]
    (fit, classes), (test, truth) = data
    return {name: probe(fit[name], classes, test[name], truth) for name in fit}


def main() -> None:
    """Print one row of a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("weights", type=Path, nargs="?", help="none: log-mel; 'untrained' works")
    parser.add_argument("--layers", default="1,3,6,9,12")
    parser.add_argument("--window", type=int, default=62)
    parser.add_argument("--soundfont", default="FluidR3")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoder = None
    if options.weights:
        untrained = options.weights.name == "untrained"
        encoder = ViT1D() if untrained else load(options.weights)
    layers = [int(layer) for layer in options.layers.split(",")]
    found = scores(options.corpus, encoder, layers, options.window, options.soundfont)
    print(" | ".join(f"{name}: {score:.1%}" for name, score in found.items()))


if __name__ == "__main__":
    main()
