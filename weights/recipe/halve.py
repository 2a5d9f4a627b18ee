"""Weights kept as float16: half the size, and what that changes.

    python -m weights.recipe.halve W.safetensors OUT.safetensors MUSIC

`vit1dx export-onnx` keeps them so. Printed is the least cosine of a sequence token, by layer, with
that of the weights as they were.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks.precision import cosines
from benchmarks.tables import table
from vit1dx.extractor import Extractor
from vit1dx.model.vit import load, save
from vit1dx.model.weights import read_info, read_safetensors_metadata


def halve(weights: Path, out: Path, name: str | None = None) -> None:
    """Write weights as float16, under another name if one is given."""
    info = read_info(weights)
    known = {"config", "name", "trained"}
    metadata = read_safetensors_metadata(weights)
    more = {key: value for key, value in metadata.items() if key not in known}
    model = load(weights)
    save(model, out, name or info.name, bool(info.trained), dtype=torch.float16, **more)


def main() -> None:
    """Write them, and print what changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("music", type=Path)
    parser.add_argument("--name", help="what the weights are called from now on")
    options = parser.parse_args()
    halve(options.weights, options.out, options.name)
    exact, half = (Extractor(weights=path) for path in (options.weights, options.out))
    least = cosines(options.music, exact, half).min(axis=1)
    cells = [[str(layer), f"{least[row]:.6f}"] for row, layer in enumerate(exact.request.layers)]
    print(table(["layer", "least cosine"], cells))


if __name__ == "__main__":
    main()
