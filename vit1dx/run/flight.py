"""Batches in flight on a cluster: given out, gathered, and given out again where workers died."""

from __future__ import annotations

import itertools
import os
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from ..errors import ClusterError, ClusterLostError, StoreError
from ..remote import AnyPath, RemotePath
from .batches import Batches
from .estimate import Durations
from .progress import Progress
from .results import Summary
from .signals import Stopped
from .sources import Source
from .task import STOP_SECONDS, Batch, Record, Work, committed

#: Batches in flight: for each thread of the workers, and at least. What the client and the
#: scheduler hold is in proportion.
BATCHES_A_THREAD, LEAST_BATCHES = 2, 32
#: How often a batch is given to a worker that cannot do it, before that ends the run.
ATTEMPTS = 3
#: Between two checks for signals, s.
CHECK_SECONDS = 0.25


class BatchLost(Exception):
    """The workers of a batch died, one after another."""


class Launcher(Protocol):
    """What gives batches to workers."""

    @property
    def numbers(self) -> Iterator[int]:
        """Of batches."""

    @property
    def threads(self) -> int:
        """Threads of all workers, as of a moment ago."""

    def submit(self, name: str, *arguments: Any) -> Any:
        """A future of what a function of `vit1dx.run.task` gives."""

    def result(self, future: Any) -> Any:
        """What a future that is done gives; raises `BatchLost` where it has none."""

    def seal(self, output: Path) -> None:
        """Have the workers end what they do for an output."""


class Flight:
    """Batches in flight: given out, gathered, and given out again where their workers died."""

    def __init__(
        self,
        cluster: Launcher,
        work: Work,
        durations: Durations,
        progress: Progress,
        summary: Summary,
        check: Callable[[], None],
    ) -> None:
        self._cluster, self._work, self._durations = cluster, work, durations
        self._progress, self._summary, self._check = progress, summary, check
        self._flying: dict[str, tuple[Batch, int]] = {}  # by key, with the attempts before
        self._landed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._lost: list[Source] = []
        self._sources: dict[str, Source] = {}

    def run(self, sources: Sequence[Source]) -> list[Source]:
        """Do all of them but those that no worker survived, which it returns.

        A signal ends it early, and the summary says so.
        """
        seconds = self._durations.seconds
        batches = iter(Batches(sources, seconds, lambda: self._cluster.threads))
        try:
            self._fill(batches)
            while self._flying:
                self._land(self._next())
                self._fill(batches)
        except Stopped as stopped:
            self._summary.stopped = str(stopped)
            self._cluster.seal(self._work.folder)
            self._gather()
        return self._lost

    def _fill(self, batches: Iterator[list[Source]]) -> None:
        most = max(LEAST_BATCHES, BATCHES_A_THREAD * self._cluster.threads)
        for sources in itertools.islice(batches, max(0, most - len(self._flying))):
            self._send(sources)

    def _send(self, sources: list[Source], attempt: int = 0) -> None:
        seconds = {source.id: self._durations.seconds[source.id] for source in sources}
        guessed = self._durations.guessed.intersection(seconds)
        batch = Batch(next(self._cluster.numbers), absolute(sources), seconds, guessed)
        self._sources.update((source.id, source) for source in sources)
        self._launch(batch, attempt)

    def _launch(self, batch: Batch, attempt: int) -> None:
        future = self._cluster.submit("do", self._work, batch)
        self._flying[future.key] = batch, attempt
        future.add_done_callback(self._landed.put)

    def _next(self) -> Any:
        while True:
            self._check()
            with suppress(queue.Empty):
                return self._landed.get(timeout=CHECK_SECONDS)
            self._progress.show()

    def _gather(self) -> None:
        """What is done by the time that all workers have stopped."""
        end = time.monotonic() + STOP_SECONDS
        while self._flying and time.monotonic() < end:
            with suppress(Exception):  # what is not known of now is found at the next run
                future = self._landed.get(timeout=CHECK_SECONDS)
                batch, _ = self._flying.pop(future.key)
                self._enter(batch, self._cluster.result(future))

    def _land(self, future: Any) -> None:
        batch, attempt = self._flying.pop(future.key)
        try:
            record = self._cluster.result(future)
        except BatchLost:
            self._split(batch)
        except ClusterLostError:
            raise
        except (ClusterError, StoreError):
            if attempt + 1 == ATTEMPTS:
                raise
            self._launch(batch, attempt + 1)
        else:
            self._enter(batch, record)
            if record.stopped is not None:
                raise Stopped(record.stopped)

    def _split(self, batch: Batch) -> None:
        """What its workers left of a batch, which all died with it, as two; a file alone is lost.

        The one that kills them is found so.
        """
        record = Record()
        record.recall(committed(self._work, batch))
        self._enter(batch, record)
        left = [source for source in batch.sources if source.id not in record.done]
        if len(batch.sources) == 1:
            self._lost += left
            return
        half = (len(left) + 1) // 2
        for sources in (left[:half], left[half:]):
            if sources:
                self._send(sources)

    def _enter(self, batch: Batch, record: Record) -> None:
        """Put what came of a batch into the summary and the progress."""
        self._work.note(batch.number).unlink(missing_ok=True)
        for track_id, seconds in record.done.items():
            self._summary.done += 1
            self._summary.audio_seconds += seconds
            self._progress.finished(self._sources[track_id], seconds)
        for key, warning in record.warnings:
            self._summary.warnings.append((key, warning))
            if key is not None:
                self._progress.warned(self._sources[key], warning.text)
        for track_id, reason in record.failures:
            self._summary.failures.append((track_id, reason))
            self._progress.failed(self._sources[track_id], reason)
        for source in batch.sources:
            self._sources.pop(source.id, None)


def absolute(sources: Sequence[Source]) -> list[Source]:
    """Sources as another process finds them, whose current folder is another."""
    return [replace(source, path=_absolute_path(source.path)) for source in sources]


def _absolute_path(path: AnyPath) -> AnyPath:
    return path if isinstance(path, RemotePath) else Path(os.path.abspath(path))
