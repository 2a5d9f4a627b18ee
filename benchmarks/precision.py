"""What lower precisions change: ``python -m benchmarks.precision MUSIC [--corpus CORPUS]``.

Cosine similarities of tokens with fp32's, layer by layer, on recordings; and, where there is a
corpus, chords and beats by `weights.recipe.steer`, fitted and scored on each precision's tokens.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.tables import table
from vit1dx.extractor import Extractor
from vit1dx.model.request import Precision
from vit1dx.run.sources import collect
from weights.recipe.steer import scores

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "bf16")
PROBED, TASKS = (1, 3, 6, 9, 12), ("chords", "beats")


def cosines(music: Path, exact: Extractor, lower: Extractor) -> np.ndarray:
    """Similarity of every sequence token that two give of some music, (layer, token)."""
    found = []
    for source in collect([str(music)]):
        a, b = exact(source.path).sequence_tokens, lower(source.path).sequence_tokens
        found.append((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1))
    return np.concatenate(found, axis=1)


def probed(corpus: Path, precision: Precision) -> dict[str, list[float]]:
    """The score of each of `TASKS` by layer of `PROBED`, on songs not trained on."""
    found = scores(corpus, None, PROBED, wanted=TASKS, precision=precision)
    return {task: [found[f"layer {layer}"][task] for layer in PROBED] for task in TASKS}


def main() -> None:
    """Print tables and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("music", type=Path)
    parser.add_argument("--corpus", type=Path, help="renders of weights.recipe.corpus")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    found: dict[str, dict[str, list[float]]] = {name: {} for name in ("mean", "least", *TASKS)}
    exact = Extractor(precision="fp32")
    for precision in PRECISIONS:
        if precision != "fp32":
            each = cosines(options.music, exact, Extractor(precision=precision))
            found["mean"][precision] = each.mean(axis=1).tolist()
            found["least"][precision] = each.min(axis=1).tolist()
        if options.corpus:
            for task, each_layer in probed(options.corpus, precision).items():
                found[task][precision] = each_layer
    for statistic, rows in found.items():
        layers = PROBED if statistic in TASKS else range(1, 13)
        cells = [[name, *(f"{value:.5f}" for value in values)] for name, values in rows.items()]
        print(table([statistic, *(f"layer {layer}" for layer in layers)], cells))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
