"""Which renders are used for what, and what is known of each."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weights.recipe.corpus.build import MANIFEST
from weights.recipe.corpus.labels import labels_path, read_labels

LOCAL_FIT = {"pop909": 96, "composed": 56, "freedoom": 8}
GLOBAL_FIT = {"pop909": 200, "composed": 400, "freedoom": 40, "nottingham": 200, "groove": 200}
ONSET_TRACKS = 40  # to choose a head on
SIMILARITY_TRACKS = 60


@dataclass(frozen=True)
class Render:
    """A render with ground truth.

    Parameters
    ----------
    audio : Path
    source, song : str
    split : str
        "train" if probes are fitted on it, "test" if they are scored on it.
    """

    audio: Path
    source: str
    song: str
    split: str

    @property
    def id(self) -> str:
        """What its track is called in features."""
        return f"{self.split}/{self.audio.stem}"

    def labels(self) -> dict[str, Any]:
        """Its ground truth, as `weights.recipe.corpus.labels` has it."""
        return read_labels(labels_path(self.audio))


@dataclass(frozen=True)
class Sets:
    """Renders by what they are for."""

    local_fit: list[Render]
    global_fit: list[Render]
    local_test: list[Render]
    global_test: list[Render]

    @property
    def local(self) -> list[Render]:
        """Those of tasks over time."""
        return [*self.local_fit, *self.local_test]

    @property
    def whole(self) -> list[Render]:
        """Those of tasks of whole tracks."""
        return [*self.global_fit, *self.global_test]

    @property
    def everything(self) -> list[Render]:
        """All of them, each once."""
        return list(dict.fromkeys([*self.local, *self.whole]))


def chosen(corpus: Path, test: Path, share: float) -> Sets:
    """Renders of training songs to fit on, and of testing songs to score on."""

    def part(of: dict[str, int]) -> dict[str, int]:
        return {source: max(2, round(share * n)) for source, n in of.items()}

    once, twice = (renders(test, "test", n, "test") for n in (1, 2))
    once = [render for render in once if render.source in LOCAL_FIT]
    return Sets(
        of_sources(renders(corpus, "train", 1), part(LOCAL_FIT)),
        of_sources(renders(corpus, "train", 3), part(GLOBAL_FIT)),
        once[: max(8, round(share * len(once)))],
        twice[: max(16, round(share * len(twice)))],
    )


def renders(corpus: Path, part: str, per_song: int, split: str = "train") -> list[Render]:
    """The first renders of each song of a part of the corpus, in an order that mixes sources."""
    rows = [json.loads(line) for line in (corpus / MANIFEST).read_text().splitlines()]
    by_song: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["split"] == part:
            by_song.setdefault(row["song"], []).append(row)
    mixed = sorted(by_song, key=lambda song: zlib.crc32(song.encode()))
    # Which rendition comes first varies by song, so that all soundfonts and ensembles are met.
    turned = ((song, _turned(by_song[song], zlib.crc32(song.encode()))) for song in mixed)
    return [
        Render(corpus.resolve() / row["audio"], row["source"], song, split)
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
