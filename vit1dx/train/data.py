"""Which segments a training step compares: pairs of segments, drawn as a function of the step."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._types import Array
from ..errors import UsageError
from .cache import CachedTrack
from .mix import Part
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
        Where the frames are.
    song, aligned, timbre : (n,) int64 arrays
        Codes that tracks share: the same song; the same song on the same time axis; the same
        instruments (-1 where nothing is known).
    source : (n,) str array
        Where the music is from, "" where that is not known.
    """

    start: Array
    length: Array
    song: Array
    aligned: Array
    timbre: Array
    source: Array

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, rows: Array) -> Tracks:
        return Tracks(*(column[rows] for column in self._columns()))

    @property
    def accompanied(self) -> Array:
        """Whether another one runs in time with each, (n,) bool."""
        _, group, sizes = np.unique(self.aligned, return_inverse=True, return_counts=True)
        return sizes[group] > 1

    def of(self, part: Part) -> Array:
        """Rows that a part of a mix draws from."""
        rows = np.full(len(self), True) if part.source is None else self.source == part.source
        return np.flatnonzero(rows & self.accompanied if part.is_aligned else rows)

    def digest(self) -> str:
        """What the draws depend on, in 16 hexadecimal digits: the same for the same music."""
        joined = hashlib.sha256()
        for column in self._columns()[1:]:
            joined.update("\n".join(map(str, column.tolist())).encode() + b"\0")
        return joined.hexdigest()[:16]

    def _columns(self) -> tuple[Array, ...]:
        return self.start, self.length, self.song, self.aligned, self.timbre, self.source


@dataclass(frozen=True)
class Pairs:
    """Two segments of each of n positive pairs, and one to be mixed into each of them.

    Attributes
    ----------
    start, mix_start : (n, 2) int64 arrays
        First frames in the cache.
    part : Part
        Of the mix, that they are of.
    """

    start: Array
    mix_start: Array
    part: Part

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, rows: slice) -> Pairs:
        return Pairs(self.start[rows], self.mix_start[rows], self.part)


def read_groups(path: Path) -> dict[str, dict[str, Any]]:
    """How tracks belong together, from a file of JSON lines.

    Each line is an object with `audio` (a path, relative to the file's folder) and any of `song`
    (name; a song is never divided between training and validation), `aligned_group` (tracks of one
    song and group run in time with each other), `ensemble` (tracks of one ensemble sound alike),
    `source` (where the music is from, for `--mix`) and `split` ("train", "valid", or another,
    which leaves the track out). More keys are allowed.

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
        np.array([str(row.get("source", "")) for _, row in rows], dtype=object),
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
    n_frames : int
        Length of a segment.

    Attributes
    ----------
    tracks : Tracks
        Those that are long enough for the segments of one song in a step to be disjoint.
    pools : dict of (n,) int64 arrays, by name of a part
        Rows of `tracks` that each part of the mix draws from.

    Raises
    ------
    UsageError
        If a part of the mix finds fewer songs than a batch needs.
    """

    def __init__(self, tracks: Tracks, recipe: Recipe, n_frames: int) -> None:
        self.recipe, self.n_frames = recipe, n_frames
        most = max(recipe.siblings_in(part) for part in recipe.parts)
        self.tracks = tracks[np.flatnonzero(tracks.length >= max(2, most) * n_frames)]
        self.pools = {part.name: self.tracks.of(part) for part in recipe.parts}
        for part in recipe.parts:
            self._require_songs(part)
        self._group_of = _members(self.tracks.aligned)
        self._until = np.cumsum([part.share for part in recipe.parts])

    def draw(self, step: int) -> Pairs:
        """Draw the pairs of a step: the same ones whenever and wherever it is asked for."""
        rng = np.random.default_rng([self.recipe.seed, step])
        among = np.searchsorted(self._until[:-1], rng.random(), side="right")
        part = self.recipe.parts[among]
        start = (self._aligned if part.is_aligned else self._elsewhere)(part, rng)
        return Pairs(start, self._anywhere(part, rng, start.shape), part)

    def _aligned(self, part: Part, rng: np.random.Generator) -> Array:
        """Two renditions at about one time, (batch, 2), several times of each song."""
        siblings, batch = self.recipe.siblings, self.recipe.batch
        tracks = self._choose(self.pools[part.name], -(-batch // siblings), rng)
        others = np.array([self._other(track, rng) for track in tracks])
        lengths = np.minimum(self.tracks.length[tracks], self.tracks.length[others])
        offsets = disjoint_offsets(lengths, siblings, self.n_frames, rng)
        first = self.tracks.start[tracks][:, None] + offsets
        second = self.tracks.start[others][:, None] + self._shifted(offsets, lengths, rng)
        return np.stack([first.ravel(), second.ravel()], axis=1)[:batch]

    def _shifted(self, offsets: Array, lengths: Array, rng: np.random.Generator) -> Array:
        reach = self.recipe.jitter * self.n_frames
        shift = np.rint(reach * (2 * rng.random(offsets.shape) - 1))
        return np.clip(offsets + shift.astype(np.int64), 0, (lengths - self.n_frames)[:, None])

    def _elsewhere(self, part: Part, rng: np.random.Generator) -> Array:
        """Two disjoint segments of one track, (batch, 2), and of each song once."""
        tracks = self._choose(self.pools[part.name], self.recipe.batch, rng)
        offsets = disjoint_offsets(self.tracks.length[tracks], 2, self.n_frames, rng)
        return self.tracks.start[tracks][:, None] + offsets

    def _anywhere(self, part: Part, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        tracks = rng.choice(self.pools[part.name], size=shape)
        room = self.tracks.length[tracks] - self.n_frames
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

    def _require_songs(self, part: Part) -> None:
        need = -(-self.recipe.batch // self.recipe.siblings_in(part))
        songs = len(np.unique(self.tracks.song[self.pools[part.name]]))
        if songs < need:
            smaller = "--batch" if songs > 1 else "--seconds, or other music,"
            raise UsageError(
                f"a batch of {self.recipe.batch} pairs needs {need} songs for {part.name}; {songs} "
                f"are long enough for segments of {self.recipe.seconds:g} s; a smaller {smaller} "
                "will do"
            )


def disjoint_offsets(lengths: Array, count: int, n_frames: int, rng: np.random.Generator) -> Array:
    """Starts of `count` segments that do not overlap, in random order: (n, count) for n lengths."""
    slack = (lengths - count * n_frames)[:, None] + 1
    places = np.sort(rng.random((len(lengths), count)) * slack, axis=1).astype(np.int64)
    return rng.permuted(places + np.arange(count) * n_frames, axis=1)


def read_segments(frames: Array, start: Array, n_frames: int) -> Array:
    """Segments of a cache, (n, n_frames, n_mels), beginning at each of (n,) starts."""
    places = start[:, None] + np.arange(n_frames)
    return frames[places]


def _members(codes: Array) -> dict[int, Array]:
    order = np.argsort(codes, kind="stable")
    names, first = np.unique(codes[order], return_index=True)
    return dict(zip(names.tolist(), np.split(order, first[1:]), strict=True))
