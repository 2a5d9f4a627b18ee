"""Tracker modules to train on: each as two halves of its channels, the percussion in both.

    python -m weights.recipe.corpus.modules OUT

What two halves share is what is played when, and by which drums, so that an encoder that is to tell
they belong together has to hear the beat. Modules are free music of Debian's games, fetched by
`apt-get download`, and nothing is installed; libopenmpt plays them. The manifest is as
`vit1dx train --groups` reads it. Packages whose modules `benchmarks.modules` tests by are left out.
"""

from __future__ import annotations

import csv
import subprocess
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
import soxr
import typer

from vit1dx.whole import whole
from weights.recipe import DEFAULT_DATA
from weights.recipe.corpus.build import FAILURES, MANIFEST, write_lines
from weights.recipe.corpus.openmpt import ENDINGS, RATE, Module, has_letters, starts_note
from weights.recipe.corpus.real import download, members, split_of

TABLE = "debian-modules.tsv"
TESTED_BY = (
    *("bb", "freedroid-data", "gl-117-data", "heroes-sound-tracks", "open-invaders-data"),
    *("pekka-kana-2-data", "pingus-data", "rafkill-data"),
)
WRITTEN_RATE = 16_000  # Hz
SECONDS = (20.0, 120.0)  # of a module at least, and rendered of it at most
FEW_PITCHES, OFTEN = 2, 8  # of an instrument of percussion: how many, in how many notes
MOSTLY = 0.8  # of a channel's notes
LEAST_LEVEL = 1e-3  # RMS; a half that is softer is hardly there

Row = dict[str, str]
app = typer.Typer(add_completion=False)


@app.command()
def main(
    out: Annotated[Path, typer.Argument(help="Folder for renders and manifest.")],
    data: Annotated[Path, typer.Option(help="Folder of the table.")] = DEFAULT_DATA / "real",
) -> None:
    """Fetch and render modules. Those that are there are not rendered again."""
    out.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for package, rows in wanted(data).items():
        try:
            contents = _contents(package, out)
        except (OSError, subprocess.CalledProcessError, tarfile.TarError) as error:
            failed.append({"package": package, "reason": str(error)})
            continue
        for row in rows:
            try:
                found += written(row, contents[row["file"]], out)
            except (KeyError, ValueError) as error:
                failed.append({"package": package, "file": row["file"], "reason": str(error)})
    write_lines(out / MANIFEST, found)
    write_lines(out / FAILURES, failed)
    typer.echo(f"{len(found)} renders in {out}, {len(failed)} modules left out or failed")


def wanted(data: Path) -> dict[str, list[Row]]:
    """Rows of the table to use, by package."""
    used: dict[str, list[Row]] = defaultdict(list)
    with (data / TABLE).open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["package"] not in TESTED_BY:
                used[row["package"]].append(row)
    return dict(used)


def _contents(package: str, out: Path) -> dict[str, bytes]:
    """A package's modules, by the name of their file."""
    archive = download(package, out)
    try:
        return {Path(name).name: content for name, content in members(archive, listed(archive))}
    finally:
        archive.unlink()


def listed(archive: Path) -> set[str]:
    """Names of the modules in a package."""
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as tar,
    ):
        return {
            entry.name.removeprefix("./") for entry in tar if entry.name.lower().endswith(ENDINGS)
        }


def written(row: Row, content: bytes, out: Path) -> list[dict[str, Any]]:
    """Render a module's two halves, unless they are there; give their rows of the manifest."""
    name = f"{row['package']}_{row['file']}"
    paths = [out / f"{name}-{half}.flac" for half in "ab"]
    if not all(path.exists() for path in paths):
        seed = zlib.crc32(name.encode())
        found = halves(content, has_letters(row["file"]), seed)
        for path, samples in zip(paths, found, strict=True):
            with whole(path) as unfinished:
                soundfile.write(unfinished, samples, WRITTEN_RATE)
    return [_manifest_row(row, name, path) for path in paths]


def _manifest_row(row: Row, name: str, path: Path) -> dict[str, Any]:
    return {
        "audio": path.name,
        "song": name,
        "source": "modules",
        "split": split_of(name),
        "aligned_group": 0,
        "album": row["package"],
        **{key: row[key] for key in ("artist", "title", "licence", "holder")},
    }


def halves(content: bytes, by_letter: bool, seed: int) -> list[np.ndarray]:
    """Two renders (n,) of a module, of half its channels each, with the percussion in both.

    Raises
    ------
    ValueError
        If it is too short, has fewer than two channels but percussion, or is silent in a half.
    """
    drums, others = parts_of(content, by_letter)
    if len(others) < 2:
        raise ValueError(f"{len(others)} channels that are not percussion; two are needed")
    mixed = np.random.default_rng(seed).permutation(others).tolist()
    half = len(mixed) // 2
    found = [render(content, [*drums, *part]) for part in (mixed[:half], mixed[half:])]
    if min(len(samples) for samples in found) < SECONDS[0] * WRITTEN_RATE:
        raise ValueError(f"{len(found[0]) / WRITTEN_RATE:.1f} s; {SECONDS[0]:g} are needed")
    if min(float(np.sqrt(np.mean(samples**2))) for samples in found) < LEAST_LEVEL:
        raise ValueError("a half of its channels is silent")
    return found


def parts_of(content: bytes, by_letter: bool) -> tuple[list[int], list[int]]:
    """Channels that play, of percussion and others.

    An instrument that is played often, and at one pitch or two, is taken for percussion.
    """
    module = Module(content)
    try:
        started = [
            (channel, cell.instrument, cell.note)
            for place in module.patterns()
            for channel, cell in enumerate(module.cells(*place))
            if starts_note(cell, by_letter) and cell.instrument
        ]
    finally:
        module.close()
    pitches: dict[int, list[int]] = defaultdict(list)
    for _, instrument, note in started:
        pitches[instrument].append(note)
    drums = {
        instrument
        for instrument, notes in pitches.items()
        if len(set(notes)) <= FEW_PITCHES and len(notes) >= OFTEN
    }
    struck: dict[int, list[bool]] = defaultdict(list)
    for channel, instrument, _ in started:
        struck[channel].append(instrument in drums)
    percussion = sorted(channel for channel, hits in struck.items() if np.mean(hits) >= MOSTLY)
    return percussion, sorted(struck.keys() - percussion)


def render(content: bytes, channels: Sequence[int]) -> np.ndarray:
    """Some channels of a module, mono at 16 kHz, as loud as they are in the whole."""
    module = Module(content)
    try:
        module.play_only(channels)
        end = min(SECONDS[1], module.seconds)
        samples = np.concatenate(list(_blocks(module, round(end * RATE)))).mean(1)
    finally:
        module.close()
    heard = soxr.resample(samples, RATE, WRITTEN_RATE)
    return np.clip(heard, -1, 1).astype(np.float32)


def _blocks(module: Module, samples: int) -> Iterator[np.ndarray]:
    left = samples
    while left > 0 and len(block := module.read(min(left, RATE))):
        left -= len(block)
        yield block


if __name__ == "__main__":
    app()
