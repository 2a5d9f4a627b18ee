"""Which renders are used for what, and what each system said of them, kept on disk."""

from __future__ import annotations

import json
import multiprocessing
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.probes.systems import CONFIG, System
from benchmarks.probes.truth import Truth, truth_of
from weights.recipe.corpus.build import MANIFEST


@dataclass(frozen=True)
class Render:
    """A render with ground truth.

    Parameters
    ----------
    audio : Path
    source, song : str
    """

    audio: Path
    source: str
    song: str

    @property
    def truth(self) -> Truth:
        """What is known of it, on the grid of all systems."""
        return _truth(self.audio)


@cache
def _truth(audio: Path) -> Truth:
    return truth_of(audio, CONFIG.mel.frame_rate)


def renders(corpus: Path, split: str, per_song: int) -> list[Render]:
    """The first renders of each song of a split, songs in an order that mixes the sources."""
    rows = [json.loads(line) for line in (corpus / MANIFEST).read_text().splitlines()]
    by_song: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["split"] == split:
            by_song.setdefault(row["song"], []).append(row)
    mixed = sorted(by_song, key=lambda song: zlib.crc32(song.encode()))
    # Which rendition comes first varies by song, so that all soundfonts and ensembles are met.
    turned = ((song, _turned(by_song[song], zlib.crc32(song.encode()))) for song in mixed)
    return [
        Render(corpus / row["audio"], row["source"], song)
        for song, found in turned
        for row in found[:per_song]
    ]


def _turned(rows: list[dict[str, Any]], by: int) -> list[dict[str, Any]]:
    by %= len(rows)
    return rows[by:] + rows[:by]


def of_sources(found: Sequence[Render], shares: dict[str, int]) -> list[Render]:
    """The first renders of each source, so many of each, in the order that they come in."""
    left = dict(shares)
    taken = []
    for render in found:
        if left.get(render.source, 0) > 0:
            left[render.source] -= 1
            taken.append(render)
    return taken


class Memory:
    """What systems said of renders: one file for each, read feature by feature.

    Parameters
    ----------
    folder : Path
        Kept between runs; a system of another name is another folder in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, system: str, render: Render) -> Path:
        """File of a system's word on a render."""
        return self._folder / system / f"{render.audio.parent.name}-{render.audio.stem}.npz"

    def read(self, system: str, render: Render, kind: str, name: str) -> np.ndarray:
        """One of the `kind` ("frames", "whole", "curves") of features."""
        return self.read_several(system, render, kind, [name])[name]

    def read_several(
        self, system: str, render: Render, kind: str, names: Iterable[str]
    ) -> dict[str, np.ndarray]:
        """Some features of a kind, by name."""
        with np.load(self.path(system, render)) as found:
            return {name: np.asarray(found[f"{kind}/{name}"]) for name in names}

    def names(self, system: str, render: Render, kind: str) -> list[str]:
        """Names of the features of a kind."""
        with np.load(self.path(system, render)) as found:
            prefix = f"{kind}/"
            return [key.removeprefix(prefix) for key in found.files if key.startswith(prefix)]

    def once(self, place: tuple[str, ...], job: Callable[[], Any]) -> Any:
        """What a job found, found before or now; its name and its sets must say all of it."""
        path = self._folder / "found" / ("; ".join(place) + ".json")
        if path.exists():
            return json.loads(path.read_text())
        found = job()
        path.parent.mkdir(exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(found))
        os.replace(unfinished, path)
        return found

    def fill(
        self,
        system: str,
        make: Callable[[], System],
        local: Iterable[Render],
        whole: Iterable[Render],
    ) -> None:
        """Have a system describe renders: frame by frame, or (`whole`) as a whole alone."""
        wanted = dict.fromkeys(local, True)
        wanted.update({render: False for render in whole if render not in wanted})
        missing = [item for item in wanted.items() if not self.path(system, item[0]).exists()]
        if not missing:
            return
        (self._folder / system).mkdir(parents=True, exist_ok=True)
        jobs = [(render, self.path(system, render), frames) for render, frames in missing]
        cores = sorted(os.sched_getaffinity(0))
        parts = [jobs[i :: len(cores)] for i in range(len(cores))]
        with ProcessPoolExecutor(len(cores), multiprocessing.get_context("spawn")) as pool:
            list(pool.map(_describe_all, [make] * len(cores), parts, cores))


def _describe_all(
    make: Callable[[], System], jobs: list[tuple[Render, Path, bool]], core: int
) -> None:
    os.sched_setaffinity(0, {core})
    system = make()
    for render, path, frames in jobs:
        found = system(render.audio, closely=frames)
        arrays = {f"whole/{name}": values for name, values in found.whole.items()}
        if frames:
            arrays |= {f"frames/{name}": values for name, values in found.frames.items()}
            arrays |= {f"curves/{name}": values for name, values in found.curves.items()}
        unfinished = path.with_suffix(".unfinished.npz")
        np.savez(unfinished, **arrays)  # type: ignore[arg-type]
        os.replace(unfinished, path)
