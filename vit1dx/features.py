"""Features, as they are read: by track, layer and time range."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from .arrays import Array
from .audio_warnings import AudioWarning
from .errors import StoreError
from .stored_text import parse_warnings
from .tables import Row

_F = TypeVar("_F", bound="Features")


class Track:
    """One track of an open feature file; arrays are read when they are asked for.

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

    def __init__(self, track_id: str, find: Callable[[], h5py.Group]) -> None:
        self.id, self._find = track_id, find
        self.layers = tuple(int(layer) for layer in self.group["layer"])
        self.attributes = plain(self.group.attrs)

    @property
    def group(self) -> h5py.Group:
        """The track as h5py has it."""
        return self._find()

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
        return self.group["time"][self._range(start, stop)]

    def sequence_tokens(
        self, layer: int, start: float | None = None, stop: float | None = None
    ) -> Array:
        """Sequence tokens of a layer, (time, feature), of the same range as `time` gives."""
        return self.group["sequence_tokens"][self._index(layer), self._range(start, stop)]

    def class_token(self, layer: int) -> Array:
        """Class tokens of a layer, (window, feature)."""
        return self.group["class_token"][self._index(layer)]

    def mean_token(self, layer: int) -> Array:
        """Mean of a layer's class and sequence tokens, (feature,)."""
        return self.group["mean_token"][self._index(layer)]

    def window_start(self) -> Array:
        """Centre of each window's first frame, s: (window,) float64."""
        return self.group["window_start"][:]

    def attention(self, layer: int) -> Array:
        """Attention of a layer: (window, head, query, key), or (window, head, key).

        Raises
        ------
        StoreError
            If the file holds none, or not this layer.
        """
        if "attention" not in self.group:
            raise StoreError(f"no attention in {self.group.file.filename}")
        return self.group["attention"][self._index(layer)]

    def _index(self, layer: int) -> int:
        try:
            return self.layers.index(layer)
        except ValueError:
            raise StoreError(f"no layer {layer}; layers {list(self.layers)} were kept") from None

    def _range(self, start: float | None, stop: float | None) -> slice:
        bounds = (-np.inf if start is None else start, np.inf if stop is None else stop)
        first, end = np.searchsorted(self.group["time"][:], bounds)
        return slice(int(first), int(end))


class Features(Mapping[str, Track]):
    """Features, open for reading: a mapping from track ids to tracks, and a context manager.

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
    layers: tuple[int, ...]
    attributes: dict[str, Any]
    config: dict[str, Any]

    @property
    def failures(self) -> dict[str, str]:
        """Ids of the files that gave no track, each with the reason."""
        return {key: str(row["reason"]) for key, row in self.failed().items()}

    @abstractmethod
    def index(self) -> dict[str, Row]:
        """What ``/index`` knows of each track, without visiting it."""

    @abstractmethod
    def failed(self) -> dict[str, Row]:
        """What ``/failures`` knows of each file."""

    @abstractmethod
    def close(self) -> None:
        """Close; tracks can no longer be read."""

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
