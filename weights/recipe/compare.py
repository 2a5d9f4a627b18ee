"""Recipes compared at equal budgets, over seeds, by the local probes.

    python -m weights.recipe.compare OUT REAL CORPUS... [--arms keep] [--seeds 3]

REAL are recordings, as `weights.recipe.corpus.real` fetches them, and each CORPUS renders, as
`weights.recipe.corpus` makes them. Every run is a `vit1dx train` of its own, in two processes, and
is not run again if its weights are there. Prints, seed by seed, a Markdown table of what
`weights.recipe.steer` finds on songs of the first CORPUS held back, in the best of three layers:
mean over seeds ± deviation.
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

# Half of the steps the paper's positives over recordings, half the same time in two renditions.
COMMON = (
    "--mix paper:real=0.5,aligned=0.5 --batch 96 --seconds 8 --keep 0.1 --siblings 6 --jitter 0.05 "
    "--shared-timbre 1 --learning-rate 1e-3 --cooldown 0.3 --ema 0.98"
).split()
MINUTES = "3"  # of each run, where speed is what is compared
Arms = Literal["optimizer", "positives", "shares", "sound", "drums", "keep"]
ARMS: dict[Arms, dict[str, list[str]]] = {
    "optimizer": {
        "Muon": [],
        "Muon, twice the rate": ["--learning-rate", "2e-3"],
        "AdamW": ["--optimizer", "adamw"],
    },
    "positives": {
        "both": [],
        "two segments of one recording": ["--mix", "paper:real=1"],
        "one time in two orchestrations": ["--mix", "aligned=1"],
    },
    "shares": {
        f"{share:g} of steps on recordings": ["--mix", f"paper:real={share},aligned={1 - share}"]
        for share in (0.25, 0.5, 0.75)
    },
    "sound": {
        "a head each, one ensemble a step": [],
        "one head": ["--no-own-heads"],
        "any ensembles in a step": ["--shared-timbre", "0"],
        "not augmented": ["--no-augment"],
    },
    # Of corpora of --shared-drums 1 --label same, and --shared-drums 0 --label own.
    "drums": {
        "renditions share their drums": ["--mix", "paper:real=0.5,aligned:same=0.5"],
        "each has its own": ["--mix", "paper:real=0.5,aligned:own=0.5"],
    },
    "keep": {
        f"{keep:g} of the frames": ["--keep", f"{keep}", "--minutes", MINUTES]
        for keep in (0.05, 0.1, 0.25, 0.5, 1)
    },
}
LAYERS = (3, 6, 12)

app = typer.Typer(add_completion=False)


@app.command()
def main(
    out: Annotated[Path, typer.Argument(help="Folder of runs, all of one --steps and --init.")],
    real: Annotated[Path, typer.Argument(help="Recordings.")],
    corpora: Annotated[list[Path], typer.Argument(help="Renders; the first is probed.")],
    cache: Annotated[Path | None, typer.Option(help="Decoded audio, if elsewhere.")] = None,
    arms: Annotated[Arms, typer.Option(help="What is compared.")] = "optimizer",
    init: Annotated[Path | None, typer.Option(help="Weights that all begin from.")] = None,
    steps: Annotated[int, typer.Option(min=1)] = 400,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Train every arm from every seed, and print what each has learnt."""
    out.mkdir(parents=True, exist_ok=True)
    common = [*COMMON, "--cache", str(cache or out / "cache"), "--warmup", str(steps // 10)]
    common += ["--validate-every", str(steps)]
    common += ["--init", str(init)] if init else []
    found: dict[str, list[list[float]]] = {arm: [] for arm in ARMS[arms]}
    for seed in range(seeds):
        for number, (arm, options) in enumerate(ARMS[arms].items()):
            weights = out / f"{arms}{number}-seed{seed}.safetensors"
            length = [] if "--minutes" in options else ["--steps", str(steps)]
            if not weights.exists():
                each = [*common, *length, *options, "--seed", str(seed)]
                train([real, *corpora], weights, each)
            found[arm].append(best(corpora[0], weights))
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
    """Each task's score in its best layer, in %."""
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
