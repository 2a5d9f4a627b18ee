"""The feature file, written: a group a track, a dimension scale on each axis of each array.

The README describes the format. A track is written when all of it is there, and marked complete by
its last attribute; only a track too long to hold grows on disk meanwhile.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from . import __version__
from .arrays import Array
from .backend import Backend
from .config import Config
from .errors import StoreError, WriteError
from .request import Request
from .tokens import MeanToken, Tokens
from .weights import WeightsInfo

FORMAT = "vit1dx-features"
FORMAT_VERSION = 1

#: Axes of a track's arrays; each has a dimension scale of this name in the track's group or above.
AXES = {
    "class_token": ("layer", "window", "feature"),
    "sequence_tokens": ("layer", "time", "feature"),
    "mean_token": ("layer", "feature"),
    "time": ("time",),
    "window_start": ("window",),
}
ATTENTION_AXES = {
    "class": ("layer", "window", "head", "key"),
    "full": ("layer", "window", "head", "query", "key"),
}
SHARED_SCALES = ("feature", "head")
GROWING = ("window", "time")

#: A track with more than this waiting is no longer held in memory.
HELD_BYTES = 64 << 20
#: Size of the chunks of an array that grows on disk; others are contiguous, layer after layer.
CHUNK_BYTES = 256 << 10

_REFERENCES = h5py.vlen_dtype(h5py.ref_dtype)


@dataclass(frozen=True)
class Header:
    """What a feature file says of how it was made.

    Attributes
    ----------
    weights : WeightsInfo
    config : Config
        The weights' own, with the overlap that was asked for.
    request : Request
    backend : Backend
        What really ran.
    dtype : {"float32", "float16"}
        Of the tokens and the attention.
    """

    weights: WeightsInfo
    config: Config
    request: Request
    backend: Backend
    dtype: str = "float32"

    def attributes(self) -> dict[str, Any]:
        """Attributes of the file's root."""
        asked = {**vars(self.request), "dtype": self.dtype}
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "generator": f"vit1dx {__version__}",
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "model_name": self.weights.name,
            "model_sha256": self.weights.sha256,
            "model_trained": np.int8(self.weights.trained),
            "backend": self.backend.name,
            "backend_version": self.backend.version,
            "device": self.backend.device,
            "precision": self.weights.precision,
            "config": json.dumps({**self.config.to_dict(), "request": asked}),
        }


class FeatureWriter:
    """A feature file being written; a context manager.

    It grows under another name, ``OUT.partial``, and takes its own when it is closed, also after an
    error: what was finished is kept.

    Parameters
    ----------
    path : path
        Where the file will be.
    header : Header
    overwrite : bool
        Replace a file that is there.

    Raises
    ------
    StoreError
        If the file is there and not to be replaced, or cannot be made.
    """

    def __init__(
        self, path: str | os.PathLike[str], header: Header, overwrite: bool = False
    ) -> None:
        self.path, self._header = Path(path), header
        self._partial = self.path.with_name(self.path.name + ".partial")
        self._failures: list[tuple[str, str]] = []
        require_writable(self.path, overwrite)
        try:
            # "v108" makes groups compact, and lets attributes outgrow 64 KiB.
            mode, versions = "w" if overwrite else "x", ("v108", "v108")
            self._file = h5py.File(self._partial, mode, libver=versions)
        except OSError as error:
            if not self._partial.exists():
                raise StoreError(f"{self._partial} cannot be made: {error}") from None
            raise StoreError(
                f"{self._partial} is there: another run is writing it, or one was killed; "
                "--overwrite replaces what a killed one left"
            ) from None
        self._file.attrs.update(header.attributes())
        model = header.config.model
        _scale(self._file, "layer", np.array(header.request.layers))
        _scale(self._file, "feature", np.arange(model.dim))
        _scale(self._file, "head", np.arange(model.heads))
        self._tracks = self._file.create_group("tracks")

    @contextmanager
    def track(self, track_id: str) -> Iterator[TrackWriter]:
        """A track to write; nothing of it stays if an exception comes through."""
        writer = TrackWriter(self._tracks, track_id, self._header)
        try:
            yield writer
            with _writing(self._file):
                writer.finish()
        except BaseException:
            writer.discard()
            raise

    def fail(self, track_id: str, reason: str) -> str:
        """Record that a file gave no track, and why; returns the reason as it is recorded."""
        reason = _storable(reason)
        self._failures.append((track_id, reason))
        return reason

    def close(self) -> None:
        """Write the failures and give the file its name.

        Raises
        ------
        WriteError
            If the file cannot be written to its end.
        """
        with _writing(self._file):
            self._write_failures()
            self._file.close()
            with self._partial.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(self._partial, self.path)

    def _write_failures(self) -> None:
        group = self._file.create_group("failures")
        count = _scale(group, "failure", np.arange(len(self._failures)))
        for column, name in enumerate(("id", "reason")):
            values = [failure[column] for failure in self._failures]
            data = group.create_dataset(
                name, (len(values),), h5py.string_dtype(), np.array(values, dtype=object)
            )
            _attach(data, [count])

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.close()
        except WriteError:
            if kind is None:  # otherwise what went wrong first says more
                raise


class TrackWriter:
    """One track of a feature file, taken batch by batch.

    Attributes
    ----------
    attributes : dict
        What to say of the track, to be filled in before `finish`.
    """

    def __init__(self, tracks: h5py.Group, track_id: str, header: Header) -> None:
        self.attributes: dict[str, Any] = {}
        self._tracks, self._id, self._layers = tracks, track_id, header.request.layers
        self._mean = MeanToken()
        axes = {name: AXES[name] for name in AXES if name != "mean_token"}
        if header.request.attention != "none":
            axes["attention"] = ATTENTION_AXES[header.request.attention]
        self._arrays = {name: _Array(name, of, header.dtype) for name, of in axes.items()}
        self._dtype = header.dtype

    def add(self, tokens: Tokens) -> None:
        """Take the next windows' tokens."""
        self._mean.add(tokens)
        for name, array in self._arrays.items():
            array.add(getattr(tokens, name))
        if sum(array.held_bytes for array in self._arrays.values()) > HELD_BYTES:
            with _writing(self._tracks):
                for array in self._arrays.values():
                    array.spill(self._group)

    def finish(self) -> None:
        """Write what is held, then the attributes, ``complete`` last."""
        group = self._group
        data = {name: array.finish(group) for name, array in self._arrays.items()}
        mean = group.create_dataset("mean_token", data=self._mean.value.astype(self._dtype))
        scales = self._scales(group, data)
        for name, array in self._arrays.items():
            if name != "time":
                _attach(data[name], [scales[axis] for axis in array.axes])
        _attach(mean, [scales[axis] for axis in AXES["mean_token"]])
        for name in ("time", "window_start"):
            data[name].attrs["units"] = "s"
        group.attrs.update(self.attributes)
        group.attrs["complete"] = np.int8(1)

    def discard(self) -> None:
        """Remove whatever was written."""
        if "_group" in vars(self):
            del self._tracks[self._id]

    @cached_property
    def _group(self) -> h5py.Group:
        """The track's group, made when there is something to write."""
        return self._tracks.create_group(self._id)

    def _scales(self, group: h5py.Group, data: Mapping[str, h5py.Dataset]) -> dict[str, Any]:
        data["time"].make_scale("time")
        scales = {
            "layer": _scale(group, "layer", np.array(self._layers)),
            "window": _scale(group, "window", np.arange(len(data["window_start"]))),
            "time": data["time"],
            **{name: group.file[name] for name in SHARED_SCALES},
        }
        if "attention" in data:
            axes = self._arrays["attention"].axes
            for name in set(axes).intersection(("query", "key")):
                size = data["attention"].shape[axes.index(name)]
                scales[name] = _scale(group, name, np.arange(size))
        return scales


class _Array:
    """One array of a track: held until the track ends, or growing on disk if that is too much."""

    def __init__(self, name: str, axes: Sequence[str], dtype: str) -> None:
        self.name, self.axes = name, tuple(axes)
        self.held_bytes = 0
        self._axis = next(i for i, axis in enumerate(axes) if axis in GROWING)
        self._dtype = dtype if "layer" in axes else "float64"
        self._held: list[Array] = []
        self._data: h5py.Dataset | None = None

    def add(self, part: Array) -> None:
        part = part.astype(self._dtype, copy=False)
        self.held_bytes += part.nbytes
        self._held.append(part)

    def spill(self, group: h5py.Group) -> None:
        """Move what is held to the end of a data set that can grow."""
        shape = self._shape()
        if self._data is None:
            most = [None if i == self._axis else n for i, n in enumerate(shape)]
            self._data = self._create(group, shape, maxshape=most, chunks=self._chunks(shape))
            self._write(0)
        else:
            before = self._data.shape[self._axis]
            self._data.resize(before + shape[self._axis], axis=self._axis)
            self._write(before)

    def finish(self, group: h5py.Group) -> h5py.Dataset:
        """Write what is held; contiguously, if that is all there is."""
        if self._data is not None and self._held:
            self.spill(group)
        elif self._data is None:
            self._data = self._create(group, self._shape())
            self._write(0)
        return self._data

    def _create(self, group: h5py.Group, shape: Sequence[int], **layout: Any) -> h5py.Dataset:
        return group.create_dataset(self.name, shape, self._dtype, **layout)

    def _shape(self) -> tuple[int, ...]:
        grown = sum(part.shape[self._axis] for part in self._held)
        return tuple(grown if i == self._axis else n for i, n in enumerate(self._held[0].shape))

    def _chunks(self, shape: Sequence[int]) -> tuple[int, ...]:
        """One layer at a time, so that a layer can be read alone."""
        chunk = [1 if axis == "layer" else n for axis, n in zip(self.axes, shape, strict=True)]
        chunk[self._axis] = 1
        row = int(np.prod(chunk)) * np.dtype(self._dtype).itemsize
        chunk[self._axis] = max(1, CHUNK_BYTES // row)
        return tuple(chunk)

    def _write(self, at: int) -> None:
        assert self._data is not None
        for part in self._held:
            end = at + part.shape[self._axis]
            self._data[(slice(None),) * self._axis + (slice(at, end),)] = part
            at = end
        self._held, self.held_bytes = [], 0


@contextmanager
def _writing(place: h5py.Group) -> Iterator[None]:
    """Turn what HDF5 raises when a disk is full, or gone, into a `WriteError`."""
    name = place.file.filename
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise WriteError(f"{name} cannot be written: {error}") from error


def require_writable(path: Path, overwrite: bool) -> None:
    """Raise `StoreError` unless a feature file can be made at `path`."""
    if path.is_dir():
        raise StoreError(f"{path} is a folder; the name of a file is needed")
    if path.exists() and not overwrite:
        raise StoreError(f"{path} is there already; --overwrite replaces it")
    if not path.parent.is_dir():
        raise StoreError(f"no folder {path.parent} to write {path.name} into")
    if not os.access(path.parent, os.W_OK):
        raise StoreError(f"no permission to write into {path.parent}")


def _storable(text: str) -> str:
    """Text that HDF5 takes, on one line: without NUL or what is not UTF-8."""
    words = " ".join(text.replace("\0", " ").split())
    return words.encode("utf-8", "backslashreplace").decode()


def _scale(group: h5py.Group, name: str, values: Array) -> h5py.Dataset:
    data = group.create_dataset(name, data=values)
    data.make_scale(name)
    return data


def _attach(data: h5py.Dataset, scales: Sequence[h5py.Dataset]) -> None:
    """Name the axes of `data`.

    By hand, because `dims[i].attach_scale` also lists `data` in the scale: for a scale that all
    tracks share the list makes each track dearer than the one before. Readers do not need it.
    """
    references = np.empty(len(scales), dtype=object)
    for axis, scale in enumerate(scales):
        references[axis] = np.array([scale.ref], dtype=h5py.ref_dtype)
    data.attrs.create("DIMENSION_LIST", references, dtype=_REFERENCES)
