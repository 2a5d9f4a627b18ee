"""Recordings of whole albums: is the other half found, and what do vectors say of where it is from?

Linear probes, cross-validated: every recording is scored once, by a probe that has not met it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.probes.recordings import found_again, halves_of, of_manifest
from benchmarks.probes.systems import System
from vit1dx.probe.measure import measure_whole
from vit1dx.probe.splits import folds
from vit1dx.probe.whole import class_targets, tag_targets

TASKS = ("other half", "album", "artist")
FOLDS = 5
LEAST_RECORDINGS = 5  # of an artist, to be a tag

Found = dict[str, dict[str, float]]  # by feature and task


def measure(system: System, corpus: Path, seeds: int) -> Found:
    """Score each feature of a system on the recordings of a folder's manifest."""
    with tempfile.TemporaryDirectory() as folder:
        paths, rows = of_manifest(corpus, Path(folder))
        halves = [half.whole for path in paths for half in halves_of(system, path)]
    albums, artists = ([str(row[key]) for row in rows] for key in ("album", "artist"))
    return {
        name: scored(np.stack([half[name] for half in halves]), albums, artists, seeds)
        for name in halves[0]
    }


def scored(
    halves: np.ndarray, albums: Sequence[str], artists: Sequence[str], seeds: int
) -> dict[str, float]:
    """Scores of one feature.

    Parameters
    ----------
    halves : (2n, dim) array
        Rows 2i and 2i + 1 are of recording i.
    albums, artists : (n,) sequences of str
    seeds : int
        Divisions into folds, whose scores are averaged.

    Returns
    -------
    dict of float, by name in `TASKS`
        Share of halves whose nearest is their other one; accuracy of the album; mean average
        precision over the artists of `LEAST_RECORDINGS` recordings or more.
    """
    tracks = halves.reshape(len(albums), 2, -1).mean(axis=1).astype(np.float32)
    ids = [str(number) for number in range(len(tracks))]
    groups = dict(zip(ids, ids, strict=True))
    common = {name for name in set(artists) if artists.count(name) >= LEAST_RECORDINGS}
    tags = {i: [a if a in common else ""] for i, a in zip(ids, artists, strict=True)}
    found = [found_again(halves)]
    for targets, measure in (
        (class_targets(dict(zip(ids, albums, strict=True)), groups), "accuracy"),
        (tag_targets(tags, groups, "\0"), "mAP"),
    ):
        places = [int(track_id) for track_id in targets.ids]
        divided = folds([*targets.ids], targets.strata, FOLDS, seeds, FOLDS)
        with threadpool_limits(1):
            each = measure_whole(_Given(tracks[places]), targets, divided)
        found.append(float(np.nanmean([fold.test[measure] for fold in each])))
    return dict(zip(TASKS, found, strict=True))


@dataclass(frozen=True)
class _Given:
    """Vectors that are there already."""

    table: np.ndarray
    name: str = ""
    layer: int | None = None
    tokens: str = ""

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """See `vit1dx.probe.features.Feature`."""
        return self.table

    def frames(self, ids: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """There are none."""
        raise NotImplementedError
