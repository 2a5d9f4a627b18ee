"""What vit1dx survives, in long: ``python -m benchmarks.reliability kills 200``.

Experiments, each with how much of it (the default in brackets): ``kills`` [200] a run is killed so
often, at random moments, and gone on with; ``shards`` [200] the same with a folder of small files;
``mutants`` [2000] so many damaged files in one run;
``many`` [20000] one-second files in one run; ``hours`` [10] the length of one file. Figures go to
standard output as JSON; what must not be raises.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import soundfile

import vit1dx
from benchmarks.music import mono, write_shorts
from benchmarks.processes import measured, resident
from vit1dx.errors import StoreError
from vit1dx.store.place import CATALOGUE_NAME, feature_files
from vit1dx.store.verify import verify

RATE = 16000
#: Size of a shard, and of the arrays of one of the short tracks at least.
SHARD_BYTES, TRACK_BYTES = 2_000_000, 250_000
FORMATS = {
    "wav": {},
    "flac": {},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {},
}
Figures = dict[str, Any]


class Mark(NamedTuple):
    """How far a run is: tracks, seconds, resident bytes, processor seconds."""

    tracks: int
    seconds: float
    memory: int
    cpu: float
    main_cpu: float


def extract(folder: Path, *arguments: str, output: str = "f.h5") -> list[str]:
    """The command that extracts ``music`` below a folder."""
    command = [sys.executable, "-m", "vit1dx", "extract", "music", "-o", output, "--json"]
    return [*command, "--quiet", *arguments]


def arrays(path: Path) -> Iterator[tuple[str, bytes]]:
    """Every array of every track, by name, as bytes."""
    with vit1dx.open(path) as features:
        for track_id in features:
            group = features[track_id].group
            for name in group:
                yield f"{track_id}/{name}", group[name][:].tobytes()


def require_same(one: Path, other: Path) -> int:
    """Raise unless two files hold the same arrays, to the bit; returns how many."""
    count = 0
    for (name, ours), (other_name, theirs) in zip(arrays(one), arrays(other), strict=True):
        assert (name, ours) == (other_name, theirs), f"{name} differs from {other_name}"
        count += 1
    return count


def kills(
    folder: Path,
    count: int,
    tracks: int = 200,
    longest: float = 4.0,
    *arguments: str,
    output: str = "f.h5",
) -> Figures:
    """Kill a run `count` times, and let it end; then once more after it has ended."""
    write_shorts(folder / "music", tracks)
    subprocess.run(extract(folder, output="whole.h5"), cwd=folder, check=True, capture_output=True)
    command = extract(folder, *arguments, output=output)
    path = folder / output
    chance = random.Random(0)
    finished = restarts = 0
    deaths_at: list[int] = []
    for _ in range(count):
        if finished == tracks:  # begin anew
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            finished, restarts = 0, restarts + 1
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE) as process:
            time.sleep(chance.uniform(0.3, longest))
            process.kill()
        now = _require_readable(path, folder / "whole.h5")
        assert now >= finished, f"{finished} tracks were finished, {now} are there"
        finished = now
        deaths_at.append(now)
    result = subprocess.run(command, cwd=folder, check=True, capture_output=True)
    summary = json.loads(result.stdout)
    assert (summary["already"], summary["done"]) == (finished, tracks - finished)
    compared = require_same(path, folder / "whole.h5")
    assert not verify(path).problems
    sizes = [file.stat().st_size for file in feature_files(path)]
    left = {*folder.iterdir(), *(path.iterdir() if path.is_dir() else ())}
    left -= {folder / "music", folder / "whole.h5", path, *feature_files(path)}
    left -= {path / CATALOGUE_NAME}  # which readers make
    assert not left, f"{left} was left"
    return {
        "kills": count,
        "runs": restarts + 1,
        "arrays": compared,
        "finished": deaths_at[-20:],
        "files": len(sizes),
        "largest file": max(sizes),
    }


def shards(folder: Path, count: int, tracks: int = 200, longest: float = 4.0) -> Figures:
    """The same with an output of many small files."""
    options = ("--shard-size", f"{SHARD_BYTES // 1000}kB")
    figures = kills(folder, count, tracks, longest, *options, output="f/")
    assert figures["largest file"] <= SHARD_BYTES
    assert figures["files"] > tracks * TRACK_BYTES / SHARD_BYTES
    return figures


def _require_readable(path: Path, whole: Path) -> int:
    """Tracks that are there right after a kill, each as in an uninterrupted run."""
    if not feature_files(path):
        return 0
    with vit1dx.open(path) as features, vit1dx.open(whole) as expected:
        for track_id, track in features.items():
            np.testing.assert_array_equal(
                track.read("sequence_tokens", layer=12),
                expected[track_id].read("sequence_tokens", layer=12),
            )
        count = len(features)
    rows = 0
    for shard in feature_files(path):
        with h5py.File(shard) as file:  # any other reader
            rows += len(file["index/id"])
    assert rows <= count
    return count


def mutants(folder: Path, count: int) -> Figures:
    """One run over damaged files: bit flips, cuts, header edits."""
    originals = {}
    for name, options in FORMATS.items():
        soundfile.write(folder / f"x.{name}", mono(2 * 48000), 48000, **options)
        originals[name] = (folder / f"x.{name}").read_bytes()
    (folder / "music").mkdir()
    chance = random.Random(0)
    for index in range(count):
        name = list(FORMATS)[index % len(FORMATS)]
        data = _mutated(bytearray(originals[name]), chance)
        (folder / "music" / f"{index}.{name}").write_bytes(data)
    command = extract(folder, "--layers", "1", "--timeout", "60")
    began = time.monotonic()
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode in (0, 1), result.stderr
    summary = json.loads(result.stdout)
    assert summary["done"] + summary["failed"] == count
    assert not verify(folder / "f.h5").problems
    deaths = [f["reason"] for f in summary["failures"] if "its process" in f["reason"]]
    return {
        "mutants": count,
        "done": summary["done"],
        "failed": summary["failed"],
        "processes lost": deaths,
        "seconds": round(time.monotonic() - began, 1),
    }


def _mutated(data: bytearray, chance: random.Random) -> bytearray:
    kind = chance.randrange(4)
    if kind == 0:
        return data[: chance.randrange(len(data))]
    header = min(128, len(data)) if kind == 1 else len(data)
    for _ in range(chance.choice((1, 4, 30))):
        at = chance.randrange(header)
        if kind == 3:  # a piece overwritten, to extremes
            size = chance.choice((1, 2, 4, 8))
            data[at : at + size] = bytes([chance.choice((0, 127, 255))]) * size
        else:
            data[at] ^= 1 << chance.randrange(8)
    return data


def many(folder: Path, count: int) -> Figures:
    """One-second files: memory, and what a file costs at the start and at the end of the run.

    The run's own processor time says more than the clock where other programs share the machine.
    """
    write_shorts(folder / "music", count)
    marks: list[Mark] = []
    began = time.monotonic()
    command = extract(folder, "--layers", "12")
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            time.sleep(2.0)  # a look takes time that the run is short of
            tracks = tracks_in(folder / "f.h5")
            marks.append(Mark(tracks, time.monotonic() - began, *_use(process.pid)))
    assert process.returncode == 0
    wall = time.monotonic() - began
    began = time.monotonic()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    running = [mark for mark in marks if 0 < mark.tracks < count]
    quarters = [running[len(running) * i // 4] for i in range(4)] + [running[-1]]
    return {
        "files": count,
        "seconds": round(wall, 1),
        "ms a file, by quarter": _costs(quarters, "seconds"),
        "ms of processors a file": _costs(quarters, "cpu"),
        "ms of the main process": _costs(quarters, "main_cpu"),
        "MiB at quarters": [mark.memory >> 20 for mark in quarters],
        "bytes a file": (folder / "f.h5").stat().st_size // count,
        "seconds of a second run": round(time.monotonic() - began, 2),
    }


def _costs(marks: list[Mark], of: str) -> list[float]:
    return [
        round(1000 * (getattr(late, of) - getattr(early, of)) / (late.tracks - early.tracks), 2)
        for early, late in pairwise(marks)
    ]


def tracks_in(path: Path) -> int:
    """Tracks that are there by now."""
    try:
        with vit1dx.open(path) as features:
            return len(features)
    except (StoreError, OSError, KeyError, RuntimeError):  # not there yet; or just being written
        return 0


def _use(pid: int) -> tuple[int, float, float]:
    """Resident bytes of a process and its children, their processor seconds, and its own."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        seconds = [_cpu_seconds(p) for p in (str(pid), *children)]
    except OSError:
        return 0, 0.0, 0.0
    return resident(pid), sum(seconds), seconds[0]


def _cpu_seconds(pid: str) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def hours(folder: Path, count: int) -> Figures:
    """One long file: the peak of memory of the run and its worker, summed."""
    (folder / "music").mkdir()
    block = mono(60 * RATE)
    with soundfile.SoundFile(folder / "music" / "long.flac", "w", RATE, 1) as file:
        for _ in range(60 * count):
            file.write(block)
    peak = measured(extract(folder, "--layers", "4,8"), cwd=folder).memory
    assert peak < 1 << 30
    with vit1dx.open(folder / "f.h5") as features:
        assert features["long.flac"].duration == 3600 * count
    return {"hours": count, "peak MiB": peak >> 20}


EXPERIMENTS: dict[str, tuple[Callable[..., Figures], int]] = {
    "kills": (kills, 200),
    "shards": (shards, 200),
    "mutants": (mutants, 2000),
    "many": (many, 20000),
    "hours": (hours, 10),
}


def main() -> None:
    """Run one experiment, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", choices=[*EXPERIMENTS, "all"])
    parser.add_argument("count", type=int, nargs="?")
    arguments = parser.parse_args()
    names = list(EXPERIMENTS) if arguments.experiment == "all" else [arguments.experiment]
    for name in names:
        run, usual = EXPERIMENTS[name]
        with tempfile.TemporaryDirectory(prefix="vit1dx-") as folder:
            print(json.dumps({name: run(Path(folder), arguments.count or usual)}), flush=True)


if __name__ == "__main__":
    main()
