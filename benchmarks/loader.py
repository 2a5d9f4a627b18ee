"""How fast features are read for training, beside .npy files; and how fast a matrix is made.

    python -m benchmarks.loader crops [--tracks 300] [--batches 300] [--rounds 3]
    python -m benchmarks.loader matrix [--tracks 100000]

Features are synthetic: reading does not look at values. All of them fit into memory, and were read
before (a warm page cache), so that this is the cost of the readers and not of a disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

import vit1dx
from vit1dx.doors.dataset import FeatureDataset
from vit1dx.store.place import shard_path
from vit1dx.store.shards import Shard
from vit1dx.store.writer import FeatureWriter

from .synthetic import FRAMES, header_of, put

LAYER, SECONDS, BATCH, WORKERS = 8, 4.0, 32, 2
#: Windows of a track: 32 s.
WINDOWS = 8


class NpyDataset(Dataset[dict[str, Any]]):
    """The same crops from a file a track, memory-mapped or read whole."""

    def __init__(self, folder: Path, is_mapped: bool) -> None:
        self.paths = sorted(folder.iterdir())
        self._mode = "r" if is_mapped else None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        data = np.load(self.paths[index], mmap_mode=self._mode)  # type: ignore[arg-type]
        first = int(torch.randint(len(data) - FRAMES + 1, ()))
        tokens = torch.from_numpy(np.array(data[first : first + FRAMES]))
        return {"tokens": tokens, "time": 0.032 * torch.arange(first, first + FRAMES)}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("crops", "matrix"))
    parser.add_argument("--tracks", type=int)
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "crops":
            _crops(Path(folder), options.tracks or 300, options.batches, options.rounds)
        else:
            _matrix(Path(folder), options.tracks or 100_000)


def _crops(folder: Path, tracks: int, batches: int, rounds: int) -> None:
    (folder / "npy").mkdir()
    (folder / "shards").mkdir()
    header = header_of("4,8")
    for number in range(2):
        with Shard(shard_path(folder / "shards", number), header) as shard:
            for track in range(number, tracks, 2):
                put(shard, f"{track}.mp3", WINDOWS, header)
    with vit1dx.open(folder / "shards") as features:
        for track_id in features:
            tokens = features[track_id].read("sequence_tokens", layer=LAYER)
            np.save(folder / "npy" / f"{track_id}.npy", tokens)
    makers: dict[str, Callable[[], Dataset[Any]]] = {
        "FeatureDataset, two shards": lambda: FeatureDataset(
            folder / "shards", LAYER, seconds=SECONDS
        ),
        ".npy, memory-mapped": lambda: NpyDataset(folder / "npy", True),
        ".npy, whole": lambda: NpyDataset(folder / "npy", False),
    }
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in makers}
    for _ in range(rounds):
        for name, make in makers.items():
            took[name].append(_epoch(make(), batches))
    print(
        f"{tracks} tracks of {WINDOWS * 4} s, batches of {BATCH} crops of {SECONDS} s, "
        f"{WORKERS} workers"
    )
    for name, found in took.items():
        rates = [batches / wall for wall, _ in found]
        costs = [1000 * processor / batches for _, processor in found]
        print(
            f"{name}: {statistics.median(rates):.0f} batches a second by the clock "
            f"({min(rates):.0f} to {max(rates):.0f}), {statistics.median(costs):.1f} ms of "
            f"processor a batch ({min(costs):.1f} to {max(costs):.1f})"
        )


def _epoch(data: Dataset[Any], batches: int) -> tuple[float, float]:
    """Seconds by the clock and of processors, workers' start and end included."""
    sampler = RandomSampler(data, replacement=True, num_samples=BATCH * batches)  # type: ignore[arg-type]
    with _timed() as took:
        count = sum(1 for _ in DataLoader(data, BATCH, sampler=sampler, num_workers=WORKERS))
    assert count == batches
    return took[0], took[1]


@contextmanager
def _timed() -> Iterator[list[float]]:
    """Fills a list with seconds by the clock, and of processors with those of ended children."""
    took: list[float] = []
    began, before = time.perf_counter(), sum(os.times()[:4])
    yield took
    took += [time.perf_counter() - began, sum(os.times()[:4]) - before]


def _matrix(folder: Path, tracks: int) -> None:
    path, header = folder / "means.h5", header_of("8", tokens="mean")
    with _timed() as took, FeatureWriter(path, header) as writer:
        for track in range(tracks):
            put(writer, f"{track % 1000}/{track}.mp3", 1, header)
            writer.commit_if_due()
    print(f"{tracks} tracks written in {took[0]:.0f} s, {path.stat().st_size / 1e6:.0f} MB")
    for _ in range(3):
        with _timed() as took, vit1dx.open(path) as features:
            array, ids = features.matrix(LAYER)
        assert len(array) == len(ids) == tracks
        assert not np.isnan(array).any()
        print(
            f"matrix: {took[0]:.2f} s by the clock, {took[1]:.2f} s of processor, opening included"
        )


if __name__ == "__main__":
    main()
