"""A run on a Dask cluster: batches of files to its workers, small records back.

The cluster is the user's: this module connects to its scheduler, keeps a bounded number of batches
in flight, and does nothing that Dask does by itself. What a worker does is in `vit1dx.run.task`.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import pickle
import queue
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import ClusterError, ClusterLostError, StoreError, Vit1dxError, reason_of
from ..extractor import Extractor
from ..model.weights import bundled
from ..remote import AnyPath, RemotePath
from ..store.format import Header
from ..store.place import NOTES, feature_files
from ..store.shards import FolderWriter, remove_shards
from ..store.shared import recover_output
from .batches import Batches
from .estimate import Durations, estimate_seconds
from .plan import Plan
from .progress import Progress, reporting, stderr_console, waiting
from .remote import call, call_aside
from .results import Summary
from .run import Options, announce, warn_of_lengths, worker_spec
from .signals import Stopped
from .sources import Source
from .task import STOP_SECONDS, Batch, Ready, Record, Work, committed

#: Batches in flight: for each thread of the workers, and at least. What the client and the
#: scheduler hold is in proportion.
BATCHES_A_THREAD, LEAST_BATCHES = 2, 32
#: Seconds between two looks at how many workers there are.
COUNT_SECONDS = 3.0
#: How often a batch is given to a worker that cannot do it, before that ends the run.
ATTEMPTS = 3
#: Workers that a batch loses before Dask gives it back (``allowed-failures``, and one more).
LOSSES = 4
#: How long a scheduler is waited for, s.
CONNECT_SECONDS = 15.0
#: Between two checks for signals, s.
CHECK_SECONDS = 0.25

_ADDRESS = re.compile(r"(\w+://.+|[\w.\-]+:\d+|\[[0-9a-fA-F:]+\]:\d+)")


class Cluster:
    """A Dask cluster; a context manager.

    Parameters
    ----------
    where : str
        The address of its scheduler, as ``tcp://10.0.0.1:8786``, or its scheduler file.

    Raises
    ------
    ClusterError
        If it cannot be reached, or Dask is not installed.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        try:
            distributed: Any = import_module("distributed")
        except ImportError as error:
            raise ClusterError(
                f"--scheduler needs Dask ({error}); pip install 'vit1dx[dask]'"
            ) from None
        _silence()
        address = where if _ADDRESS.fullmatch(where) else _address_in(Path(where))
        _require_known(address)
        try:
            self._client: Any = distributed.Client(
                address, set_as_default=False, timeout=CONNECT_SECONDS, name="vit1dx"
            )
        except Exception as error:  # what a transport raises
            raise ClusterError(f"no Dask scheduler at {where}: {reason_of(error)}") from None
        self._work: Work | None = None
        self._header: Header | None = None
        self._left_out: list[Source] = []  # that no worker survived
        self.numbers = itertools.count()  # of batches
        self._threads, self._counted = 0, -COUNT_SECONDS

    def close(self) -> None:
        """Leave the cluster; it goes on without."""
        with suppress(Exception):  # it may be gone
            self._client.close(timeout=2)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def seal(self, output: Path) -> None:
        """Have the workers end what they do for an output, and close their shards."""
        arguments = pickle.dumps((Path(output).absolute(),))
        with suppress(Exception):  # those that cannot be reached are dead, or soon will be
            self._client.run(call_aside, "seal", arguments, on_error="ignore")

    def extract(
        self,
        done: Plan,
        extractor: Extractor,
        header: Header,
        options: Options,
        check: Callable[[], None],
        summary: Summary,
    ) -> None:
        """Do what is to be done of some sources; workers keep the model and their shards.

        Raises
        ------
        Vit1dxError
            If the workers cannot work, or the cluster was lost.
        """
        began = time.perf_counter()
        work = self._work = self._work or _new_work(extractor, header, options)
        _make_empty(work.folder / NOTES)
        try:
            durations, self._header = self._prepare(work, done, options, check)
            announce(done, self._header, durations, options, summary)
            if options.overwrite:
                remove_shards(feature_files(options.output))
            with reporting(durations.seconds, stderr_console(), options.quiet) as progress:
                warn_of_lengths(done.todo, durations, progress, summary)
                flight = _Flight(self, work, durations, progress, summary, check)
                self._left_out += flight.run(done.todo)
        except ClusterLostError:
            raise
        except BaseException:
            self.seal(work.folder)
            raise
        finally:
            shutil.rmtree(work.folder / NOTES, ignore_errors=True)
            summary.wall_seconds += time.perf_counter() - began

    def finish(self, options: Options, summary: Summary) -> bool:
        """Close the workers' shards; write what no worker could, and how the run ended."""
        if self._header is None:
            return False
        self.seal(options.output)
        recover_output(options.output)
        with FolderWriter(options.output, self._header, options.shard_bytes or 0) as writer:
            for source in self._left_out:
                reason = f"its worker was lost, with this file alone, {LOSSES} times"
                reason = writer.fail(source.id, reason, source.size, source.mtime_ns)
                summary.failures.append((source.id, reason))
            writer.finished = summary.stopped is None
        return True

    def _prepare(
        self, work: Work, done: Plan, options: Options, check: Callable[[], None]
    ) -> tuple[Durations, Header]:
        """What a worker finds out: how long files are, and what runs the model."""
        from distributed.scheduler import KilledWorker

        found: list[Ready] = []

        def probe(sources: Sequence[Source]) -> dict[str, float]:
            text = f"waiting for a worker of {self._where}"
            with waiting(text, stderr_console(), options.quiet) as passing:
                future = self.submit("prepare", work, _absolute(sources))
                while not future.done():
                    check()
                    passing()
                    time.sleep(CHECK_SECONDS)
            try:
                found.append(self.result(future))
            except KilledWorker as error:
                raise ClusterError(f"workers die as they load the model: {error}") from None
            return found[0].seconds

        durations = estimate_seconds(done.todo, probe)
        return durations, replace(work.header, backend=found[0].backend)

    def submit(self, name: str, *arguments: Any) -> Any:
        """A future of what a function of `vit1dx.run.task` gives."""
        try:
            key = f"vit1dx-{name}-{uuid.uuid4().hex}"
            return self._client.submit(call, name, pickle.dumps(arguments), key=key, pure=False)
        except Exception as error:
            raise self._lost(str(error)) from None

    def result(self, future: Any) -> Any:
        """What a future that is done gives.

        Raises
        ------
        Vit1dxError
            As it was raised by the worker; `ClusterLostError`, if the scheduler is gone.
        """
        from distributed import CancelledError
        from distributed.scheduler import KilledWorker

        try:
            return future.result(timeout=CONNECT_SECONDS)
        except (Vit1dxError, KilledWorker):
            raise
        except (CancelledError, TimeoutError, OSError) as error:
            raise self._lost(str(error)) from None
        except Exception as error:
            raise ClusterError(
                f"the cluster cannot run vit1dx: {reason_of(error)}; scheduler and workers need "
                "the same vit1dx[dask] as this process"
            ) from None
        finally:
            future.release()

    def _lost(self, reason: str) -> ClusterLostError:
        return ClusterLostError(
            f"the scheduler at {self._where} is gone; what was finished is kept, and the same "
            "command continues where it stopped"
        )

    @property
    def threads(self) -> int:
        """Threads of all workers, as of a moment ago."""
        if time.monotonic() - self._counted > COUNT_SECONDS:
            with suppress(Exception):  # that it is lost shows in its futures
                self._threads = sum(self._client.nthreads().values())
            self._counted = time.monotonic()
        return self._threads


class _Flight:
    """Batches in flight: given out, gathered, and given out again where their workers died."""

    def __init__(
        self,
        cluster: Cluster,
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
        batch = Batch(next(self._cluster.numbers), _absolute(sources), seconds, guessed)
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
        from distributed.scheduler import KilledWorker

        batch, attempt = self._flying.pop(future.key)
        try:
            record = self._cluster.result(future)
        except KilledWorker:
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


def _new_work(extractor: Extractor, header: Header, options: Options) -> Work:
    return Work(
        uuid.uuid4().hex[:12],
        options.output.absolute(),
        options.shard_bytes or 0,
        header,
        _spec(extractor, options),
        options.timeout,
        options.checksum,
    )


def _spec(extractor: Extractor, options: Options) -> dict[str, Any]:
    """What each worker loads: bundled weights from where they lie there, others by their path."""
    spec, path = worker_spec(extractor, options, threads=1), extractor.weights.path
    if path == bundled(path.suffix):
        backend = "onnx" if path.suffix == ".onnx" else "torch"
        spec["arguments"] |= {"weights": None, "backend": backend}
    return spec


def _absolute(sources: Sequence[Source]) -> list[Source]:
    """Sources as another process finds them, whose current folder is another."""
    return [replace(source, path=_absolute_path(source.path)) for source in sources]


def _absolute_path(path: AnyPath) -> AnyPath:
    return path if isinstance(path, RemotePath) else Path(os.path.abspath(path))


def _silence() -> None:
    """What Dask logs of a lost connection, with tracebacks, the run says in a line."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _require_known(address: str) -> None:
    """Raise `ClusterError` where Dask knows no such way, for which its client would wait."""
    from distributed.comm.addressing import parse_address
    from distributed.comm.registry import get_backend

    try:
        get_backend(parse_address(address)[0])
    except (ImportError, ValueError) as error:
        raise ClusterError(f"no Dask scheduler at {address}: {reason_of(error)}") from None


def _address_in(path: Path) -> str:
    """The address in a scheduler file, which may only just be written."""
    end = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            return str(json.loads(path.read_text())["address"])
        except FileNotFoundError:
            words = "no scheduler file"
        except (OSError, ValueError, KeyError, TypeError):
            words = "no address in the scheduler file"
        if time.monotonic() > end or not path.absolute().parent.is_dir():
            raise ClusterError(
                f"{words} {path}; 'dask scheduler --scheduler-file {path}' writes one, and "
                "tcp://HOST:PORT is accepted too"
            )
        time.sleep(CHECK_SECONDS)


def _make_empty(folder: Path) -> None:
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be made: {error.strerror}") from None
