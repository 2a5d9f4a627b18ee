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

import ctypes
import ctypes.util
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
import typer

from weights.recipe.corpus.real import download, members

PACKAGES = (
    *("bb", "freedroid-data", "gl-117-data", "heroes-sound-tracks", "open-invaders-data"),
    *("pekka-kana-2-data", "pingus-data", "rafkill-data"),
)
EACH = 2
ENDINGS = (".mod", ".xm", ".s3m", ".it")
RATE, STEP = 44_100, 16  # Hz; samples between looks at the row
SECONDS = (30.0, 75.0)  # of a module at least, and rendered of it at most
NOTE, EFFECT, PARAMETER = 0, 3, 5  # libopenmpt's numbers of a cell's parts
NOTE_OFF = 128  # and above: cuts, fades and releases


@cache
def _library() -> Any:
    name = ctypes.util.find_library("openmpt")
    if name is None:
        raise OSError("no libopenmpt; apt-get install libopenmpt0")
    library = ctypes.CDLL(name)
    library.openmpt_module_create_from_memory2.restype = ctypes.c_void_p
    library.openmpt_module_format_pattern_row_channel_command.restype = ctypes.c_void_p
    library.openmpt_module_get_duration_seconds.restype = ctypes.c_double
    library.openmpt_module_read_interleaved_float_stereo.restype = ctypes.c_size_t
    return library


class Module:
    """A module, open in libopenmpt."""

    def __init__(self, content: bytes) -> None:
        nothing = [None] * 7
        self._handle = ctypes.c_void_p(
            _library().openmpt_module_create_from_memory2(
                content, ctypes.c_size_t(len(content)), *nothing
            )
        )
        if not self._handle:
            raise ValueError("no module that libopenmpt can read")

    def _call(self, name: str, *arguments: int) -> Any:
        return getattr(_library(), f"openmpt_module_{name}")(self._handle, *arguments)

    def close(self) -> None:
        """Close it."""
        self._call("destroy")

    @property
    def seconds(self) -> float:
        """Length."""
        return float(self._call("get_duration_seconds"))

    @property
    def row(self) -> tuple[int, int, int]:
        """Order, pattern and row that are played."""
        return tuple(self._call(f"get_current_{part}") for part in ("order", "pattern", "row"))

    def cells(self, pattern: int, row: int) -> Iterator[tuple[int, str, int]]:
        """Note, letter of the effect and its parameter, channel by channel."""
        for channel in range(self._call("get_num_channels")):
            note, parameter = (
                self._call("get_pattern_row_channel_command", pattern, row, channel, part) & 0xFF
                for part in (NOTE, PARAMETER)
            )
            yield note, self._effect(pattern, row, channel), parameter

    def _effect(self, *place: int) -> str:
        text = self._call("format_pattern_row_channel_command", *place, EFFECT)
        found = ctypes.string_at(text).decode()
        _library().openmpt_free_string(ctypes.c_void_p(text))
        return found

    def read(self, samples: int) -> np.ndarray:
        """The next samples, (n, 2) float32."""
        block = np.zeros((samples, 2), np.float32)
        pointer = block.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        read = _library().openmpt_module_read_interleaved_float_stereo
        count = read(self._handle, RATE, ctypes.c_size_t(samples), pointer)
        return block[:count]


def starts_note(note: int, effect: str, by_letter: bool) -> bool:
    """Whether a cell starts a note: not one that is glided to, nor the end of one."""
    glides = ("G", "L") if by_letter else ("3", "5")
    return 0 < note < NOTE_OFF and effect not in glides


def delays_note(effect: str, parameter: int, by_letter: bool) -> bool:
    """Whether a cell's note comes later than its row."""
    return effect == ("S" if by_letter else "E") and parameter >> 4 == 0xD


def render(content: bytes, by_letter: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """A module's music, (n, 2), and its onsets, s; None where notes are delayed.

    `by_letter` says that effects are Impulse Tracker's and Scream Tracker's.
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
                if any(delays_note(*cell[1:], by_letter) for cell in cells if cell[0]):
                    return None
                if any(starts_note(*cell[:2], by_letter) for cell in cells):
                    onsets.append(at / RATE)
            last = here
            blocks.append(block)
            at += len(block)
        return np.concatenate(blocks), np.array(onsets)
    finally:
        module.close()


def modules(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of modules of the packages, the first by name."""
    for package in PACKAGES:
        archive = download(package, folder)
        names = _listed(archive)
        for name, content in sorted(members(archive, names)):
            yield f"{package}_{Path(name).name}", content


def _listed(archive: Path) -> set[str]:
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as tar,
    ):
        return {
            entry.name.removeprefix("./") for entry in tar if entry.name.lower().endswith(ENDINGS)
        }


def main(out: Annotated[Path, typer.Argument(help="Folder for music and onsets.")]) -> None:
    """Fetch, render, and write onsets."""
    out.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, content in modules(Path(folder)):
            package = name.partition("_")[0]
            if counts.get(package, 0) == EACH:
                continue
            by_letter = name.lower().endswith((".s3m", ".it"))
            found = render(content, by_letter)
            if found is None or len(found[0]) < SECONDS[0] * RATE or len(found[1]) < 30:
                continue
            counts[package] = counts.get(package, 0) + 1
            samples = found[0] / max(1.0, float(np.abs(found[0]).max()))
            soundfile.write(out / f"{name}.flac", samples, RATE)
            np.savetxt(out / f"{name}.onsets.txt", found[1], fmt="%.6f")
            print(f"{name}: {len(found[1])} onsets in {len(samples) / RATE:.1f} s", flush=True)


if __name__ == "__main__":
    typer.run(main)
