"""What is probed: vectors of tracks, and frames over time, by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from .._types import Array
from ..errors import UsageError
from ..remote import AnyPath
from ..store.folder import open_features
from ..store.reader import Features

#: What of a track's tokens: means of class tokens, of all tokens, both side by side; single ones.
Tokens: TypeAlias = Literal["class", "mean", "class+mean", "sequence"]
WHOLE: tuple[Tokens, ...] = ("class", "mean", "class+mean")


class Feature(Protocol):
    """Something to probe.

    Attributes
    ----------
    name : str
    layer : int or None
        Of tokens.
    tokens : str
        What of them; empty for what is no tokens.
    """

    @property
    def name(self) -> str: ...

    @property
    def layer(self) -> int | None: ...

    @property
    def tokens(self) -> str: ...

    def vectors(self, ids: Sequence[str]) -> Array:
        """A vector a track, (track, dim) float32."""
        ...

    def frames(self, ids: Sequence[str]) -> Iterator[tuple[Array, Array]]:
        """Frames of tracks, one after the other: (time, dim) float32, and their centres (s)."""
        ...


@dataclass(frozen=True)
class TokenFeature:
    """Tokens of a layer.

    Attributes
    ----------
    path : Path
        Of the features.
    layer : int
    tokens : {"class", "mean", "class+mean", "sequence"}
    """

    path: AnyPath
    layer: int
    tokens: Tokens

    @property
    def name(self) -> str:
        """Such as ``"layer 4, mean"``."""
        return f"layer {self.layer}, {self.tokens}"

    def vectors(self, ids: Sequence[str]) -> Array:
        """See `Feature`."""
        with open_features(self.path) as features:
            kinds: list[Any] = self.tokens.split("+")
            parts = [features.matrix(self.layer, kind, ids)[0] for kind in kinds]
        return np.concatenate(parts, axis=1)

    def frames(self, ids: Sequence[str]) -> Iterator[tuple[Array, Array]]:
        """See `Feature`."""
        with open_features(self.path) as features:
            for track_id in ids:
                track = features[track_id]
                tokens = track.read("sequence_tokens", layer=self.layer)
                yield np.asarray(tokens, np.float32), np.asarray(track.read("time"))


@dataclass(frozen=True)
class Constant:
    """Nothing at all: what a probe makes of it is what is most frequent, or the mean."""

    name: str = "majority"
    layer: int | None = None
    tokens: str = ""
    path: AnyPath | None = None

    def vectors(self, ids: Sequence[str]) -> Array:
        """See `Feature`."""
        return np.zeros((len(ids), 1), np.float32)

    def frames(self, ids: Sequence[str]) -> Iterator[tuple[Array, Array]]:
        """See `Feature`; on the times of a feature file's tokens."""
        assert self.path is not None
        with open_features(self.path) as features:
            for track_id in ids:
                time = np.asarray(features[track_id].read("time"))
                yield np.zeros((len(time), 1), np.float32), time


def kept(features: Features, track_id: str, tokens: Tokens) -> bool:
    """Whether a track has tokens; a mean of all can be made of single ones."""
    arrays = set(features.visit(track_id, list))
    needed = {"class": {"class_token"}, "sequence": {"sequence_tokens"}}
    needed["mean"] = {"mean_token"} if "mean_token" in arrays else {"sequence_tokens"}
    return all(needed[part] <= arrays for part in tokens.split("+"))


def require_kept(features: Features, track_id: str, tokens: Tokens) -> None:
    """Raise `UsageError` unless a track has tokens."""
    if not kept(features, track_id, tokens):
        raise UsageError(f"{features.path} has no {tokens} tokens; extract keeps them by --tokens")


class HeldFrames:
    """Frames of tracks for several passes, kept in memory as far as they fit.

    Parameters
    ----------
    feature : Feature
    ids : sequence of str
    most_bytes : float
    """

    def __init__(self, feature: Feature, ids: Sequence[str], most_bytes: float) -> None:
        self._feature, self._ids, self._left = feature, list(ids), most_bytes
        self._held: list[tuple[Array, Array]] = []
        self._is_full = False

    def passes(self) -> Iterator[tuple[Array, Array]]:
        """All tracks' frames, in order."""
        yield from list(self._held)
        first = len(self._held)
        for values, time in self._feature.frames(self._ids[first:]):
            self._left -= values.nbytes
            self._is_full = self._is_full or self._left < 0
            if not self._is_full:
                self._held.append((values, time))
            yield values, time


def require_tracks(features: Features) -> list[str]:
    """Ids of the tracks.

    Raises
    ------
    UsageError
        If there are none.
    """
    ids = list(features)
    if not ids:
        raise UsageError(f"no track in {features.path}")
    return ids
