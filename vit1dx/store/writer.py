"""The feature file, written: a group a track, a dimension scale on each axis of each array.

docs/format.md describes the format. Everything goes through `vit1dx.store.commit`, so that a reader
meets only whole tracks, and a kill costs only those that were not committed yet.
"""

from __future__ import annotations

import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from .._types import Array
from ..errors import AudioError, StoreError, WriteError
from ..model.request import DType, Request
from ..whole import resolved
from .commit import JournaledFile
from .existing import require_extendable, require_replaceable
from .format import VERSIONS, Heading, add_scale, storable, warning_codes
from .index import FAILURES, INDEX, Table, create_table
from .journal import journal_path, recover, sync_folder
from .means import NAME, Means, create_means
from .objects import values_in
from .place import beside, require_writable
from .track import TokenBuffer, TrackWriter

#: What was finished is committed at the latest after so many seconds, or so many changed bytes.
COMMIT_SECONDS, COMMIT_BYTES = 0.5, 32 << 20

#: More of a track's than there are.
MOST_ATTRIBUTES = 64

_O = TypeVar("_O", bound="Output")


class Output(ABC):
    """What a run writes its tracks and failures into; a context manager.

    Attributes
    ----------
    path : Path
    finished : bool
        Whether the run came to its end, as is recorded when the output is closed.
    limit : float
        Bytes that a track may have before it outgrows a file of the output.
    """

    path: Path
    finished: bool = True
    limit: float = float("inf")

    @abstractmethod
    def require_place(self, track_id: str) -> None:
        """Raise `AudioError` unless there is a place for a track."""

    @abstractmethod
    def begin(self, track_id: str, size: int = 0) -> TrackWriter:
        """A place for a track, of about so many bytes; it is there when its `finish` was called.

        Raises
        ------
        AudioError
            If there is no place for it.
        """

    @abstractmethod
    def place_for(self, size: int) -> FeatureWriter:
        """The file that the next track, of so many bytes, belongs into."""

    @abstractmethod
    def fail(
        self, track_id: str, reason: str, size: int = 0, mtime_ns: int = 0, segment: str = ""
    ) -> str:
        """Record that a file failed, and why; returns the reason as it is recorded.

        A track made of the file as it was before is kept.
        """

    @abstractmethod
    def commit_if_due(self) -> None:
        """Commit if the last time is a while ago and something waits."""

    @abstractmethod
    def close(self) -> None:
        """Commit and close.

        Raises
        ------
        WriteError
            If the last commit cannot be.
        """

    @abstractmethod
    def abandon(self) -> None:
        """Close all as it was last committed."""

    def __enter__(self: _O) -> _O:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        elif issubclass(kind, WriteError):
            self.abandon()
        else:
            self.finished = False
            with suppress(WriteError):  # the first error matters more
                self.close()


class FeatureWriter(Output):
    """A feature file being written, new or extended; a context manager.

    Parameters
    ----------
    path : path
    header : Heading, optional
        Of the file to be made; one that exists keeps its own.
    overwrite : bool
        Replace a file that is there.
    shard : int, optional
        Which shard of a folder the file is; by default, it is alone.

    Attributes
    ----------
    index, failures : Table
        The tracks, and the files that failed, with what is known of their files.

    Raises
    ------
    StoreError
        If the file cannot be made, or one that exists cannot be extended.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        header: Heading | None = None,
        overwrite: bool = False,
        shard: int | None = None,
    ) -> None:
        self.path = Path(path)
        require_writable(self.path)
        is_made = header is not None and (overwrite or not self.path.exists())
        require_replaceable(self.path) if is_made else require_extendable(self.path)
        try:
            recover(self.path)
            if header and is_made:
                number = {} if shard is None else {"shard": shard}
                create(self.path, {**header.attributes(), **number})
            self._raw = JournaledFile(self.path, writable=True)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written: {error.strerror or error}") from None
        self._file: Any = None
        try:
            self._file = h5py.File(self._raw, "r+", libver=VERSIONS)
            self._open_tables()
        except Exception as error:  # HDF5 raises whatever a damaged byte leads to
            self.abandon()
            raise StoreError(
                f"{self.path} is damaged ({error}); 'vit1dx repair' keeps what is sound"
            ) from None
        self._waits = False
        self._next_commit = time.monotonic() + COMMIT_SECONDS
        if self._file.attrs["finished"]:
            self._file.attrs["finished"] = np.int8(0)

    def _open_tables(self) -> None:
        self.index = Table(self._file["index"], INDEX)
        self.failures = Table(self._file["failures"], FAILURES)
        self._tracks = self._file["tracks"]
        asked = json.loads(self._file.attrs["config"])["request"]
        self._request = Request.from_dict(asked)
        self._dtype: DType = asked["dtype"]
        self.means = Means(self._file, self._dtype)

    @contextmanager
    def track(self, track_id: str) -> Iterator[TokenBuffer]:
        """A track to write; nothing of it stays if an exception comes through."""
        keep_mean = "mean" in self._request.tokens
        buffer = TokenBuffer(self.begin(track_id), self._dtype, keep_mean)
        yield buffer
        buffer.finish()

    @property
    def size(self) -> int:
        """Bytes of the file, with what waits to be committed, but for new chunks of the tables."""
        waiting = (self.index, self.failures, self.means)
        return self._file.id.get_filesize() + sum(table.held_bytes for table in waiting)

    def begin(self, track_id: str, size: int = 0) -> TrackWriter:
        """See `Output`; the size does not matter."""
        self.require_place(track_id)
        return TrackWriter(self, track_id, self._request)

    def place_for(self, size: int) -> FeatureWriter:
        """See `Output`."""
        return self

    def fail(
        self, track_id: str, reason: str, size: int = 0, mtime_ns: int = 0, segment: str = ""
    ) -> str:
        """See `Output`."""
        reason = storable(reason)
        row = {"reason": reason, "size": size, "mtime_ns": mtime_ns, "segment": segment}
        self.failures.put(track_id, **row)
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
            self.means.write(len(self.index))
            self.failures.write()
            self._file.flush()
            self._raw.commit()
        took = time.monotonic() - began
        self._next_commit = time.monotonic() + max(COMMIT_SECONDS, 10 * took)
        self._waits = False

    def commit_if_due(self) -> None:
        """See `Output`."""
        late = self._waits and time.monotonic() >= self._next_commit
        if late or self._raw.held_bytes > COMMIT_BYTES:
            self.commit()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn errors of a full or missing disk into a `WriteError`."""
        try:
            yield
        except Exception as error:
            if self._raw.error is None and not isinstance(error, (OSError, RuntimeError)):
                raise
            raise not_written(self.path, self._raw.error or error) from error
        self.require_written()

    def require_written(self) -> None:
        """Raise `WriteError` if writing failed where HDF5 could not be told."""
        if self._raw.error is not None:
            raise not_written(self.path, self._raw.error)

    def put(self, data: Array, offset: int) -> None:
        """Write bytes, (n,) uint8, where HDF5 has made room for them."""
        self._raw.seek(offset)
        self._raw.write(data.data)

    def link(self, track_id: str, group: h5py.Group, attributes: Mapping[str, Any]) -> None:
        """Put a track that is whole into the tree, in the place of one of that id."""
        if track_id in self.index:
            del self._tracks[track_id]
        self._tracks[track_id] = group
        known = {"size": 0, "mtime_ns": 0, "duration": 0.0, "sha256": "", "segment": ""}
        row = {key: attributes.get(key, known[key]) for key in known}
        codes = warning_codes(attributes.get("warnings", ()))
        place = self.index.put(track_id, **row, warnings=codes)
        if NAME in group:
            self.means.put(place, values_in(h5py.h5d.open(group.id, NAME.encode())))
        self.failures.remove(track_id)
        self._waits = True

    def new_group(self) -> h5py.Group:
        """A group outside the tree: gone, unless it is linked."""
        # Attributes in the group's head: a heap for them would take 1.5 kB a track.
        layout = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
        layout.set_attr_phase_change(MOST_ATTRIBUTES, 0)
        return h5py.Group(h5py.h5g.create(self._file.id, None, gcpl=layout))

    def close(self) -> None:
        """See `Output`."""
        try:
            with self.writing():
                self._file.attrs["finished"] = np.int8(self.finished)
            self.commit()
            with self.writing():
                self._file.close()
                self._raw.commit()
        finally:
            self.abandon()

    def restate(self, attributes: Mapping[str, Any]) -> None:
        """Give the file another heading: all attributes of its root."""
        root = self._file.attrs
        for key in set(root) - set(attributes):
            del root[key]
        root.update(attributes)

    def abandon(self) -> None:
        """See `Output`."""
        self._raw.abandon()
        if self._file is not None:
            with suppress(Exception):  # HDF5 cannot know that what it writes goes nowhere
                self._file.close()
        self._raw.close()

    def require_place(self, track_id: str) -> None:
        """See `Output`: a track is a group with no other track in it, and its id is unambiguous."""
        parts = track_id.split("/")
        if not all(part and part not in (".", "..") for part in parts) or "\0" in track_id:
            raise AudioError(f"{track_id!r} cannot name a track")
        for count in range(1, len(parts)):
            if "/".join(parts[:count]) in self.index:
                raise AudioError(f"would be inside track {'/'.join(parts[:count])}")
        if track_id not in self.index and track_id in self._tracks:
            raise AudioError(f"{self.path} has tracks below this name")


def not_written(path: Path, error: Exception) -> WriteError:
    """The error of an output that cannot be written on."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return WriteError(
        f"{path} cannot be written: {reason}; what was finished is kept, and the same command "
        "continues where it stopped"
    )


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Where to make a feature file that is to take its place at once: nothing else stays there."""
    new = beside(path, ".new")
    try:
        yield new
    finally:
        new.unlink(missing_ok=True)
        journal_path(new).unlink(missing_ok=True)


def create(path: Path, attributes: Mapping[str, Any]) -> None:
    """Make an empty feature file, at once; `attributes` are its root's."""
    config = json.loads(attributes["config"])
    new = beside(path, ".new")
    try:
        with h5py.File(new, "w", libver=VERSIONS) as file:
            file.attrs.update(attributes)
            add_scale(file, "layer", np.array(config["request"]["layers"]))
            add_scale(file, "feature", np.arange(config["model"]["dim"]))
            add_scale(file, "head", np.arange(config["model"]["heads"]))
            file.create_group("tracks")
            create_table(file, "index", INDEX)
            create_table(file, "failures", FAILURES)
            create_means(file, config["request"]["dtype"])
        move_into_place(new, path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def move_into_place(new: Path, path: Path) -> None:
    """Give a file that is whole its name, lastingly; a link to it stays one."""
    with new.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(new, resolved(path))
    sync_folder(new.parent)
