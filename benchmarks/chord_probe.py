"""A quick look at a run: frame-wise chords by a linear probe, while training goes on.

    python -m benchmarks.chord_probe CORPUS [WEIGHTS] [--layers 1,3,6,9,12] [--window 62]

The probe is fitted on songs that the encoder was trained on and scored on songs that it was not
(those that the corpus's manifest calls "valid"), both in one soundfont. It is for steering: the
shipped table is `benchmarks.probes`', of the testing songs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.corpus.build import MANIFEST
from benchmarks.probes.linear import EXCLUDED, fit_classes
from benchmarks.probes.systems import CONFIG, Arrays, log_mel
from benchmarks.probes.truth import CHORD_CLASSES, truth_of
from vit1dx.model import ViT1D, load

SONGS, EVERY = 100, 3
SOUNDFONT = "FluidR3"


def renders(corpus: Path, split: str, soundfont: str) -> list[Path]:
    """One render of each of the first songs of a split, spread over its numbers."""
    rows = [json.loads(line) for line in (corpus / MANIFEST).read_text().splitlines()]
    rows = [r for r in rows if (r["split"], r["soundfont"]) == (split, soundfont)]
    rows = [r for r in rows if r["source"] == "pop909"]
    by_song = {r["song"]: corpus / r["audio"] for r in reversed(rows)}
    paths = [by_song[song] for song in sorted(by_song)]
    return paths[:: max(1, len(paths) // SONGS)][:SONGS]


def features(audio: Path, encoder: ViT1D | None, layers: list[int], window: int) -> Arrays:
    """Sequence tokens of whole windows, by layer; without an encoder, what it would be given."""
    found = log_mel(audio).frames
    if encoder is None:
        return found
    mel = found["log-mel"]
    whole = len(mel) // window * window
    batch = torch.from_numpy(mel[:whole].reshape(-1, window, mel.shape[1]))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        tokens, _ = encoder(batch, layers, attentions=range(1, max(layers) + 1))
    return {f"layer {k}": v[:, 1:].float().reshape(whole, -1).numpy() for k, v in tokens.items()}


def table(paths: list[Path], read: Callable[[Path], Arrays]) -> tuple[Arrays, np.ndarray]:
    """Features, by name, and chord classes of some frames of several renders."""
    parts = [read(path) for path in paths]
    lengths = [min(map(len, part.values())) for part in parts]
    truths = [truth_of(path, CONFIG.mel.frame_rate) for path in paths]
    classes = [truth.chords(n)[::EVERY] for truth, n in zip(truths, lengths, strict=True)]
    joined = {
        name: np.concatenate([p[name][:n:EVERY] for p, n in zip(parts, lengths, strict=True)])
        for name in parts[0]
    }
    return joined, np.concatenate(classes)


def measure(
    corpus: Path, encoder: ViT1D | None, layers: list[int], window: int, soundfont: str
) -> dict[str, float]:
    """Accuracy by kind of feature of an encoder."""
    torch.set_num_threads(1)
    read = partial(features, encoder=encoder, layers=layers, window=window)
    return accuracies(corpus, read, soundfont)


def accuracies(
    corpus: Path, read: Callable[[Path], Arrays], soundfont: str = SOUNDFONT
) -> dict[str, float]:
    """Accuracy by kind of feature, as they are read off a render: (frame, feature) by name."""
    (fit, truth), (test, expected) = (
        table(renders(corpus, split, soundfont), read) for split in ("train", "valid")
    )
    known = expected != EXCLUDED
    found = {
        name: fit_classes(rows, truth, CHORD_CLASSES).classes(test[name][known])
        for name, rows in fit.items()
    }
    return {name: float((f == expected[known]).mean()) for name, f in found.items()}


def main() -> None:
    """Print the accuracy by kind of feature."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("weights", type=Path, nargs="?", help="none: log-mel; 'untrained' works")
    parser.add_argument("--layers", default="1,3,6,9,12")
    parser.add_argument("--window", type=int, default=62)
    parser.add_argument("--soundfont", default=SOUNDFONT)
    options = parser.parse_args()
    torch.manual_seed(0)
    encoder = None
    if options.weights:
        untrained = options.weights.name == "untrained"
        encoder = ViT1D() if untrained else load(options.weights)
    layers = [int(layer) for layer in options.layers.split(",")]
    found = measure(options.corpus, encoder, layers, options.window, options.soundfont)
    print(" | ".join(f"{name}: {score:.1%}" for name, score in found.items()))


if __name__ == "__main__":
    main()
