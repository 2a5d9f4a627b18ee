"""Runs of the command over short tracks, to be interrupted, killed and compared."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import soundfile

import vit1dx
from vit1dx.errors import StoreError

from .conftest import Completed
from .synth import song

RATE = 16000


def extract_command(*arguments: str, output: str = "f.h5") -> list[str]:
    """The command that extracts ``music`` in the current folder, and prints its summary only."""
    command = [sys.executable, "-m", "vit1dx", "extract", "music", "-o", output, "--json"]
    return [*command, "--quiet", *arguments]


def short_tracks(folder: Path, count: int, seconds: float = 1.0) -> None:
    """Tracks ``0/0.wav``, ``0/1.wav`` and so on in the folder's ``music``, all different."""
    samples = song(seconds + 10, RATE)
    (folder / "music" / "0").mkdir(parents=True)
    for index in range(count):
        start = index * 37 % (10 * RATE)
        part = samples[start : start + round(seconds * RATE)] * (1 - index % 7 / 10)
        soundfile.write(folder / "music" / "0" / f"{index}.wav", part, RATE)


def with_small_files(command: list[str], folder: Path, most: int) -> Completed:
    """What came of a command where no file may grow beyond so many bytes, as on a full disk."""
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
    )


def require_same(one: Path | str, other: Path | str) -> int:
    """Require that two outputs hold the same arrays, to the bit; returns how many."""
    count = 0
    for ours, theirs in zip(_arrays(one), _arrays(other), strict=True):
        assert ours == theirs, f"{ours[0]} differs from {theirs[0]}"
        count += 1
    return count


def _arrays(path: Path | str) -> Iterator[tuple[str, bytes]]:
    with vit1dx.open(path) as features:
        for track_id in features:
            group = features[track_id].group
            for name in group:
                yield f"{track_id}/{name}", group[name][:].tobytes()


def tracks_in(path: Path) -> int:
    """Tracks that are there by now."""
    try:
        with vit1dx.open(path) as features:
            return len(features)
    except (StoreError, OSError, KeyError, RuntimeError):  # not there yet; or just being written
        return 0
