"""Beats of recordings: eight songs of Frets on Fire, whose charts say their tempo.

    python -m benchmarks.fretsonfire WEIGHTS --corpus CORPUS -o OUT [--layers 2,4,6]

Takes Debian's packages (`apt-get download`; nothing is installed), adds up guitar and rest, and
reads beats from the chart. Probes of beats by `vit1dx probe` are fitted on renders of training
songs, as in `benchmarks.probes`, and scored on these, in 60 s from the middle of each. The bundled
weights have heard them, two bands' metal, without their beats.
"""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import mido
import numpy as np
import soundfile
import typer

from benchmarks.probes.collection import LOCAL_FIT, Render, of_sources, renders
from benchmarks.probes.labels import COLUMNS, FILES, TABLE, write_labels
from benchmarks.probes.tasks import Report, extracted, of_renders, own, probed, untrained
from benchmarks.tables import table
from vit1dx.model.request import parse_layers
from vit1dx.model.weights import read_info
from weights.recipe.corpus.midi import TempoMap
from weights.recipe.corpus.real import download

PACKAGES = ("fretsonfire-songs-muldjord", "fretsonfire-songs-sectoid")
SECONDS = 60.0
TASK = "beats"
KEPT = ("mean", "deviation")


def songs(folder: Path) -> Iterator[tuple[str, np.ndarray, int, np.ndarray]]:
    """Name, samples (n, 2), rate and beats (s) of each song of the packages."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        subprocess.run(["dpkg-deb", "-x", str(download(package, folder)), str(folder)], check=True)
    for chart in sorted(folder.rglob("notes.mid")):
        parts = [soundfile.read(chart.with_name(f"{name}.ogg")) for name in ("guitar", "song")]
        n = min(len(samples) for samples, _ in parts)
        mixed, rate = sum(samples[:n] for samples, _ in parts), parts[0][1]
        yield chart.parent.name.replace(" ", "_"), mixed, rate, beats_of(chart, n / rate)


def beats_of(chart: Path, seconds: float) -> np.ndarray:
    """Times of a chart's quarter notes, s."""
    midi = mido.MidiFile(chart)
    tempo = TempoMap(midi)
    beats = tempo.seconds(np.arange(10_000.0) * midi.ticks_per_beat)
    return np.asarray(beats[beats < seconds])


def excerpt(samples: np.ndarray, rate: int, beats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`SECONDS` from the middle of a song, and its beats there."""
    width = min(len(samples), round(SECONDS * rate))
    first = (len(samples) - width) // 2
    there = beats - first / rate
    return samples[first : first + width], there[(there >= 0) & (there < width / rate)]


def labelled(out: Path, fit: list[Render]) -> list[tuple[str, Path]]:
    """Write labels of renders and songs, and the songs; give all by id and audio."""
    labels = out / "labels"
    write_labels(fit, fit, labels)
    found = of_renders(fit)
    with (labels / TABLE).open("a", newline="") as file:
        rows = csv.DictWriter(file, COLUMNS)
        for name, samples, rate, beats in songs(out / "packages"):
            audio = (out / f"{name}.flac").resolve()
            music, there = excerpt(samples, rate, beats)
            soundfile.write(audio, music / max(1.0, float(np.abs(music).max())), rate)
            track = f"test/{name}"
            path = labels / TASK / f"{track}{FILES[TASK][0]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savetxt(path, there, fmt="%.4f")
            rows.writerow({"track": track, "split": "test", "song": name, "source": "fretsonfire"})
            found.append((track, audio))
    return found


def measured(weights: Path, layers: str, out: Path, tracks: list[tuple[str, Path]]) -> Report:
    """The report of `vit1dx probe` on the beats."""
    wanted = parse_layers(layers, read_info(weights).config.model)
    path = out / f"{weights.stem}.h5"
    features = extracted(tracks, path, layers=wanted, tokens="sequence", weights=weights)
    return probed(TASK, features, out / "labels", seeds=3)


def main(
    weights: Annotated[Path, typer.Argument(help=".onnx or .safetensors")],
    corpus: Annotated[Path, typer.Option(help="Renders of training songs, to fit probes on.")],
    out: Annotated[Path, typer.Option("-o", help="Folder for songs, labels and features.")],
    layers: Annotated[str, typer.Option(help="Of the weights.")] = "2,4,6",
) -> None:
    """Measure weights beside an untrained network, log-mel and MFCC, and print a table."""
    out.mkdir(parents=True, exist_ok=True)
    fit = of_sources(renders(corpus, "train", 1), LOCAL_FIT)
    tracks = labelled(out, fit)
    rows = []
    for name in (weights, untrained(out, read_info(weights).config)):
        report = measured(name, layers, out, tracks)
        rows += [
            [name.stem, line["name"], *(f"{100 * (own(report, line)[k] or 0):.1f}" for k in KEPT)]
            for line in report["lines"]
        ]
    print(table(["weights", "features", "F, 70 ms (%)", "deviation over draws"], rows))


if __name__ == "__main__":
    typer.run(main)
