"""How fast `vit1dx merge` is beside a plain copy of the same files, and how fast many shards open.

    python -m benchmarks.merge copy [--megabytes 1000] [--minutes 3] [--layers 4,8] [--turns 5]
    python -m benchmarks.merge shards [--count 1000]

Features are synthetic: merging does not look at values. Each turn copies, merges and checks, and
removes what was written, so that all find memory as much used as each other; medians are compared.
Merged are the files into one, track by track; and into shards that each take a file as it is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import vit1dx
from vit1dx.store.merge import merge
from vit1dx.store.place import CATALOGUE_NAME, shard_path
from vit1dx.store.shards import Shard
from vit1dx.store.verify import verify
from vit1dx.store.writer import FeatureWriter

from .synthetic import FEATURES, header_of, put


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("copy", "shards"))
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--layers", default="4,8")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "copy":
            inputs = _made(Path(folder), options.megabytes, options.minutes, options.layers)
            _copy(Path(folder), inputs, options.turns)
        else:
            _shards(Path(folder), options.count)


def _made(folder: Path, megabytes: int, minutes: float, layers: str) -> list[Path]:
    """Feature files."""
    header = header_of(layers)
    windows = max(1, round(minutes * 15))
    inputs: list[Path] = []
    size = 0
    while size < megabytes * 1_000_000:
        path = folder / f"{len(inputs)}.h5"
        with FeatureWriter(path, header) as writer:
            for number in range(max(1, int(megabytes / 4 / (minutes * 2.9)))):
                put(writer, f"{len(inputs)}/{number}.mp3", windows, header)
        inputs.append(path)
        size += path.stat().st_size
    print(f"{len(inputs)} files, {size / 1e6:.0f} MB, tracks of {minutes} min")
    return inputs


def _copy(folder: Path, inputs: list[Path], turns: int) -> None:
    size = sum(path.stat().st_size for path in inputs)

    def copy() -> None:
        for path in inputs:
            target = folder / f"copy-{path.name}"
            shutil.copyfile(path, target)
            with target.open("rb+") as file:
                os.fsync(file.fileno())

    shard_size = f"{max(path.stat().st_size for path in inputs) + 1_000_000}B"
    outputs = {"by track": (f"{folder}/all.h5", None), "as files": (f"{folder}/all/", shard_size)}
    took: dict[str, list[tuple[float, float]]] = {}
    for _ in range(turns):
        for path in inputs:
            path.read_bytes()  # all find them in memory
        took.setdefault("copy", []).append(_measured(copy))
        _remove(folder, "copy-*")
        for name, (output, limit) in outputs.items():
            for what, call in (
                ("merge", partial(merge, inputs, output, shard_size=limit)),
                ("check", partial(verify, output)),
            ):
                took.setdefault(f"{what}, {name}", []).append(_measured(call))
            _remove(folder, "all*")
    cpu, clock = (
        {name: statistics.median(one[place] for one in turn) for name, turn in took.items()}
        for place in (0, 1)
    )
    for name, clocked in clock.items():
        print(
            f"{name}: {cpu[name]:.2f} s of processor, {clocked:.2f} s by the clock, "
            f"{size / clocked / 1e6:.0f} MB/s"
        )
    for name in outputs:
        for what, each in (("processor", cpu), ("clock", clock)):
            whole = each[f"merge, {name}"]
            alone = whole - each[f"check, {name}"]
            print(
                f"{name}, {what}: a copy takes {each['copy'] / alone:.2f} of a merge without its "
                f"check, {each['copy'] / whole:.2f} of one with it"
            )


def _remove(folder: Path, names: str) -> None:
    for path in folder.glob(names):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    os.sync()


def _shards(folder: Path, count: int) -> None:
    header = header_of("8")
    for number in range(count):
        with Shard(shard_path(folder, number), header) as shard:
            for track in range(4):
                put(shard, f"{number}/{track}.mp3", 1, header)
    time.sleep(3)  # until the index trusts them
    for name in ("without the index, which is made", "with it"):
        began = time.process_time()
        with vit1dx.open(folder) as features:
            opened = time.process_time() - began
            first = features[f"{count // 2}/1.mp3"].read("mean_token", layer=8)
            assert first.shape == (FEATURES,)
            both = time.process_time() - began
            length = len(features)
        print(f"{count} shards, {length} tracks, {name}: open {opened:.2f} s, a track {both:.2f} s")
    print(f"index: {(folder / CATALOGUE_NAME).stat().st_size / 1e6:.1f} MB")


def _measured(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a processor, and by the clock."""
    processor, clock = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - processor, time.perf_counter() - clock


if __name__ == "__main__":
    main()
