"""The feature file, written: a group a track, a dimension scale on each axis of each array.

The README describes the format. Everything goes through `vit1dx.journal`, so that a reader meets
only whole tracks, and a kill costs only those that were not committed yet. A track is built outside
the tree and linked into it when all of it is there.
"""

from __future__ import annotations

import datetime
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from . import __version__
from .axes import add_scale, attach
from .backend import BackendInfo
from .buffer import Parts, TrackBuffer, TrackEnd
from .config import Config
from .errors import AudioError, StoreError, WriteError
from .journal import JournaledFile, recover, sync_folder
from .request import Request
from .tables import FAILURES, INDEX, Table, create_table
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

#: Size of the chunks of an array that grows on disk; others are contiguous, layer after layer.
CHUNK_BYTES = 256 << 10
#: What was finished is committed at the latest after so many seconds, or so many changed bytes.
COMMIT_SECONDS, COMMIT_BYTES = 0.5, 32 << 20
#: "v108" makes groups compact, and lets attributes outgrow 64 KiB.
VERSIONS = ("v108", "v108")


@dataclass(frozen=True)
class Header:
    """What a feature file says of how it was made.

    Attributes
    ----------
    weights : WeightsInfo
    config : Config
        The weights' own, with the overlap that was asked for.
    request : Request
    dtype : {"float32", "float16"}
        Of the tokens and the attention.
    backend : BackendInfo or None
        What really ran; to be known when a file is made.
    """

    weights: WeightsInfo
    config: Config
    request: Request
    dtype: str = "float32"
    backend: BackendInfo | None = None

    def attributes(self) -> dict[str, Any]:
        """Attributes of the file's root."""
        assert self.backend is not None, "whoever makes a file has asked what runs"
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
            "config": json.dumps(config_dict(self.config, self.request, self.dtype)),
            "finished": np.int8(0),
        }


def config_dict(config: Config, request: Request, dtype: str) -> dict[str, Any]:
    """The root's attribute ``config``, before it is JSON."""
    return {**config.to_dict(), "request": {**vars(request), "dtype": dtype}}


class FeatureWriter:
    """A feature file being written, or gone on with; a context manager.

    Parameters
    ----------
    path : path
    header : Header, optional
        Of the file to be made; one that is there goes on as it was made.
    overwrite : bool
        Replace a file that is there.

    Attributes
    ----------
    index, failures : Table
        The tracks, and the files that gave none, with what is known of their files.
    finished : bool
        Whether the run came to its end, as the root will say once the file is closed.

    Raises
    ------
    StoreError
        If the file cannot be made, or one that is there cannot be gone on with.
    """

    def __init__(
        self, path: str | os.PathLike[str], header: Header | None = None, overwrite: bool = False
    ) -> None:
        self.path = Path(path)
        require_writable(self.path)
        try:
            if self.path.exists():
                recover(self.path)
            if header and (overwrite or not self.path.exists()):
                create(self.path, header.attributes())
            self._raw = JournaledFile(self.path, writable=True)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written: {error.strerror or error}") from None
        try:
            self._file = h5py.File(self._raw, "r+", libver=VERSIONS)
            self.index, self.failures = (Table(self._file[n]) for n in ("index", "failures"))
            self._tracks = self._file["tracks"]
            asked = json.loads(self._file.attrs["config"])["request"]
            self._request = Request(tuple(asked["layers"]), asked["attention"])
            self._dtype: str = asked["dtype"]
        except (OSError, KeyError) as error:
            self._raw.close()
            raise StoreError(
                f"{self.path} is no feature file ({error}); give another -o, or --overwrite to "
                "replace it"
            ) from None
        self.finished = True
        self._waits = False
        self._next_commit = time.monotonic() + COMMIT_SECONDS
        if self._file.attrs["finished"]:
            self._file.attrs["finished"] = np.int8(0)

    @contextmanager
    def track(self, track_id: str) -> Iterator[TrackBuffer]:
        """A track to write; nothing of it stays if an exception comes through."""
        buffer = TrackBuffer(self.begin(track_id), self._dtype)
        yield buffer
        buffer.finish()

    def begin(self, track_id: str) -> TrackWriter:
        """A place for a track; it is in the file when its `finish` was called.

        Raises
        ------
        AudioError
            If there is no place for it.
        """
        self._require_place(track_id)
        return TrackWriter(self, track_id, self._request)

    def fail(self, track_id: str, reason: str, size: int = 0, mtime_ns: int = 0) -> str:
        """Record that a file gave no track, and why; returns the reason as it is recorded."""
        reason = _storable(reason)
        self.failures.put(track_id, reason=reason, size=size, mtime_ns=mtime_ns)
        if track_id in self.index:  # it was made of what the file held before
            with self.writing():
                del self._tracks[track_id]
            self.index.remove(track_id)
        self._waits = True
        return reason

    def commit(self) -> None:
        """Make what was finished last.

        Raises
        ------
        WriteError
            If that cannot be; what was committed before is kept.
        """
        began = time.monotonic()
        with self.writing():
            self.index.write()
            self.failures.write()
            self._file.flush()
            self._raw.commit()
        took = time.monotonic() - began
        self._next_commit = time.monotonic() + max(COMMIT_SECONDS, 10 * took)
        self._waits = False

    def commit_if_due(self) -> None:
        """Commit if the last time is a while ago and something waits."""
        late = self._waits and time.monotonic() >= self._next_commit
        if late or self._raw.held_bytes > COMMIT_BYTES:
            self.commit()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what goes wrong when a disk is full, or gone, into a `WriteError`."""
        try:
            yield
        except Exception as error:
            if self._raw.error is None and not isinstance(error, (OSError, RuntimeError)):
                raise
            raise self._write_error(self._raw.error or error) from error
        if self._raw.error is not None:
            raise self._write_error(self._raw.error)

    def _write_error(self, error: Exception) -> WriteError:
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return WriteError(
            f"{self.path} cannot be written: {words}; what was finished is kept, and the same "
            "command goes on from there"
        )

    def link(self, track_id: str, group: h5py.Group, attributes: Mapping[str, Any]) -> None:
        """Put a track that is whole into the tree, in the place of one of that id."""
        if track_id in self.index:
            del self._tracks[track_id]
        self._tracks[track_id] = group
        known = {"size": 0, "mtime_ns": 0, "duration": 0.0, "sha256": ""}
        self.index.put(track_id, **{key: attributes.get(key, known[key]) for key in known})
        self.failures.remove(track_id)
        self._waits = True

    def new_group(self) -> h5py.Group:
        """A group outside the tree: gone, unless it is linked."""
        return self._file.create_group(None)

    def close(self) -> None:
        """Commit and close the file.

        Raises
        ------
        WriteError
            If the last commit cannot be.
        """
        try:
            with self.writing():
                self._file.attrs["finished"] = np.int8(self.finished)
            self.commit()
            with self.writing():
                self._file.close()
                self._raw.commit()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the file as it was last committed."""
        self._raw.abandon()
        with suppress(Exception):  # HDF5 cannot know that what it writes goes nowhere
            self._file.close()
        self._raw.close()

    def _require_place(self, track_id: str) -> None:
        """A track is a group; nothing else may lie in it, nor may its name mean another group."""
        parts = track_id.split("/")
        if not all(part and part not in (".", "..") for part in parts) or "\0" in track_id:
            raise AudioError(f"{track_id!r} cannot name a track")
        for count in range(1, len(parts)):
            if "/".join(parts[:count]) in self.index:
                raise AudioError(f"would lie inside track {'/'.join(parts[:count])}")
        if track_id not in self.index and track_id in self._tracks:
            raise AudioError(f"{self.path} has tracks below this name")

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        elif issubclass(kind, WriteError):
            self.abandon()
        else:
            self.finished = False
            with suppress(WriteError):  # what went wrong first says more
                self.close()


class TrackWriter:
    """One track of a feature file, a `TrackSink`."""

    def __init__(self, writer: FeatureWriter, track_id: str, request: Request) -> None:
        self._writer, self._id, self._layers = writer, track_id, request.layers
        self._axes: dict[str, tuple[str, ...]] = {
            name: axes for name, axes in AXES.items() if name != "mean_token"
        }
        if request.attention != "none":
            self._axes["attention"] = ATTENTION_AXES[request.attention]
        self._data: dict[str, h5py.Dataset] = {}

    def append(self, parts: Parts) -> None:
        """Let the arrays grow on disk."""
        with self._writer.writing():
            for name in self._axes:
                self._grow(name, parts[name])
        self._writer.commit_if_due()

    def finish(self, parts: Parts, end: TrackEnd) -> None:
        """Write the rest, contiguously if it is all there is, and link the track into the tree."""
        with self._writer.writing():
            for name in self._axes:
                if not self._data.get(name):
                    self._write_whole(name, parts[name])
                elif parts.get(name):
                    self._grow(name, parts[name])
            self._data["mean_token"] = self._group.create_dataset("mean_token", data=end.mean_token)
            self._name_axes()
            for name, sums in end.checksums.items():
                scalar = self._data[name].ndim == 1
                self._data[name].attrs["crc32"] = np.array(sums[0] if scalar else sums, np.uint32)
            self._group.attrs.update(end.attributes)
            self._group.attrs["complete"] = np.int8(1)
            self._writer.link(self._id, self._group, end.attributes)

    @property
    def names(self) -> list[str]:
        """The arrays that grow with a track."""
        return list(self._axes)

    @cached_property
    def _group(self) -> h5py.Group:
        return self._writer.new_group()

    def _write_whole(self, name: str, parts: Sequence[Any]) -> None:
        shape = self._shape(name, parts)
        self._data[name] = self._group.create_dataset(name, shape, parts[0].dtype)
        self._write(name, parts, 0)

    def _grow(self, name: str, parts: Sequence[Any]) -> None:
        """Add to the end of a data set that can grow."""
        shape, axis = self._shape(name, parts), self._growing(name)
        data = self._data.get(name)
        if data is None:
            most = [None if i == axis else n for i, n in enumerate(shape)]
            layout = {"maxshape": most, "chunks": self._chunks(name, shape, parts[0].itemsize)}
            self._data[name] = self._group.create_dataset(name, shape, parts[0].dtype, **layout)
            self._write(name, parts, 0)
        else:
            before = data.shape[axis]
            data.resize(before + shape[axis], axis=axis)
            self._write(name, parts, before)

    def _growing(self, name: str) -> int:
        return next(i for i, axis in enumerate(self._axes[name]) if axis in GROWING)

    def _shape(self, name: str, parts: Sequence[Any]) -> tuple[int, ...]:
        axis = self._growing(name)
        grown = sum(part.shape[axis] for part in parts)
        return tuple(grown if i == axis else n for i, n in enumerate(parts[0].shape))

    def _chunks(self, name: str, shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
        """One layer at a time, so that a layer can be read alone."""
        axes, axis = self._axes[name], self._growing(name)
        chunk = [1 if axis == "layer" else n for axis, n in zip(axes, shape, strict=True)]
        chunk[axis] = 1
        chunk[axis] = max(1, CHUNK_BYTES // (int(np.prod(chunk)) * itemsize))
        return tuple(chunk)

    def _write(self, name: str, parts: Sequence[Any], at: int) -> None:
        axis = self._growing(name)
        for part in parts:
            end = at + part.shape[axis]
            self._data[name][(slice(None),) * axis + (slice(at, end),)] = part
            at = end

    def _name_axes(self) -> None:
        data, group = self._data, self._group
        data["time"].make_scale("time")
        scales = {
            "layer": add_scale(group, "layer", np.array(self._layers)),
            "window": add_scale(group, "window", np.arange(len(data["window_start"]))),
            "time": data["time"],
            **{name: group.file[name] for name in SHARED_SCALES},
        }
        axes = {**self._axes, "mean_token": AXES["mean_token"]}
        for name in set(axes.get("attention", ())).intersection(("query", "key")):
            size = data["attention"].shape[axes["attention"].index(name)]
            scales[name] = add_scale(group, name, np.arange(size))
        for name, named in axes.items():
            if name != "time":
                attach(data[name], [scales[axis] for axis in named])
        for name in ("time", "window_start"):
            data[name].attrs["units"] = "s"


def create(path: Path, attributes: Mapping[str, Any]) -> None:
    """Make an empty feature file, at once; `attributes` are its root's."""
    config = json.loads(attributes["config"])
    new = path.with_name(f"{path.name}.new")
    try:
        with h5py.File(new, "w", libver=VERSIONS) as file:
            file.attrs.update(attributes)
            add_scale(file, "layer", np.array(config["request"]["layers"]))
            add_scale(file, "feature", np.arange(config["model"]["dim"]))
            add_scale(file, "head", np.arange(config["model"]["heads"]))
            file.create_group("tracks")
            create_table(file, "index", INDEX)
            create_table(file, "failures", FAILURES)
        move_into_place(new, path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def move_into_place(new: Path, path: Path) -> None:
    """Give a file that is whole its name, lastingly."""
    with new.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(new, path)
    sync_folder(path.parent)


def require_writable(path: Path) -> None:
    """Raise `StoreError` unless a feature file can be made, or gone on with, at `path`."""
    if path.is_dir():
        raise StoreError(f"{path} is a folder; the name of a file is needed")
    if not path.parent.is_dir():
        raise StoreError(f"no folder {path.parent} to write {path.name} into")
    if not os.access(path.parent, os.W_OK):
        raise StoreError(f"no permission to write into {path.parent}")
    if path.exists() and not os.access(path, os.W_OK):
        raise StoreError(f"no permission to write {path}")


def _storable(text: str) -> str:
    """Text that HDF5 takes, on one line: without NUL or what is not UTF-8."""
    words = " ".join(text.replace("\0", " ").split())
    return words.encode("utf-8", "backslashreplace").decode()
