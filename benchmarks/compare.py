"""Recipes compared at equal budgets, from scratch, over several seeds: chords by a linear probe.

    python -m benchmarks.compare CORPUS OUT [--steps 160] [--seeds 3]

Every run is `vit1dx train` of its own, in two processes, and is not run again if its weights are
there. Prints a Markdown table of accuracies on songs held back: mean over seeds ± deviation.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.chord_probe import measure
from benchmarks.corpus.build import MANIFEST
from vit1dx.model import load

ALIGNED = ["--aligned", "1", "--shared-timbre", "1"]
ARMS = {
    "two segments of one track (the paper's)": ["--aligned", "0", "--shared-timbre", "0"],
    "the same, one ensemble a step": ["--aligned", "0", "--shared-timbre", "1"],
    "one time in two orchestrations": [*ALIGNED, "--siblings", "1"],
    "the same, 8 times of a song a step": [*ALIGNED, "--siblings", "8"],
}
SECONDS, BATCH = 2, 40
WINDOW = 62  # frames in 2 s
LAYERS = [3, 6, 9, 12]

app = typer.Typer(add_completion=False)


@app.command()
def main(
    corpus: Annotated[Path, typer.Argument(help="A corpus, as benchmarks.corpus makes it.")],
    out: Annotated[Path, typer.Argument(help="Folder for weights and decoded audio.")],
    cache: Annotated[Path | None, typer.Option(help="Decoded audio, if elsewhere.")] = None,
    steps: Annotated[int, typer.Option(min=1)] = 160,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    soundfont: Annotated[str, typer.Option(help="Of the songs probed.")] = "FluidR3",
) -> None:
    """Train every arm from every seed, and print what each has learnt."""
    out.mkdir(parents=True, exist_ok=True)
    print(f"{steps} steps of {BATCH} pairs, {SECONDS} s; chords, %, by layer\n")
    print("| positives | " + " | ".join(map(str, LAYERS)) + " |\n" + "| --- " * 5 + "|")
    for number, (arm, options) in enumerate(ARMS.items()):
        scores = []
        for seed in range(seeds):
            weights = out / f"arm{number}-seed{seed}.safetensors"
            if not last(weights).exists():
                train(
                    corpus, weights, cache or out / "cache", steps, [*options, "--seed", str(seed)]
                )
            found = measure(corpus, load(last(weights)), LAYERS, WINDOW, soundfont)
            scores.append([100 * found[f"layer {layer}"] for layer in LAYERS])
        cells = zip(np.mean(scores, axis=0), np.std(scores, axis=0), strict=True)
        print(f"| {arm} | " + " | ".join(f"{m:.1f} ± {s:.1f}" for m, s in cells) + " |", flush=True)


def last(weights: Path) -> Path:
    """Where a run leaves its last weights: its best by retrieval need not be its best by chords."""
    return weights.with_suffix(".run") / "last.safetensors"


def train(corpus: Path, weights: Path, cache: Path, steps: int, options: list[str]) -> None:
    """One run."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", "2", "-m", "vit1dx", "train", str(corpus)]
    sizes = ["--steps", str(steps), "--seconds", str(SECONDS), "--batch", str(BATCH)]
    where = ["-o", str(weights), "--groups", str(corpus / MANIFEST), "--cache", str(cache)]
    more = ["--warmup", str(steps // 8), "--validate-every", str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = weights.with_suffix(".log")
    with log.open("w") as output:
        subprocess.run(
            [*command, *sizes, *where, *more, *options],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=True,
        )


if __name__ == "__main__":
    app()
