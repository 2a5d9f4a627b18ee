"""Onsets by the shipped command, beside librosa's spectral flux, on renders whose notes are known.

    python -m benchmarks.onsets CORPUS

CORPUS is a folder that `python -m weights.recipe.corpus` or `python -m benchmarks.modules` made.
F, precision and recall are mir_eval's, 50 ms, mean over renders.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import librosa
import mir_eval
import numpy as np
import typer

from vit1dx.model.guide import onset_curves
from weights.recipe.corpus.labels import labels_path, read_labels

TOLERANCE = 0.05  # s
FLUX_RATE = 22_050  # Hz, which librosa's defaults are made for


def by_command(corpus: Path, attention: str) -> Iterator[tuple[str, np.ndarray]]:
    """Onsets of each render by `vit1dx extract` and `vit1dx onsets`."""
    with tempfile.TemporaryDirectory() as folder:
        feats, out = f"{folder}/feats.h5", Path(folder) / "onsets"
        layer = str(best_layer(attention))
        options = ["--layers", layer, "--attention", attention, "-o", feats, "--quiet"]
        for arguments in (["extract", str(corpus), *options], ["onsets", feats, "-o", str(out)]):
            subprocess.run([sys.executable, "-m", "vit1dx", *arguments], check=True)
        for path in sorted(out.rglob("*.txt")):
            yield path.stem, mir_eval.io.load_events(str(path))


def best_layer(attention: str) -> int:
    """The layer whose curve shows onsets best in maps of a form, of the default weights."""
    of_form = (c for c in onset_curves() if attention == "full" or c["reading"] == "class")
    return int(next(of_form)["layer"])


def by_flux(corpus: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Onsets of each render by `librosa.onset.onset_detect`, as it comes."""
    for path in sorted(corpus.glob("*.flac")):
        samples, rate = librosa.load(path, sr=FLUX_RATE)
        yield path.name, librosa.onset.onset_detect(y=samples, sr=rate, units="time")


def by_chance(corpus: Path) -> Iterator[tuple[str, np.ndarray]]:
    """As many onsets as there are, anywhere."""
    rng = np.random.default_rng(0)
    for path in sorted(corpus.glob("*.flac")):
        truth = _truth(path)
        yield path.name, np.sort(rng.uniform(0, truth[-1], len(truth)))


def _truth(path: Path) -> np.ndarray:
    known = path.with_suffix(".onsets.txt")
    if known.exists():
        return mir_eval.io.load_events(str(known))
    return np.sort(np.asarray(read_labels(labels_path(path))["onsets"]))


def main(corpus: Annotated[Path, typer.Argument(help="Folder of renders.")]) -> None:
    """Print a table of F, precision and recall."""
    systems = {
        "vit1dx onsets, full attention": by_command(corpus, "full"),
        "vit1dx onsets, class rows": by_command(corpus, "class"),
        "librosa onset_detect": by_flux(corpus),
        "by chance": by_chance(corpus),
    }
    print("| onsets | F, 50 ms | precision | recall | renders |\n|---|---|---|---|---|")
    for name, found in systems.items():
        scores = [
            mir_eval.onset.f_measure(_truth(corpus / track), times, window=TOLERANCE)
            for track, times in found
        ]
        row = " | ".join(f"{value:.3f}" for value in np.mean(scores, axis=0))
        print(f"| {name} | {row} | {len(scores)} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
