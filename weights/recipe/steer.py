"""A quick look at weights while training goes on: the local probes, on songs held back for it.

    python -m weights.recipe.steer CORPUS WEIGHTS... [--layers 1,3,6,12] [--tasks chords,beats]
        [--recordings TEST]

`vit1dx probe` is fitted on songs that the encoder was trained on and scores songs that it was not
(those that the corpus's manifest calls "valid"), of all sources and soundfonts. "untrained" works
in the place of weights; log-mel and MFCC come with the first. With recordings
(`weights.recipe.corpus.real --role test`) a last column says how often the other half of one is
found, by the mean of all tokens. The shipped table is `benchmarks.probes`', of the testing songs.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.probes.collection import of_sources, renders
from benchmarks.probes.labels import write_labels
from benchmarks.probes.recordings import of_manifest, retrieval
from benchmarks.probes.systems import of_log_mel, tokens
from benchmarks.probes.tasks import LOCAL, extracted, of_renders, own, probed, untrained
from benchmarks.tables import table
from vit1dx.probe.options import Baselines

FITTED = {"pop909": 50, "composed": 30}
SCORED = {"pop909": 40, "composed": 40}
LAYERS = (1, 3, 6, 12)
UNTRAINED = "untrained"
Scores = dict[str, dict[str, float]]  # by layer, or baseline, and task


def scores(
    corpus: Path,
    weights: str | Path | None,
    layers: Sequence[int],
    baselines: Baselines = "majority",
    wanted: Iterable[str] = tuple(LOCAL),
    **options: Any,
) -> Scores:
    """What probes of each layer find: the first score of each task of `tasks.LOCAL`.

    Parameters
    ----------
    corpus : Path
    weights : str or Path or None
        "untrained" for those of nobody; None for the bundled ones.
    layers : sequence of int
    baselines : {"all", "majority"}
        Whether log-mel and MFCC come along.
    wanted : iterable of str
        Tasks.
    **options
        More of `vit1dx.extract`.
    """
    fit = of_sources(renders(corpus, "train", 1), FITTED)
    both = [*fit, *of_sources(renders(corpus, "valid", 2, "test"), SCORED)]
    found: Scores = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        write_labels(both, both, out / "labels")
        path = None if weights is None else path_of(weights, out)
        options |= {"layers": layers, "tokens": "sequence", "weights": path}
        features = extracted(of_renders(both), out / "features.h5", **options)
        for task in wanted:
            report = probed(task, features, out / "labels", baselines=baselines)
            for line in report["lines"]:
                name = line["name"].removesuffix(", sequence")
                found.setdefault(name, {})[task] = own(report, line)["mean"] or 0.0
    return found


def path_of(weights: str | Path, folder: Path) -> Path:
    """Where weights lie, those of "untrained" being made."""
    return untrained(folder) if str(weights) == UNTRAINED else Path(weights)


def halves(recordings: Path, weights: str, layers: Sequence[int]) -> dict[str, float]:
    """How often the other half of a recording is found, by layer, and by log-mel."""
    with tempfile.TemporaryDirectory() as folder:
        music, _ = of_manifest(recordings, Path(folder))
        found = retrieval(tokens(path_of(weights, Path(folder)), layers), music)
        means = {k.removesuffix(", mean"): v for k, v in found.items() if k.endswith(", mean")}
        return {**means, **retrieval(of_log_mel, music)}


def main() -> None:
    """Print a table for each of the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("weights", nargs="+")
    parser.add_argument("--layers", default=",".join(map(str, LAYERS)))
    parser.add_argument("--tasks", default=",".join(LOCAL))
    parser.add_argument("--recordings", type=Path)
    options = parser.parse_args()
    layers = [int(layer) for layer in options.layers.split(",")]
    asked = options.tasks.split(",")
    columns = [*asked, *(["other half"] if options.recordings else [])]
    for number, weights in enumerate(options.weights):
        found = scores(options.corpus, weights, layers, "majority" if number else "all", asked)
        again = halves(options.recordings, weights, layers) if options.recordings else {}
        rows = [
            [name, *(f"{100 * v:.1f}" for v in row.values()), *_cell(again, name)]
            for name, row in found.items()
        ]
        print(table([weights, *columns], rows), flush=True)


def _cell(again: dict[str, float], name: str) -> list[str]:
    if not again:
        return []
    return [f"{100 * again[name]:.1f}" if name in again else "-"]


if __name__ == "__main__":
    main()
