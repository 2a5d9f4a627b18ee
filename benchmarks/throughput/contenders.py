"""Who runs: vit1dx in its ways, the scripts it replaces, and peers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import CommandFailed, Cost, measured

#: Peers take so long that this much of the collection is enough.
PEER_SONGS = 1


@dataclass(frozen=True)
class Contender:
    """Something that extracts a folder.

    Attributes
    ----------
    name : str
    command : callable
        Of the folder and an empty folder for the output.
    most_songs : int or None
        How many files it is given; all by default.
    """

    name: str
    command: Callable[[Path, Path], list[str]]
    most_songs: int | None = None

    def run(self, folder: Path, scratch: Path) -> Cost:
        """Extract a folder, and drop what comes out.

        Raises
        ------
        CommandFailed
            If it fails, or writes nothing.
        """
        output = scratch / "output"
        output.mkdir(parents=True)
        try:
            cost = measured(self.command(folder, output))
            if not any(output.iterdir()):
                raise CommandFailed("it wrote nothing")
            return cost
        finally:
            shutil.rmtree(output)


def vit1dx(name: str, *options: str) -> Contender:
    """vit1dx's command line."""

    def command(folder: Path, output: Path) -> list[str]:
        tokens = ["--quiet", "--attention", "none"]  # what follows may ask for more
        fixed = [sys.executable, "-m", "vit1dx", "extract", str(folder), *tokens]
        return [*fixed, "-o", str(output / "features.h5"), *options]

    return Contender(name, command)


def offered_precisions() -> list[str]:
    """What ``vit1dx extract --precision`` takes; fp32 alone where there is no such option."""
    command = [sys.executable, "-m", "vit1dx", "extract", "--help"]
    wide = {**os.environ, "COLUMNS": "300", "NO_COLOR": "1"}
    text = subprocess.run(command, env=wide, capture_output=True, text=True, check=True).stdout
    found = re.search(r"--precision\s+<([\w|]+)>", text)
    names = found.group(1).split("|") if found else ["fp32"]
    return [name for name in names if re.fullmatch(r"(fp|bf|int)\d+", name)]


def contenders(precisions: list[str], peers_python: str) -> Iterator[Contender]:
    """All of them."""
    yield from _ours(precisions)
    yield _script("naive script", "naive")
    yield _script("naive script, DataLoader", "naive_loader")
    yield Contender("basic-pitch", lambda *of: _basic_pitch(peers_python, *of), PEER_SONGS)
    yield Contender("swift-f0", lambda *of: _peer(peers_python, "swift-f0", *of), PEER_SONGS)


def _ours(precisions: list[str]) -> Iterator[Contender]:
    for name in precisions:
        option = () if name == "fp32" else ("--precision", name)
        yield vit1dx(f"vit1dx {name}", *option)
        yield vit1dx(f"vit1dx {name}, 1 worker", *option, "--workers", "1")
    yield vit1dx("vit1dx fp32, PyTorch", "--backend", "torch")
    for extra, attention in (("", "none"), (", class rows", "class"), (", full attention", "full")):
        options = "--layers", "4,8", "--attention", attention
        yield vit1dx(f"vit1dx fp32, layers 4,8{extra}", *options)


def _script(name: str, module: str) -> Contender:
    start = [sys.executable, "-m", f"benchmarks.throughput.{module}"]
    return Contender(name, lambda folder, out: [*start, str(folder), str(out / "tokens.h5")])


def _basic_pitch(python: str, folder: Path, output: Path) -> list[str]:
    """Its command line, which saves MIDI too; it wants each file by name."""
    files = [str(path) for path in sorted(folder.iterdir())]
    options = ["--save-model-outputs", "--model-serialization", "onnx"]
    return [python, "-m", "basic_pitch.predict", str(output), *files, *options]


def _peer(python: str, name: str, folder: Path, output: Path) -> list[str]:
    script = str(Path(__file__).with_name("peers.py"))
    return [python, script, name, str(folder), str(output / "features.npz")]
