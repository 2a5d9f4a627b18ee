"""Features as rows of a table: whose, from when to when, and a vector for each layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import h5py
import numpy as np

from .._types import Array
from ..config import MelConfig
from ..errors import UsageError
from ..store.matrix import (
    about,
    id_batches,
    layer_row,
    source_and_span,
    token_step,
    vectors_at_once,
)
from ..store.reader import Features

What = Literal["mean", "class", "sequence"]
#: The array of a track behind each kind of rows, and the one that gives their instants.
ARRAYS: dict[What, tuple[str, str | None]] = {
    "mean": ("mean_token", None),
    "class": ("class_token", "window_start"),
    "sequence": ("sequence_tokens", "time"),
}


@dataclass(frozen=True)
class Rows:
    """Some consecutive rows.

    Attributes
    ----------
    ids, files : sequence of str
        Of each row, its track and the audio file that was read for it.
    start, end : (row,) float64 array
        What the vector stands for, s of the file: a track, a window, a frame or a bin of them.
    vectors : (row, layer, feature) float32 array
    """

    ids: Sequence[str]
    files: Sequence[str]
    start: Array
    end: Array
    vectors: Array


def chosen_layers(features: Features, layers: Sequence[int] | None) -> tuple[int, ...]:
    """Layers asked for, all by default.

    Raises
    ------
    UsageError
        If one was not kept.
    """
    asked = features.layers if layers is None else tuple(dict.fromkeys(layers))
    for layer in asked:
        layer_row(features, layer)
    return asked


def rows_of(features: Features, what: What, layers: Sequence[int]) -> Iterator[Rows]:
    """All rows, track after track in the order of ids, in bounded memory.

    Raises
    ------
    UsageError
        If the tokens were not kept.
    """
    if what == "mean":
        yield from _means(features, layers)
    else:
        yield from _merged(_tokens(features, what, layers), vectors_at_once(features, len(layers)))


def _merged(parts: Iterable[Rows], least: int) -> Iterator[Rows]:
    """The same rows, at least so many at a time: tables are slow at few."""
    held: list[Rows] = []
    count = 0
    for part in parts:
        held.append(part)
        count += len(part.ids)
        if count >= least:
            yield _joined(held)
            held, count = [], 0
    if held:
        yield _joined(held)


def _joined(parts: Sequence[Rows]) -> Rows:
    return Rows(
        [track_id for part in parts for track_id in part.ids],
        [file for part in parts for file in part.files],
        np.concatenate([part.start for part in parts]),
        np.concatenate([part.end for part in parts]),
        np.concatenate([part.vectors for part in parts]),
    )


def _means(features: Features, layers: Sequence[int]) -> Iterator[Rows]:
    for ids in id_batches(features, len(layers)):
        vectors = [features.matrix(layer, ids=ids)[0] for layer in layers]
        known = about(features, ids)
        yield Rows(
            ids,
            [known[track_id][0] for track_id in ids],
            np.array([known[track_id][1] for track_id in ids]),
            np.array([known[track_id][2] for track_id in ids]),
            np.stack(vectors, axis=1),
        )


def _tokens(features: Features, what: What, layers: Sequence[int]) -> Iterator[Rows]:
    array, clock = ARRAYS[what]
    step = vectors_at_once(features, len(layers))
    places = [layer_row(features, layer) for layer in layers]
    for track_id in features:
        source, first, last, instants = features.visit(
            track_id, partial(_header, track_id=track_id, array=array, clock=clock)
        )
        start, end = _spans(features, what, instants, first, last)
        for place in range(0, len(instants), step):
            part = slice(place, place + step)
            vectors = features.visit(
                track_id, partial(_vectors, array=array, places=places, part=part)
            )
            count = len(vectors)
            yield Rows([track_id] * count, [source] * count, start[part], end[part], vectors)


def _header(
    group: h5py.Group, track_id: str, array: str, clock: str | None
) -> tuple[str, float, float, Array]:
    if array not in group:
        raise UsageError(f"track {track_id!r} has no {array}: they were not kept")
    return (*source_and_span(group), group[clock][:])


def _vectors(group: h5py.Group, array: str, places: Sequence[int], part: slice) -> Array:
    """(row, layer, feature), a layer read at a time: they lie one after the other."""
    data = group[array]
    return np.stack([np.asarray(data[place, part], np.float32) for place in places], axis=1)


def _spans(
    features: Features, what: What, instants: Array, first: float, last: float
) -> tuple[Array, Array]:
    """When each window or bin begins and ends; or what lies nearest to each frame.

    Nothing reaches out of its track, which is from `first` to `last`, s.
    """
    if what == "class":
        rate = MelConfig(**features.config["mel"]).frame_rate
        start, length = instants, features.config["window"]["frames"] / rate
    elif (length := features.config["request"].get("pool")) is not None:
        start = first + np.floor((instants - first) / length) * length
    else:
        length = token_step(features)
        start = instants - length / 2
    return np.maximum(start, first), np.maximum(np.minimum(start + length, last), instants)
