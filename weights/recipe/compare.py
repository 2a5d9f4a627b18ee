"""Recipes compared at equal budgets over several seeds, by the local probes.

    python -m weights.recipe.compare CORPUS OUT [--arms rest] [--init WEIGHTS] [--real RECORDINGS]

Every run is a `vit1dx train` of its own, in two processes, and is not run again if its weights are
there. Prints, seed by seed, a Markdown table of what `weights.recipe.steer` finds on songs held
back, in the better of two layers: mean over seeds ± deviation.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from benchmarks.probes.tasks import LOCAL
from benchmarks.tables import table
from weights.recipe.corpus.build import MANIFEST
from weights.recipe.steer import scores

MIXED = ["--mix", "paper=0.5,aligned=0.5"]
ARMS = {
    "positives": {
        "two segments of one track (the paper's)": ["--mix", "paper=1"],
        "one time in two orchestrations": ["--mix", "aligned=1"],
        "both in turn, a head each": MIXED,
    },
    # Beside the last of the above.
    "rest": {
        "one head": [*MIXED, "--no-own-heads"],
        "one ensemble a step": [*MIXED, "--shared-timbre", "1"],
        "temperature 0.05": [*MIXED, "--temperature", "0.05"],
        "temperature 0.2": [*MIXED, "--temperature", "0.2"],
        "4 s": [*MIXED, "--seconds", "4"],
        "not augmented": [*MIXED, "--no-augment"],
    },
    "keep": {
        f"{keep:g} of the frames": [*MIXED, "--keep", f"{keep}"] for keep in (0.1, 0.25, 0.5, 1)
    },
    # With --real.
    "recordings": {
        f"{share:g} of steps on recordings": ["--mix", f"paper:real={share},aligned={1 - share}"]
        for share in (0.25, 0.5, 0.75)
    },
}
COMMON = (
    "--batch 48 --seconds 2 --keep 0.5 --shared-timbre 0 --siblings 8 --jitter 0.1 "
    "--learning-rate 0.0005"
).split()
LAYERS = (3, 12)  # an early one and the last

app = typer.Typer(add_completion=False)


@app.command()
def main(
    corpus: Annotated[Path, typer.Argument(help="A corpus, as weights.recipe.corpus makes it.")],
    out: Annotated[Path, typer.Argument(help="Folder of runs, all of one --steps and --init.")],
    cache: Annotated[Path | None, typer.Option(help="Decoded audio, if elsewhere.")] = None,
    arms: Annotated[
        Literal["positives", "rest", "keep", "recordings"], typer.Option()
    ] = "positives",
    real: Annotated[
        Path | None, typer.Option(help="Recordings, as weights.recipe.corpus.real fetches them.")
    ] = None,
    init: Annotated[Path | None, typer.Option(help="Weights that all begin from.")] = None,
    steps: Annotated[int, typer.Option(min=1)] = 1000,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Train every arm from every seed, and print what each has learnt."""
    out.mkdir(parents=True, exist_ok=True)
    folders = [corpus, real] if real else [corpus]
    common = [*COMMON, "--cache", str(cache or out / "cache"), "--steps", str(steps)]
    common += ["--warmup", str(steps // 8), "--validate-every", str(steps)]
    common += ["--init", str(init)] if init else []
    found: dict[str, list[list[float]]] = {arm: [] for arm in ARMS[arms]}
    for seed in range(seeds):
        for number, (arm, options) in enumerate(ARMS[arms].items()):
            weights = out / f"{arms}{number}-seed{seed}.safetensors"
            if not weights.exists():
                train(folders, weights, [*common, *options, "--seed", str(seed)])
            found[arm].append(best(corpus, weights))
        print(f"{steps} steps, from {init.name if init else 'nothing'}, seeds up to {seed}; in %\n")
        rows = [_row(arm, each) for arm, each in found.items()]
        print(table([arms, *LOCAL], rows), flush=True)


def _row(arm: str, found: list[list[float]]) -> list[str]:
    """Mean over seeds and, where there are several, deviation."""
    cells = [f"{mean:.1f}" for mean in np.mean(found, axis=0)]
    if len(found) > 1:
        deviations = np.std(found, axis=0, ddof=1)
        cells = [f"{cell} ± {of:.1f}" for cell, of in zip(cells, deviations, strict=True)]
    return [arm, *cells]


def best(corpus: Path, weights: Path) -> list[float]:
    """Each task's score in its better layer, in %."""
    found = scores(corpus, weights, LAYERS)
    return [100 * max(found[f"layer {layer}"][task] for layer in LAYERS) for task in LOCAL]


def train(folders: list[Path], weights: Path, options: list[str]) -> None:
    """One run."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", "2", "-m", "vit1dx", "train", *map(str, folders)]
    where = ["-o", str(weights)]
    for folder in folders:
        where += ["--groups", str(folder / MANIFEST)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = weights.with_suffix(".log")
    with log.open("w") as output:
        subprocess.run(
            [*command, *where, *options],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=True,
        )


if __name__ == "__main__":
    app()
