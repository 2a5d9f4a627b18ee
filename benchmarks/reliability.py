"""What vit1dx survives, in long: ``python -m benchmarks.reliability kills 200``.

Experiments, each with how much of it (the default in brackets): ``kills`` [200] a run is killed so
often, at random moments, and gone on with; ``mutants`` [2000] so many damaged files in one run;
``many`` [20000] one-second files in one run; ``hours`` [10] the length of one file. Figures go to
standard output as JSON; what must not be raises.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import soundfile

import vit1dx
from benchmarks.processes import measured, resident
from tests.synth import song
from vit1dx.errors import StoreError
from vit1dx.verify import verify

RATE = 16000
FORMATS = {
    "wav": {},
    "flac": {},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {},
}
Figures = dict[str, Any]


def extract(folder: Path, *arguments: str, output: str = "f.h5") -> list[str]:
    """The command that extracts ``music`` below a folder."""
    command = [sys.executable, "-m", "vit1dx", "extract", "music", "-o", output, "--json"]
    return [*command, "--quiet", *arguments]


def short_tracks(folder: Path, count: int, seconds: float = 1.0) -> None:
    """Tracks below ``music``, all different, in folders of a thousand."""
    samples = song(seconds + 10, RATE)
    for index in range(count):
        path = folder / "music" / f"{index // 1000}" / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = index * 37 % (10 * RATE)
        part = samples[start : start + round(seconds * RATE)] * (1 - index % 7 / 10)
        soundfile.write(path, part, RATE)


def arrays(path: Path) -> Iterator[tuple[str, bytes]]:
    """Every array of every track, by name, as bytes."""
    with vit1dx.open(path) as features:
        for track_id in features:
            group = features.root["tracks"][track_id]
            for name in group:
                yield f"{track_id}/{name}", group[name][:].tobytes()


def require_same(one: Path, other: Path) -> int:
    """Raise unless two files hold the same arrays, to the bit; returns how many."""
    count = 0
    for (name, ours), (other_name, theirs) in zip(arrays(one), arrays(other), strict=True):
        assert (name, ours) == (other_name, theirs), f"{name} differs from {other_name}"
        count += 1
    return count


def kills(folder: Path, count: int, tracks: int = 200, longest: float = 4.0) -> Figures:
    """Kill a run `count` times, and let it end; then once more after it has ended."""
    short_tracks(folder, tracks)
    subprocess.run(extract(folder, output="whole.h5"), cwd=folder, check=True, capture_output=True)
    chance = random.Random(0)
    finished = restarts = 0
    deaths_at: list[int] = []
    for _ in range(count):
        if finished == tracks:  # begin anew
            (folder / "f.h5").unlink()
            finished, restarts = 0, restarts + 1
        with subprocess.Popen(extract(folder), cwd=folder, stdout=subprocess.PIPE) as process:
            time.sleep(chance.uniform(0.3, longest))
            process.kill()
        now = _require_readable(folder / "f.h5", folder / "whole.h5")
        assert now >= finished, f"{finished} tracks were finished, {now} are there"
        finished = now
        deaths_at.append(now)
    result = subprocess.run(extract(folder), cwd=folder, check=True, capture_output=True)
    summary = json.loads(result.stdout)
    assert (summary["already"], summary["done"]) == (finished, tracks - finished)
    compared = require_same(folder / "f.h5", folder / "whole.h5")
    assert not verify(folder / "f.h5").problems
    assert not list(folder.glob("f.h5.*")), "something was left beside the output"
    return {"kills": count, "runs": restarts + 1, "arrays": compared, "finished": deaths_at[-20:]}


def _require_readable(path: Path, whole: Path) -> int:
    """Tracks that are there right after a kill, each as in an uninterrupted run."""
    if not path.exists():
        return 0
    with vit1dx.open(path) as features, vit1dx.open(whole) as expected:
        for track_id, track in features.items():
            np.testing.assert_array_equal(
                track.sequence_tokens(12), expected[track_id].sequence_tokens(12)
            )
        count = len(features)
    with h5py.File(path) as file:  # any other reader
        assert len(file["index/id"]) <= count
    return count


def mutants(folder: Path, count: int) -> Figures:
    """One run over damaged files: bit flips, cuts, header edits."""
    originals = {}
    for name, options in FORMATS.items():
        soundfile.write(folder / f"x.{name}", song(2.0, 48000), 48000, **options)
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
    """One-second files: memory, and what a file costs at the start and at the end of the run."""
    short_tracks(folder, count)
    marks: list[tuple[float, int, int]] = []
    began = time.monotonic()
    command = extract(folder, "--layers", "12")
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            time.sleep(0.5)
            marks.append(
                (time.monotonic() - began, tracks_in(folder / "f.h5"), resident(process.pid))
            )
    assert process.returncode == 0
    wall = time.monotonic() - began
    began = time.monotonic()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    running = [mark for mark in marks if 0 < mark[1] < count]
    quarters = [running[len(running) * i // 4] for i in range(4)] + [running[-1]]
    costs = [
        round(1000 * (late[0] - early[0]) / max(1, late[1] - early[1]), 2)
        for early, late in pairwise(quarters)
    ]
    return {
        "files": count,
        "seconds": round(wall, 1),
        "ms a file, by quarter": costs,
        "MiB at quarters": [mark[2] >> 20 for mark in quarters],
        "bytes a file": (folder / "f.h5").stat().st_size // count,
        "seconds of a second run": round(time.monotonic() - began, 2),
    }


def tracks_in(path: Path) -> int:
    """Tracks that are there by now."""
    try:
        with vit1dx.open(path) as features:
            return len(features)
    except (StoreError, OSError, KeyError, RuntimeError):  # not there yet; or just being written
        return 0


def hours(folder: Path, count: int) -> Figures:
    """One long file: the peak of memory of the run and its worker, summed."""
    (folder / "music").mkdir()
    block = song(60.0, RATE)
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
