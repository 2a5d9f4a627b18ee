"""Tracker modules as music whose notes are known: rendered, with the time of each row of notes.

    python -m benchmarks.modules OUT

Takes two modules each of some Debian packages (`apt-get download`; nothing is installed), renders
them by libopenmpt (Debian's libopenmpt0), and writes ``NAME.flac`` and ``NAME.onsets.txt`` (s, a
line each), which `python -m benchmarks.onsets OUT` reads.

While a module is played in steps of a third of a millisecond, its row is watched: where a row
begins that starts a note, there is an onset. A note that a portamento glides to starts none, and
modules with delayed notes are left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer

from weights.recipe.corpus.modules import TESTED_BY, listed
from weights.recipe.corpus.openmpt import RATE, Module, delays_note, has_letters, starts_note
from weights.recipe.corpus.real import download, members

EACH = 2
STEP = 16  # samples between looks at the row
SECONDS = (30.0, 75.0)  # of a module at least, and rendered of it at most


def render(content: bytes, by_letter: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """A module's music, (n, 2), and its onsets, s; None where notes are delayed.

    `by_letter` is what `has_letters` says of it.
    """
    module = Module(content)
    try:
        blocks: list[np.ndarray] = []
        onsets, last, at = [], None, 0
        end = min(SECONDS[1], module.seconds) * RATE  # where the row is the first again
        while at < end - STEP:
            block = module.read(STEP)
            if not len(block):
                break
            if (here := module.row) != last:
                cells = list(module.cells(*here[1:]))
                if any(delays_note(cell, by_letter) for cell in cells if cell.note):
                    return None
                if any(starts_note(cell, by_letter) for cell in cells):
                    onsets.append(at / RATE)
            last = here
            blocks.append(block)
            at += len(block)
        return np.concatenate(blocks), np.array(onsets)
    finally:
        module.close()


def modules(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of modules of the packages, the first by name."""
    for package in TESTED_BY:
        archive = download(package, folder)
        names = listed(archive)
        for name, content in sorted(members(archive, names)):
            yield f"{package}_{Path(name).name}", content


def main(out: Annotated[Path, typer.Argument(help="Folder for music and onsets.")]) -> None:
    """Fetch, render, and write onsets."""
    out.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, content in modules(Path(folder)):
            package = name.partition("_")[0]
            if counts.get(package, 0) == EACH:
                continue
            found = render(content, has_letters(name))
            if found is None or len(found[0]) < SECONDS[0] * RATE or len(found[1]) < 30:
                continue
            counts[package] = counts.get(package, 0) + 1
            samples = found[0] / max(1.0, float(np.abs(found[0]).max()))
            soundfile.write(out / f"{name}.flac", samples, RATE)
            np.savetxt(out / f"{name}.onsets.txt", found[1], fmt="%.6f")
            print(f"{name}: {len(found[1])} onsets in {len(samples) / RATE:.1f} s", flush=True)


if __name__ == "__main__":
    typer.run(main)
