"""Tokens of one track gathered into arrays, and handed on as a whole, or in bounded pieces."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .._types import Array
from ..errors import TokensError
from ..tokens import MeanToken, Tokens

#: A track with more than this waiting is handed on piece by piece.
HELD_BYTES = 64 << 20

#: Consecutive parts of each growing array, by its name.
Parts = Mapping[str, list[Array]]


def size_of(parts: Parts) -> int:
    """Bytes of all arrays together."""
    return sum(part.nbytes for held in parts.values() for part in held)


@dataclass(frozen=True)
class TrackEnd:
    """What is known of a track once all of it was seen.

    Attributes
    ----------
    mean_token : (layer, feature) array
    checksums : dict of lists of int
        CRC-32 of each array's bytes; one a layer where the first axis is the layer.
    attributes : dict
        What to say of the track.
    """

    mean_token: Array
    checksums: Mapping[str, list[int]]
    attributes: Mapping[str, Any]


class TrackSink(Protocol):
    """Takes a track's arrays: a place in a feature file, or the way to one."""

    def keep(self, array: Array) -> Array:
        """An array that will be handed on later, or a copy of it, to be handed on instead."""

    def append(self, parts: Parts) -> None:
        """Take some of a track that is too long to hold; more will come."""

    def finish(self, parts: Parts, end: TrackEnd) -> None:
        """Take the rest, or all, of a track."""


class TrackBuffer:
    """One track, taken batch by batch.

    Parameters
    ----------
    sink : TrackSink
    dtype : {"float32", "float16"}
        Of tokens and attention.

    Attributes
    ----------
    attributes : dict
        What to say of the track, to be filled in before `finish`.
    """

    def __init__(self, sink: TrackSink, dtype: str) -> None:
        self.attributes: dict[str, Any] = {}
        self._sink, self._dtype = sink, dtype
        self._mean = MeanToken()
        self._parts: dict[str, list[Array]] = {}
        self._checksums: dict[str, list[int]] = {}
        self._held_bytes = 0

    def add(self, tokens: Tokens) -> None:
        """Take the next windows' tokens.

        Raises
        ------
        TokensError
            If they are not finite, or beyond the type's range.
        """
        self._mean.add(tokens)
        arrays = {
            "class_token": tokens.class_token,
            "sequence_tokens": tokens.sequence_tokens,
            "attention": tokens.attention,
        }
        for name, array in arrays.items():
            if array is not None:
                self._hold(name, self._stored(array))
        self._hold("time", tokens.time)
        self._hold("window_start", tokens.window_start)
        if self._held_bytes > HELD_BYTES:
            self._sink.append(self._take())

    def finish(self) -> None:
        """Hand on what is held, and what is known of the whole."""
        mean = self._stored(self._mean.value)
        self._checksums["mean_token"] = checksums(mean)
        self._sink.finish(self._take(), TrackEnd(mean, self._checksums, self.attributes))

    def _stored(self, array: Array) -> Array:
        try:
            with np.errstate(over="raise"):
                return array.astype(self._dtype, copy=False)
        except FloatingPointError:
            raise TokensError(
                f"the model gives numbers up to {np.abs(array).max():.4g}, beyond the "
                f"{np.finfo(self._dtype).max:.0f} of {self._dtype}; use float32"
            ) from None

    def _hold(self, name: str, array: Array) -> None:
        array = self._sink.keep(array)
        self._parts.setdefault(name, []).append(array)
        self._checksums[name] = checksums(array, self._checksums.get(name))
        self._held_bytes += array.nbytes

    def _take(self) -> Parts:
        parts, self._parts, self._held_bytes = self._parts, {}, 0
        return parts


def checksums(array: Array, before: list[int] | None = None) -> list[int]:
    """CRC-32 of an array's bytes, a layer each unless it has one axis; going on from `before`."""
    rows = [array] if array.ndim == 1 else list(array)
    starts = before or [0] * len(rows)
    return [
        zlib.crc32(np.ascontiguousarray(row).data, start)
        for row, start in zip(rows, starts, strict=True)
    ]
