"""Which segments a training step compares: pairs of segments, drawn as a function of the step."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Array
from ..errors import UsageError
from .cache import CachedTrack
from .recipe import Recipe

#: Splits that a groups file may name; tracks of any other split are left out.
TRAIN, VALID = "train", "valid"
VALID_SHARE = 0.05
_TIMBRE_UNKNOWN = -1


@dataclass(frozen=True)
class Tracks:
    """Tracks of a cache and how they belong together; arrays of one entry a track.

    Attributes
    ----------
    start, length : (n,) int64 arrays
        Where the samples are.
    song, aligned, timbre : (n,) int64 arrays
        Codes that tracks share: the same song; the same song on the same time axis; the same
        instruments (-1 where nothing is known).
    """

    start: Array
    length: Array
    song: Array
    aligned: Array
    timbre: Array

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, rows: Array) -> Tracks:
        return Tracks(*(column[rows] for column in self._columns()))

    @property
    def accompanied(self) -> Array:
        """Whether another one runs in time with each, (n,) bool."""
        _, group, sizes = np.unique(self.aligned, return_inverse=True, return_counts=True)
        return sizes[group] > 1

    @property
    def has_aligned(self) -> bool:
        """Whether any two run in time with each other."""
        return bool(self.accompanied.any())

    def _columns(self) -> tuple[Array, ...]:
        return self.start, self.length, self.song, self.aligned, self.timbre


@dataclass(frozen=True)
class Pairs:
    """Two segments of each of n positive pairs, and one to be mixed into each of them.

    Attributes
    ----------
    start, mix_start : (n, 2) int64 arrays
        First samples in the cache.
    aligned : bool
        Whether the two of a pair are one time in two renditions, not two times in one track.
    """

    start: Array
    mix_start: Array
    aligned: bool

    def __getitem__(self, rows: slice) -> Pairs:
        return Pairs(self.start[rows], self.mix_start[rows], self.aligned)


def read_groups(path: Path) -> dict[str, dict[str, Any]]:
    """How tracks belong together, from a file of JSON lines.

    Each line is an object with `audio` (a path, relative to the file's folder) and any of `song`
    (name; a song is never divided between training and validation), `aligned_group` (tracks of one
    song and group run in time with each other), `ensemble` (tracks of one ensemble sound alike)
    and `split` ("train", "valid", or another, which leaves the track out). More keys are allowed.

    Returns
    -------
    dict of dict, by absolute path of the audio

    Raises
    ------
    UsageError
        If the file cannot be read, or a line is no such object.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    return dict(_group(path, number, line) for number, line in enumerate(lines, start=1) if line)


def _group(path: Path, number: int, line: str) -> tuple[str, dict[str, Any]]:
    try:
        row = json.loads(line)
        return str((path.parent / row["audio"]).resolve()), row
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            f"{path}, line {number}: {line[:60]!r}; an object with the key audio is needed"
        ) from None


def split_tracks(
    cached: Iterable[CachedTrack], groups: dict[str, dict[str, Any]] | None
) -> tuple[Tracks, Tracks]:
    """Tracks to train on and tracks to validate on, no song being in both.

    Without groups, every track is a song of its own. Where no split is given, songs are drawn for
    validation by a checksum of their name, so that they stay there when more are added.

    Raises
    ------
    UsageError
        If nothing is left for training.
    """
    usable = [track for track in cached if track.length]
    rows = [(track, (groups or {}).get(track.path, {})) for track in usable]
    if groups is not None:
        rows = [(track, row) for track, row in rows if row]
    names = [str(row.get("song", track.path)) for track, row in rows]
    splits = np.array([row.get("split", TRAIN) for _, row in rows], dtype=object)
    if not np.any(splits == VALID):
        splits[_drawn_for_validation(names)] = VALID
    tracks = _tracks(rows, names)
    train, valid = (tracks[np.flatnonzero(splits == split)] for split in (TRAIN, VALID))
    if not len(train):
        raise UsageError(f"{len(usable)} tracks decoded, none of them for training")
    return train, valid


def _drawn_for_validation(names: list[str]) -> Array:
    """Tracks of a twentieth of the songs, and of two of them at least where there are ten."""
    songs = sorted(set(names), key=lambda name: (zlib.crc32(name.encode()), name))
    count = max(2 if len(songs) >= 10 else 0, round(len(songs) * VALID_SHARE))
    drawn = set(songs[:count])
    return np.array([name in drawn for name in names], dtype=bool)


def _tracks(rows: list[tuple[CachedTrack, dict[str, Any]]], names: list[str]) -> Tracks:
    aligned = [
        (name, row.get("aligned_group", track.path))
        for name, (track, row) in zip(names, rows, strict=True)
    ]
    timbres = [row.get("ensemble") for _, row in rows]
    return Tracks(
        np.array([track.start for track, _ in rows], np.int64),
        np.array([track.length for track, _ in rows], np.int64),
        _codes(names),
        _codes(aligned),
        np.where([timbre is None for timbre in timbres], _TIMBRE_UNKNOWN, _codes(timbres)),
    )


def _codes(values: list[Any]) -> Array:
    code = {value: index for index, value in enumerate(dict.fromkeys(values))}
    return np.array([code[value] for value in values], np.int64)


class PairSampler:
    """Draws the pairs of any step.

    Parameters
    ----------
    tracks : Tracks
    recipe : Recipe
    n_samples : int
        Length of a segment, with what augmentation needs of it.

    Attributes
    ----------
    tracks : Tracks
        Those that are long enough for the segments of one song in a step to be disjoint.

    Raises
    ------
    UsageError
        If there are fewer songs than a batch needs.
    """

    def __init__(self, tracks: Tracks, recipe: Recipe, n_samples: int) -> None:
        self.recipe, self.n_samples = recipe, n_samples
        enough = tracks.length >= max(2, recipe.siblings) * n_samples
        self.tracks = tracks[np.flatnonzero(enough)]
        self._group_of = _members(self.tracks.aligned)
        self._accompanied = np.flatnonzero(self.tracks.accompanied)
        if recipe.aligned < 1 or not self.has_aligned:
            self._require_songs(np.arange(len(self.tracks)), recipe.batch, "")
        if self.has_aligned:
            need = -(-recipe.batch // recipe.siblings)
            self._require_songs(self._accompanied, need, " with aligned renditions")

    @property
    def has_aligned(self) -> bool:
        """Whether any step has aligned positives."""
        return bool(len(self._accompanied) and self.recipe.aligned)

    def draw(self, step: int) -> Pairs:
        """Draw the pairs of a step: the same ones whenever and wherever it is asked for."""
        rng = np.random.default_rng([self.recipe.seed, step])
        aligned = self.has_aligned and rng.random() < self.recipe.aligned
        start = self._aligned(rng) if aligned else self._elsewhere(rng)
        return Pairs(start, self._anywhere(rng, start.shape), aligned)

    def _aligned(self, rng: np.random.Generator) -> Array:
        """Two renditions at about one time, (batch, 2), several times of each song."""
        siblings, batch = self.recipe.siblings, self.recipe.batch
        tracks = self._choose(self._accompanied, -(-batch // siblings), rng)
        others = np.array([self._other(track, rng) for track in tracks])
        lengths = np.minimum(self.tracks.length[tracks], self.tracks.length[others])
        offsets = disjoint_offsets(lengths, siblings, self.n_samples, rng)
        first = self.tracks.start[tracks][:, None] + offsets
        second = self.tracks.start[others][:, None] + self._shifted(offsets, lengths, rng)
        return np.stack([first.ravel(), second.ravel()], axis=1)[:batch]

    def _shifted(self, offsets: Array, lengths: Array, rng: np.random.Generator) -> Array:
        reach = self.recipe.jitter * self.n_samples
        shift = np.asarray(reach * (2 * rng.random(offsets.shape) - 1))
        return np.clip(offsets + shift.astype(np.int64), 0, (lengths - self.n_samples)[:, None])

    def _elsewhere(self, rng: np.random.Generator) -> Array:
        """Two disjoint segments of one track, (batch, 2), and of each song once."""
        tracks = self._choose(np.arange(len(self.tracks)), self.recipe.batch, rng)
        offsets = disjoint_offsets(self.tracks.length[tracks], 2, self.n_samples, rng)
        return self.tracks.start[tracks][:, None] + offsets

    def _anywhere(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        tracks = rng.integers(len(self.tracks), size=shape)
        room = self.tracks.length[tracks] - self.n_samples
        return self.tracks.start[tracks] + (rng.random(shape) * (room + 1)).astype(np.int64)

    def _choose(self, among: Array, count: int, rng: np.random.Generator) -> Array:
        """`count` tracks of different songs, those of one timbre together if the step shares it."""
        order = rng.permutation(among)
        if rng.random() < self.recipe.shared_timbre:
            timbre = self.tracks.timbre[order]
            rank = rng.permutation(timbre.max() + 2)[timbre]
            # The timbre of a track drawn at random comes first, so that large ones come more often.
            rank = np.where(timbre == timbre[0], -1, rank)
            order = order[np.argsort(rank, kind="stable")]
        _, first = np.unique(self.tracks.song[order], return_index=True)
        return order[np.sort(first)[:count]]

    def _other(self, track: int, rng: np.random.Generator) -> int:
        group = self._group_of[int(self.tracks.aligned[track])]
        return int(rng.choice(group[group != track]))

    def _require_songs(self, among: Array, count: int, kind: str) -> None:
        songs = len(np.unique(self.tracks.song[among]))
        if songs < count:
            raise UsageError(
                f"a batch of {self.recipe.batch} pairs needs {count} songs{kind}; {songs} are long "
                f"enough for segments of {self.recipe.seconds:g} s; a smaller --batch will do"
            )


def disjoint_offsets(lengths: Array, count: int, n_samples: int, rng: np.random.Generator) -> Array:
    """Starts of `count` segments that do not overlap, in random order: (n, count) for n lengths."""
    slack = (lengths - count * n_samples)[:, None] + 1
    places = np.sort(rng.random((len(lengths), count)) * slack, axis=1).astype(np.int64)
    return rng.permuted(places + np.arange(count) * n_samples, axis=1)


def read_segments(samples: Array, start: Array, n_samples: int) -> Array:
    """Segments of a cache, (n, n_samples) int16, beginning at each of (n,) starts."""
    return np.stack([samples[first : first + n_samples] for first in start.tolist()])


def _members(codes: Array) -> dict[int, Array]:
    order = np.argsort(codes, kind="stable")
    names, first = np.unique(codes[order], return_index=True)
    return dict(zip(names.tolist(), np.split(order, first[1:]), strict=True))
