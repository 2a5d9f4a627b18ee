"""The feature file, read: by track, layer and time range."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .arrays import Array
from .errors import StoreError
from .header import FORMAT, FORMAT_VERSION
from .journal import read_journal
from .journaled import JournaledFile
from .lock import lock_path
from .tables import Row, read_table

#: A file that a run is writing is tried again: for some milliseconds of each second, while a commit
#: is applied, it is between two states.
ATTEMPTS, PAUSE = 5, 0.05  # s


class Track:
    """One track of an open feature file; arrays are read when they are asked for.

    Attributes
    ----------
    id : str
        Its path below the input folder.
    layers : tuple of int
        The layers kept.
    attributes : dict
        ``source``, ``size``, ``mtime_ns``, ``duration`` (s), ``sample_rate`` (Hz), ``channels``.
    """

    def __init__(self, track_id: str, group: h5py.Group) -> None:
        self.id, self._group = track_id, group
        self.layers = tuple(int(layer) for layer in group["layer"])
        self.attributes: dict[str, Any] = {
            key: value.item() if isinstance(value, np.generic) else value
            for key, value in group.attrs.items()
        }

    @property
    def duration(self) -> float:
        """Length of what was decoded, s."""
        return float(self.attributes["duration"])

    def time(self, start: float | None = None, stop: float | None = None) -> Array:
        """Centres of the tokens from `start` up to, not including, `stop` (s): (time,) float64."""
        return self._group["time"][self._range(start, stop)]

    def sequence_tokens(
        self, layer: int, start: float | None = None, stop: float | None = None
    ) -> Array:
        """Sequence tokens of a layer, (time, feature), of the same range as `time` gives."""
        return self._group["sequence_tokens"][self._index(layer), self._range(start, stop)]

    def class_token(self, layer: int) -> Array:
        """Class tokens of a layer, (window, feature)."""
        return self._group["class_token"][self._index(layer)]

    def mean_token(self, layer: int) -> Array:
        """Mean of a layer's class and sequence tokens, (feature,)."""
        return self._group["mean_token"][self._index(layer)]

    def window_start(self) -> Array:
        """Centre of each window's first frame, s: (window,) float64."""
        return self._group["window_start"][:]

    def attention(self, layer: int) -> Array:
        """Attention of a layer: (window, head, query, key), or (window, head, key).

        Raises
        ------
        StoreError
            If the file holds none, or not this layer.
        """
        if "attention" not in self._group:
            raise StoreError(f"no attention in {self._group.file.filename}")
        return self._group["attention"][self._index(layer)]

    def _index(self, layer: int) -> int:
        try:
            return self.layers.index(layer)
        except ValueError:
            raise StoreError(f"no layer {layer}; layers {list(self.layers)} were kept") from None

    def _range(self, start: float | None, stop: float | None) -> slice:
        bounds = (-np.inf if start is None else start, np.inf if stop is None else stop)
        first, end = np.searchsorted(self._group["time"][:], bounds)
        return slice(int(first), int(end))


class FeatureFile(Mapping[str, Track]):
    """A feature file, open for reading: a mapping from track ids to tracks, and a context manager.

    Parameters
    ----------
    path : path
    damaged : bool
        Open a file that was cut too, to see what of it is sound.

    Attributes
    ----------
    path : Path
    layers : tuple of int
        The layers kept.
    attributes : dict
        What the file says of how it was made: weights, backend, versions.
    config : dict
        Front end, model, windows, and what was asked for.
    """

    def __init__(self, path: str | os.PathLike[str], damaged: bool = False) -> None:
        self.path = Path(path)
        self._raw: JournaledFile | None = None
        try:
            self._file = h5py.File(self._committed(damaged), "r")
        except FileNotFoundError:
            raise StoreError(f"no feature file at {path}") from None
        except OSError as error:
            hint = "; 'vit1dx repair' keeps what is sound" if "truncated file" in str(error) else ""
            raise StoreError(f"{path} cannot be opened as HDF5: {error}{hint}") from None
        try:
            self.attributes: dict[str, Any] = {
                key: value.item() if isinstance(value, np.generic) else value
                for key, value in self._file.attrs.items()
            }
            self._require_known_format()
            for value in self.attributes.values():
                str(value).encode()  # HDF5 guards most of a file by checksums, but not text
            self.layers = tuple(int(layer) for layer in self._file["layer"])
            self.config: dict[str, Any] = json.loads(self.attributes["config"])
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            self.close()
            raise StoreError(f"{path} is damaged at its root: {error}") from None

    def _committed(self, damaged: bool) -> Path | JournaledFile:
        """The file, or where a commit was cut short, the file as that makes it."""
        if read_journal(self.path) is None and not damaged:
            return self.path
        self._raw = JournaledFile(self.path, writable=False, damaged=damaged)
        return self._raw

    @property
    def root(self) -> h5py.File:
        """The file as h5py has it."""
        return self._file

    @property
    def cut(self) -> str:
        """How a damaged file was cut; empty if it was not, or not opened as one."""
        return self._raw.cut if self._raw else ""

    def _require_known_format(self) -> None:
        kind, version = (self.attributes.get(key) for key in ("format", "format_version"))
        if kind != FORMAT or version != FORMAT_VERSION:
            self.close()
            raise StoreError(
                f"{self.path} is of format {kind!r}, version {version!r}; "
                f"{FORMAT!r}, version {FORMAT_VERSION} is needed"
            )

    @property
    def failures(self) -> dict[str, str]:
        """Ids of the files that gave no track, each with the reason."""
        return {key: str(row["reason"]) for key, row in self.failed().items()}

    def index(self) -> dict[str, Row]:
        """What ``/index`` knows of each track, without visiting it."""
        return self._table("index")

    def failed(self) -> dict[str, Row]:
        """What ``/failures`` knows of each file."""
        return self._table("failures")

    def _table(self, name: str) -> dict[str, Row]:
        try:
            return read_table(self._file[name])
        except (KeyError, OSError, ValueError) as error:
            raise StoreError(
                f"/{name} of {self.path} cannot be read ({error}): it is damaged, or of another "
                "version of vit1dx; 'vit1dx verify' says more, 'extract --overwrite' replaces it"
            ) from None

    def __getitem__(self, track_id: str) -> Track:
        group = self._file["tracks"].get(track_id)
        if not _is_track(group):
            raise KeyError(track_id)
        return Track(track_id, group)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._file["index/id"].asstr()[:].tolist()))

    def __len__(self) -> int:
        return len(self._file["index/id"])

    def close(self) -> None:
        """Close the file; its tracks can no longer be read."""
        self._file.close()
        if self._raw is not None:
            self._raw.close()

    def __enter__(self) -> FeatureFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_features(path: str | os.PathLike[str]) -> FeatureFile:
    """Open a feature file; also ``vit1dx.open``.

    Raises
    ------
    StoreError
        If there is no such file, or it is not a feature file of a known version.

    Examples
    --------
    >>> with vit1dx.open("feats.h5") as features:  # doctest: +SKIP
    ...     for track in features.values():
    ...         tokens = track.sequence_tokens(layer=8, start=10.0, stop=20.0)
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return FeatureFile(path)
        except StoreError:
            if not lock_path(Path(path)).exists():
                raise
            time.sleep(PAUSE)
    return FeatureFile(path)


def _is_track(item: object) -> bool:
    return isinstance(item, h5py.Group) and "complete" in item.attrs
