"""What a worker of a cluster does: batches of files into shards of its own.

A thread of a worker has one slot: a process that decodes and runs the model, which a bad file may
crash (`vit1dx.run.pool`), and a shard. Both stay from batch to batch, until the run that they are
of ends, or another one begins. This module knows nothing of Dask.
"""

from __future__ import annotations

import atexit
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from .._version import __version__
from ..audio.files import printable
from ..config import Config
from ..errors import AudioWarning, ClusterError, StoreError, Vit1dxError
from ..model.backend import BackendInfo
from ..model.request import Request
from ..store.format import Header
from ..store.journal import sync_folder
from ..store.place import NOTES
from ..store.reader import FeatureFile, StoredTrack
from ..store.shared import SharedFolderWriter
from .channel import Message
from .estimate import grown_size, probe_in
from .loop import Limits, add
from .pool import Pool
from .progress import Progress
from .results import Summary
from .room import Room
from .signals import Stopped
from .sources import Source

#: How long a worker that is asked to stop is waited for, s: it looks four times a second.
STOP_SECONDS = 10.0
#: How long a folder that another machine has made may take to be seen, s.
APPEAR_SECONDS = 10.0


@dataclass(frozen=True)
class Work:
    """A run, as its workers need to know it.

    Attributes
    ----------
    id : str
    folder : Path
        The output.
    shard_bytes : int
    header : Header
        Of the shards, but for the backend.
    spec : dict
        What is loaded; see `vit1dx.run.pool.Pool.load`.
    timeout : float or None
    checksum : bool
    version : str
        Of vit1dx.
    """

    id: str
    folder: Path
    shard_bytes: int
    header: Header
    spec: Message
    timeout: float | None
    checksum: bool
    version: str = __version__

    def note(self, number: int) -> Path:
        """Where a batch says which shards it is written to."""
        return self.folder / NOTES / f"{self.id}-{number}"


@dataclass(frozen=True)
class Batch:
    """Files to be done by one worker, one after another.

    Attributes
    ----------
    number : int
        Of the batch, in its run.
    sources : list of Source
    seconds : dict of str to float
        Expected durations, by id.
    guessed : set of str
        Those that are guesses.
    """

    number: int
    sources: list[Source]
    seconds: dict[str, float]
    guessed: set[str]


@dataclass
class Record:
    """What came of a batch.

    Attributes
    ----------
    done : dict of str to float
        Seconds of the files that were written, by id.
    failures : list of (id, reason)
    warnings : list of (id, AudioWarning)
    stopped : str or None
        Why it ended early, if it did.
    """

    done: dict[str, float] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[tuple[str | None, AudioWarning]] = field(default_factory=list)
    stopped: str | None = None

    def recall(self, tracks: Iterable[StoredTrack]) -> None:
        """Add tracks that are in the output."""
        for track in tracks:
            self.done[track.id] = track.duration
            self.warnings += [(track.id, warning) for warning in track.warnings]


@dataclass(frozen=True)
class Ready:
    """What a worker says when it has loaded the model.

    Attributes
    ----------
    backend : BackendInfo
    seconds : dict of str to float
        What headers declare of the files that it was asked for, by id.
    """

    backend: BackendInfo
    seconds: dict[str, float]


class _Slot:
    """What a thread keeps from batch to batch."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.busy = threading.Lock()
        self.is_spoilt = False  # its process is in the middle of a file
        self._note: Path | None = None
        self._writer: SharedFolderWriter | None = None
        _require_same_version(work)
        self._pool = Pool(str(work.spec["arguments"]["backend"]))
        try:
            self.backend = self._pool.load(work.spec, self.check)
        except BaseException:
            self._pool.close()
            raise

    def check(self) -> None:
        """Raise `Stopped` if the run is to stop."""
        if self.work.id in _stopped:
            raise Stopped("stopped")

    def probe(self, sources: list[Source]) -> dict[str, float]:
        """Seconds that headers declare, by id."""
        return probe_in(self._pool, sources, self.check)

    def do(self, batch: Batch) -> Record:
        """Do a batch, but for what a worker before did of it; all of it is committed then."""
        record = Record()
        record.recall(committed(self.work, batch))
        left = [source for source in batch.sources if source.id not in record.done]
        if left:
            self._add(replace(batch, sources=left), record)
        return record

    def _add(self, batch: Batch, record: Record) -> None:
        self._note = self.work.note(batch.number)
        writer = self._open()
        summary = Summary(self.work.folder, len(batch.sources))
        add(
            batch.sources,
            self._pool,
            writer,
            _Recording(record.done),
            self._limits(batch),
            summary,
            self.check,
        )
        writer.commit()
        record.failures, record.stopped = summary.failures, summary.stopped
        self.is_spoilt = summary.stopped is not None
        record.warnings += summary.warnings

    def _open(self) -> SharedFolderWriter:
        """The shard to go on with; what the batch is written to is noted before it is."""
        if self._writer is None:
            header = replace(self.work.header, backend=self.backend)
            limit = self.work.shard_bytes
            self._writer = SharedFolderWriter(self.work.folder, header, limit, self._take_note)
        else:
            for path in self._writer.open_shards:
                self._take_note(path)
        return self._writer

    def _take_note(self, shard: Path) -> None:
        assert self._note is not None
        try:
            with self._note.open("a") as file:
                file.write(f"{shard.name}\n")
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self._note.parent)
        except OSError as error:
            raise StoreError(f"{self._note} cannot be written: {error.strerror}") from None

    def _limits(self, batch: Batch) -> Limits:
        header = self.work.header
        return Limits(
            batch.seconds,
            _Size(header.config, header.request, header.dtype),
            Room(self.work.folder, batch.guessed),
            self.work.timeout,
            self.work.checksum,
        )

    def close(self) -> None:
        """End the process, and close the shard."""
        self._pool.close()
        if self._writer is not None:
            with suppress(Vit1dxError):  # what was committed stays
                self._writer.close()


@dataclass(frozen=True)
class _Size:
    config: Config
    request: Request
    dtype: str

    def __call__(self, seconds: float) -> int:
        return grown_size(seconds, self.config, self.request, self.dtype)


class _Recording(Progress):
    """Takes note of how long each file is."""

    def __init__(self, done: dict[str, float]) -> None:
        self._done = done

    def finished(self, source: Source, seconds: float) -> None:
        """See `Progress`."""
        self._done[source.id] = seconds


#: By thread.
_slots: dict[int, _Slot] = {}
#: The output of each run that came here, by its id; and those that are over.
_known: dict[str, Path] = {}
_stopped: set[str] = set()


def prepare(work: Work, sources: list[Source]) -> Ready:
    """Load the model, and read the headers of some files.

    Raises
    ------
    Vit1dxError
        If the model cannot be loaded here.
    """
    _require_in_reach(work, sources)
    with _slot(work) as slot:
        return Ready(slot.backend, slot.probe(sources))


def do(work: Work, batch: Batch) -> Record:
    """Do a batch.

    Raises
    ------
    Vit1dxError
        If the model cannot be loaded here, or the shard not be written, or files that the run has
        found are out of reach here.
    """
    try:
        _require_in_reach(work, batch.sources)
        with _slot(work) as slot:
            return slot.do(batch)
    except Stopped as stopped:
        return Record(stopped=str(stopped))


def seal(folder: Path) -> None:
    """End the runs that write to an output here, and close their shards."""
    over = {run for run, output in _known.items() if output == folder}
    _stopped.update(over)
    end = time.monotonic() + STOP_SECONDS
    for key, slot in list(_slots.items()):
        if slot.work.id in over and slot.busy.acquire(timeout=max(0, end - time.monotonic())):
            _discard(key)
            slot.busy.release()


@atexit.register
def _seal_all() -> None:
    for folder in set(_known.values()):
        seal(folder)


@contextmanager
def _slot(work: Work) -> Iterator[_Slot]:
    """The slot of a thread, for one batch; it goes where that ends badly, or the run is over."""
    key = threading.get_ident()
    _known[work.id] = work.folder
    if key in _slots and _slots[key].work.id != work.id:
        _discard(key)
    slot = _slots.get(key) or _Slot(work)
    _slots[key] = slot
    try:
        with slot.busy:
            slot.check()
            yield slot
    except BaseException:
        _discard(key)
        raise
    if slot.is_spoilt or work.id in _stopped:
        _discard(key)


def _discard(key: int) -> None:
    slot = _slots.pop(key, None)
    if slot is not None:
        slot.close()


def committed(work: Work, batch: Batch) -> Iterator[StoredTrack]:
    """The tracks of a batch that are done, though nobody heard of it: its worker was lost."""
    stamps = {source.id: (source.size, source.mtime_ns) for source in batch.sources}
    for path in _noted(work.note(batch.number)):
        with FeatureFile(path) as shard:
            for track_id, row in shard.index().items():
                if stamps.get(track_id) == (row["size"], row["mtime_ns"]):
                    yield shard[track_id]


def _noted(note: Path) -> list[Path]:
    """The shards that a batch was written to, as far as they are there."""
    try:
        names = dict.fromkeys(note.read_text().split())
    except FileNotFoundError:
        return []
    return [path for name in names if (path := note.parent.parent / name).exists()]


def _require_same_version(work: Work) -> None:
    if work.version != __version__:
        raise ClusterError(
            f"vit1dx is {__version__} on {socket.gethostname()}, a worker, and {work.version} here;"
            " install the same on both"
        )


def _require_in_reach(work: Work, sources: list[Source]) -> None:
    """Raise `ClusterError` where a worker does not see what the run sees."""
    local = [s.path.parent for s in sources if s.size and isinstance(s.path, Path)]
    for folder in (work.folder / NOTES, *local[:1]):
        if not _appears(folder):
            raise ClusterError(
                f"{socket.gethostname()}, a worker, does not see {printable(folder)}; music and "
                "output must be on storage that all machines share, under the same paths"
            )


def _appears(folder: Path) -> bool:
    """Whether a folder is there, or is soon: network file systems take their time over it."""
    end = time.monotonic() + APPEAR_SECONDS
    while not folder.is_dir():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True
