"""Who runs: vit1dx in its ways, the scripts it replaces, and peers."""

from __future__ import annotations

import shutil
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
    way, layers : str
        Of vit1dx: how it computes, and what.
    """

    name: str
    command: Callable[[Path, Path], list[str]]
    most_songs: int | None = None
    way: str = ""
    layers: str = ""

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


#: Ways of vit1dx to compute, by name, with their options.
WAYS: dict[str, dict[str, str]] = {
    f"{backend} {precision}": {"backend": backend, "precision": precision}
    for backend, precisions in (
        ("onnx", ("fp32", "int8")),
        ("openvino", ("fp32", "bf16")),
        ("torch", ("fp32", "bf16")),
    )
    for precision in precisions
}
TWO_LAYERS = "4,8"


def vit1dx(way: str, layers: str = "all", attention: str = "none") -> Contender:
    """vit1dx's command line."""
    options = {**WAYS[way], "layers": layers, "attention": attention}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    kept = "" if layers == "all" else f", layers {layers}"
    kept += "" if attention == "none" else f", {attention} attention"

    def command(folder: Path, output: Path) -> list[str]:
        fixed = [sys.executable, "-m", "vit1dx", "extract", str(folder), "--quiet"]
        return [*fixed, "-o", str(output / "features.h5"), *words]

    return Contender(f"vit1dx {way}{kept}", command, way=way, layers=layers)


def contenders(peers_python: str) -> Iterator[Contender]:
    """All of them."""
    for way in WAYS:
        yield vit1dx(way)
        yield vit1dx(way, TWO_LAYERS)
    yield vit1dx("onnx fp32", TWO_LAYERS, "class")
    yield vit1dx("onnx fp32", TWO_LAYERS, "full")
    yield _script("naive script", "naive")
    yield _script("naive script, DataLoader", "naive_loader")
    yield Contender("basic-pitch", lambda *of: _basic_pitch(peers_python, *of), PEER_SONGS)
    yield Contender("swift-f0", lambda *of: _peer(peers_python, "swift-f0", *of), PEER_SONGS)


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
