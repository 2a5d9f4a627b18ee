"""Features, as they are read: by track, layer and time range."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from .._types import Array
from ..audio_warnings import AudioWarning
from ..errors import StoreError
from .stored_text import parse_warnings
from .index import Row

_F = TypeVar("_F", bound="Features")
_T = TypeVar("_T")


class Track:
    """One track of open features; arrays are read when they are asked for.

    It can be pickled, and then opens its features again by their path. Every method raises
    `StoreError` once they were closed.

    Attributes
    ----------
    id : str
        Its path below the input folder.
    layers : tuple of int
        The layers kept.
    attributes : dict
        ``source``, ``size``, ``mtime_ns``, ``duration`` (s), ``sample_rate`` (Hz), ``channels``,
        and ``warnings`` where there are any.
    """

    def __init__(self, track_id: str, features: Features) -> None:
        self.id, self._features = track_id, features
        self.layers, self.attributes = self._read(
            lambda group: (tuple(int(layer) for layer in group["layer"]), plain(group.attrs))
        )

    @property
    def group(self) -> h5py.Group:
        """The track as h5py has it: until a run writes the file, and something else is read."""
        return self._read(lambda group: group)

    def _read(self, take: Callable[[h5py.Group], _T]) -> _T:
        return self._features.read(self.id, take)

    @property
    def warnings(self) -> list[AudioWarning]:
        """What looked wrong with the audio."""
        return parse_warnings(self.attributes.get("warnings", ()))

    @property
    def duration(self) -> float:
        """Length of what was decoded, s."""
        return float(self.attributes["duration"])

    def time(self, start: float | None = None, stop: float | None = None) -> Array:
        """Centres of the tokens from `start` up to, not including, `stop` (s): (time,) float64."""
        return self._read(lambda group: group["time"][_range(group, start, stop)])

    def sequence_tokens(
        self, layer: int, start: float | None = None, stop: float | None = None
    ) -> Array:
        """Sequence tokens of a layer, (time, feature), of the same range as `time` gives."""
        row = self._index(layer)
        return self._read(lambda group: group["sequence_tokens"][row, _range(group, start, stop)])

    def class_token(self, layer: int) -> Array:
        """Class tokens of a layer, (window, feature)."""
        return self._layer("class_token", layer)

    def mean_token(self, layer: int) -> Array:
        """Mean of a layer's class and sequence tokens, (feature,)."""
        return self._layer("mean_token", layer)

    def window_start(self) -> Array:
        """Centre of each window's first frame, s: (window,) float64."""
        return self._read(lambda group: group["window_start"][:])

    def attention(self, layer: int) -> Array:
        """Attention of a layer: (window, head, query, key), or (window, head, key).

        Raises
        ------
        StoreError
            If the file holds none, or not this layer.
        """
        if self._read(lambda group: "attention" not in group):
            raise StoreError(f"no attention in {self._features.path}")
        return self._layer("attention", layer)

    def _layer(self, name: str, layer: int) -> Array:
        row = self._index(layer)
        return self._read(lambda group: group[name][row])

    def _index(self, layer: int) -> int:
        try:
            return self.layers.index(layer)
        except ValueError:
            raise StoreError(f"no layer {layer}; layers {list(self.layers)} were kept") from None


def _range(group: h5py.Group, start: float | None, stop: float | None) -> slice:
    bounds = (-np.inf if start is None else start, np.inf if stop is None else stop)
    first, end = np.searchsorted(group["time"][:], bounds)
    return slice(int(first), int(end))


class Features(Mapping[str, Track]):
    """Features, open for reading: a mapping from track ids to tracks, and a context manager.

    They stay readable while a run adds to them. They can be pickled, with their tracks, and are
    opened again by their path where they are unpickled: in the workers of a data loader, say.

    Attributes
    ----------
    path : Path
    layers : tuple of int
        The layers kept.
    attributes : dict
        What the root says of how they were made: weights, backend, versions.
    config : dict
        Front end, model, windows, and what was asked for.
    """

    path: Path
    _place: str  # absolute: the current folder may be another when it is needed
    layers: tuple[int, ...]
    attributes: dict[str, Any]
    config: dict[str, Any]

    @property
    def failures(self) -> dict[str, str]:
        """Ids of the files that failed, each with the reason.

        One of them may be a track too: made of its file as it was before.
        """
        return {key: str(row["reason"]) for key, row in self.failed().items()}

    @abstractmethod
    def read(self, track_id: str, take: Callable[[h5py.Group], _T]) -> _T:
        """What `take` gives of a track's group, all of it at one commit.

        Raises
        ------
        TrackError
            If there is no such track; it is a KeyError too.
        StoreError
            If it cannot be read, or these features were closed.
        """

    @abstractmethod
    def has(self, track_id: str) -> bool:
        """Whether there is such a track."""

    @abstractmethod
    def files(self, track_ids: Iterable[str]) -> dict[str, str]:
        """The file each of some tracks was read from, as the track says."""

    def __getitem__(self, track_id: str) -> Track:
        return Track(track_id, self)

    def __contains__(self, track_id: object) -> bool:
        return isinstance(track_id, str) and self.has(track_id)

    @abstractmethod
    def index(self) -> dict[str, Row]:
        """What ``/index`` knows of each track, without visiting it."""

    @abstractmethod
    def failed(self) -> dict[str, Row]:
        """What ``/failures`` knows of each file."""

    @abstractmethod
    def close(self) -> None:
        """Close; tracks can no longer be read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._place,)

    def __enter__(self: _F) -> _F:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def plain(attributes: h5py.AttributeManager) -> dict[str, Any]:
    """Attributes as Python's own values."""
    return {
        key: value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
        for key, value in attributes.items()
    }
