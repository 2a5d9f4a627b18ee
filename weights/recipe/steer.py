"""A quick look at weights while training goes on: the local probes, on songs held back for it.

    python -m weights.recipe.steer CORPUS WEIGHTS... [--layers 1,3,6,12] [--recordings TEST]

Probes are fitted on songs that the encoder was trained on and scored on songs that it was not
(those that the corpus's manifest calls "valid"), of all sources and soundfonts. "untrained" and
"log-mel" work in the place of weights. With recordings (`weights.recipe.corpus.real --role test`) a
last column says how often the other half of one is found. The shipped table is
`benchmarks.probes`', of the testing songs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.probes import local
from benchmarks.probes.collection import Memory, Render, of_sources, renders
from benchmarks.probes.recordings import of_manifest, retrieval
from benchmarks.probes.systems import CONFIG, Described, System, itself, log_mel, untrained
from benchmarks.tables import table
from vit1dx import Extractor

FITTED = {"pop909": 50, "composed": 30}
SCORED = {"pop909": 40, "composed": 40}
LAYERS = (1, 3, 6, 12)
Scores = dict[str, dict[str, float]]  # by feature and task


def tokens(**options: Any) -> System:
    """Sequence tokens by an extractor with these options, and nothing else."""
    extractor = Extractor(attention="none", **options)

    def describe(audio: Path, closely: bool = True) -> Described:
        track = extractor(audio)
        names = [f"layer {layer}" for layer in track.layers]
        frames = dict(zip(names, track.sequence_tokens, strict=True))
        return Described(frames, dict(zip(names, track.mean_token, strict=True)))

    return describe


def system_of(weights: str, layers: Sequence[int], folder: Path) -> Callable[[], System]:
    """How to make what describes renders, from what stands on the command line."""
    if weights == "log-mel":
        return partial(itself, log_mel)
    path = untrained(CONFIG, folder) if weights == "untrained" else Path(weights)
    return partial(tokens, layers=tuple(layers), weights=path)


def scores(corpus: Path, make: Callable[[], System], seeds: int = 1) -> Scores:
    """What probes of each feature find, mean over seeds: tasks as `local.measure` has them."""
    fit = of_sources(renders(corpus, "train", 1), FITTED)
    test = of_sources(renders(corpus, "valid", 2), SCORED)
    with tempfile.TemporaryDirectory() as folder:
        memory = Memory(Path(folder))
        memory.fill("it", make, fit + test, [])
        names = memory.names("it", fit[0], "frames")
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
            found = pool.map(partial(_score, memory, fit, test, seeds), names)
            return dict(zip(names, found, strict=True))


def _score(
    memory: Memory, fit: list[Render], test: list[Render], seeds: int, name: str
) -> dict[str, float]:
    each = local.measure(memory, "it", name, "frame", fit, test, seeds)
    return {task: sum(one.test[task] for one in each) / seeds for task in local.TASKS}


def halves(recordings: Path, make: Callable[[], System]) -> dict[str, float]:
    """How often the other half of a recording is found, by feature."""
    with tempfile.TemporaryDirectory() as folder:
        music, _ = of_manifest(recordings, Path(folder))
        return retrieval(make(), music)


def main() -> None:
    """Print a table for each of the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("weights", nargs="+")
    parser.add_argument("--layers", default=",".join(map(str, LAYERS)))
    parser.add_argument("--recordings", type=Path)
    options = parser.parse_args()
    layers = [int(layer) for layer in options.layers.split(",")]
    columns = [*local.TASKS, *(["other half"] if options.recordings else [])]
    for weights in options.weights:
        with tempfile.TemporaryDirectory() as folder:
            make = system_of(weights, layers, Path(folder))
            found = scores(options.corpus, make)
            again = halves(options.recordings, make) if options.recordings else {}
        rows = [
            [name, *(f"{100 * v:.1f}" for v in (*row.values(), *_of(again, name)))]
            for name, row in found.items()
        ]
        print(table([weights, *columns], rows), flush=True)


def _of(again: dict[str, float], name: str) -> list[float]:
    """What was found of a feature, which a whole track may have by its mean and deviation."""
    return [
        value
        for feature, value in again.items()
        if feature in (name, f"{name}, mean and deviation")
    ]


if __name__ == "__main__":
    main()
