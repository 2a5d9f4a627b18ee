"""Features as a PyTorch data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

import h5py
import numpy as np
import torch
from h5py import h5d

from .._types import Array
from ..errors import UsageError
from ..remote import absolute, path_of
from ..store.folder import open_features
from ..store.matrix import layer_row, read_block, token_step
from ..store.reader import Features

StrPath: TypeAlias = str | os.PathLike[str]
Labels: TypeAlias = Mapping[str, Any] | Callable[[str], Any]


class FeatureDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Tracks of one or several feature files or folders, for a `torch.utils.data.DataLoader`.

    Files are opened when they are first read, and by each process for itself, so that workers work
    however they are started. Nothing but the ids is held in memory.

    Parameters
    ----------
    paths : path, or iterable of paths
        Feature files, and folders of shards.
    layer : int
    seconds : float, optional
        Give a random part of each track that is so long: the same number of tokens of all, so that
        they can be put together in batches; what a shorter track lacks is zeros. By default, all of
        a track, for `batch_size` 1 or a `collate_fn` of your own.
    labels : mapping of ids, or callable of an id, optional
        Gives what stands under ``label``.
    ids : iterable of str, optional
        Which tracks, and their order; all by default, file after file.

    Raises
    ------
    UsageError
        If a layer was not kept, a track is in two of the paths or has no label, or `seconds` is
        shorter than a token.
    TrackError
        If there is no track of one of the ids.
    StoreError
        If a file cannot be read.

    Notes
    -----
    An item is a dict: ``tokens``, (time, feature) float32 tensor; ``time``, (time,) float64 tensor,
    the centre of each token, s; ``length``, how many tokens are of the track, and not zeros;
    ``id``; and ``label``, if there are any. Where a part begins is drawn from PyTorch's own
    generator: differently in each worker and epoch, and the same again after `torch.manual_seed`
    with as many workers.

    Examples
    --------
    >>> data = FeatureDataset("feats.h5", layer=8, seconds=4.0, labels=genres)  # doctest: +SKIP
    >>> for batch in torch.utils.data.DataLoader(data, 32, shuffle=True):  # doctest: +SKIP
    ...     batch["tokens"], batch["label"]  # (track, time, feature), (track,)
    """

    def __init__(
        self,
        paths: StrPath | Iterable[StrPath],
        layer: int,
        *,
        seconds: float | None = None,
        labels: Labels | None = None,
        ids: Iterable[str] | None = None,
    ) -> None:
        listed = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
        self.paths = [absolute(path_of(path)) for path in listed]
        self.layer, self.labels = layer, labels
        self._open: dict[int, Features] = {}
        self._process = os.getpid()
        self._homes: dict[str, int] = {}
        self._frames: int | None = None
        for number, path in enumerate(self.paths):
            with open_features(path) as features:
                layer_row(features, layer)
                self._frames = None if seconds is None else _frames(features, seconds)
                self._add(number, features)
        self.ids: list[str] = list(self._homes) if ids is None else list(ids)
        self._require_all()

    def _add(self, number: int, features: Features) -> None:
        for track_id in features:
            if track_id in self._homes:
                first = self.paths[self._homes[track_id]]
                raise UsageError(f"track {track_id!r} is in {first} and in {features.path}")
            self._homes[track_id] = number

    def _require_all(self) -> None:
        for track_id in self.ids:
            if track_id not in self._homes:
                self._features(0)[track_id]  # raises
            if isinstance(self.labels, Mapping) and track_id not in self.labels:
                raise UsageError(f"no label of track {track_id!r}; give ids that have one")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        track_id = self.ids[index]
        features = self._features(self._homes[track_id])
        row = layer_row(features, self.layer)
        tokens, time = features.visit(
            track_id, partial(_take, track_id=track_id, row=row, frames=self._frames)
        )
        length = len(tokens)
        if self._frames is not None and length < self._frames:
            tokens, time = _filled(tokens, time, self._frames)
        item: dict[str, Any] = {
            "tokens": torch.from_numpy(tokens),
            "time": torch.from_numpy(time),
            "length": length,
            "id": track_id,
        }
        if self.labels is not None:
            of = self.labels
            item["label"] = of[track_id] if isinstance(of, Mapping) else of(track_id)
        return item

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def _features(self, number: int) -> Features:
        """A file as this process opened it: HDF5 must not share one with its parent."""
        if self._process != os.getpid():
            self._open, self._process = {}, os.getpid()
        if number not in self._open:
            self._open[number] = open_features(self.paths[number])
        return self._open[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


def _frames(features: Features, seconds: float) -> int:
    step = token_step(features)
    if not seconds >= step:
        raise UsageError(f"seconds {seconds}; a token's {step:.3f} s or more is accepted")
    return round(seconds / step)


def _take(group: h5py.Group, track_id: str, row: int, frames: int | None) -> tuple[Array, Array]:
    place, first = group.id, 0
    if b"sequence_tokens" not in place:
        raise UsageError(f"track {track_id!r} has no sequence tokens: they were not kept")
    data = h5d.open(place, b"sequence_tokens")
    _, count, features = data.shape
    if frames is not None:
        first = int(torch.randint(max(0, count - frames) + 1, ()))
        count = min(count - first, frames)
    tokens = read_block(data, (row, first, 0), (1, count, features))[0]
    return tokens, read_block(h5d.open(place, b"time"), (first,), (count,), np.float64)


def _filled(tokens: Array, time: Array, frames: int) -> tuple[Array, Array]:
    """With zeros behind, whose times go on."""
    lacking = frames - len(tokens)
    step = float(time[-1] - time[0]) / (len(time) - 1) if len(time) > 1 else 0.0
    more = time[-1] + step * np.arange(1, lacking + 1)
    return np.pad(tokens, ((0, lacking), (0, 0))), np.concatenate([time, more])
