"""Recordings of whole albums: is the other half found, and what do vectors say of where it is from?

Linear probes, cross-validated: every recording is scored once, by a probe that has not met it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.probes.linear import fit_classes, fit_tags
from benchmarks.probes.recordings import found_again, halves_of, of_manifest
from benchmarks.probes.systems import System
from benchmarks.probes.whole import average_precision

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
    names, album = np.unique(albums, return_inverse=True)
    common = [name for name in sorted(set(artists)) if artists.count(name) >= LEAST_RECORDINGS]
    tags = np.array([[artist == name for name in common] for artist in artists])
    right, precision = [], []
    for seed in range(seeds):
        folds = np.random.default_rng(seed).permutation(len(tracks)) % FOLDS
        classes, logits = np.zeros(len(tracks), int), np.zeros(tags.shape)
        for fold in range(FOLDS):
            fit, test = folds != fold, folds == fold
            classes[test] = fit_classes(tracks[fit], album[fit], len(names)).classes(tracks[test])
            logits[test] = fit_tags(tracks[fit], tags[fit]).logits(tracks[test])
        right.append((classes == album).mean())
        precision += [average_precision(tags[:, i], logits[:, i]) for i in range(len(common))]
    means = (found_again(halves), float(np.mean(right)), float(np.mean(precision)))
    return dict(zip(TASKS, means, strict=True))
