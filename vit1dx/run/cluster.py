"""A run on a Dask cluster: batches of files to its workers, small records back.

The cluster is the user's: this module connects to its scheduler, keeps a bounded number of batches
in flight, and does nothing that Dask does by itself. What a worker does is in `vit1dx.run.task`.
"""

from __future__ import annotations

import itertools
import json
import logging
import pickle
import re
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import ClusterError, ClusterLostError, StoreError, Vit1dxError, reason_of
from ..extractor import Extractor
from ..model.weights import bundled_name
from ..store.format import Header
from ..store.place import NOTES, feature_files
from ..store.shards import FolderWriter, remove_shards
from ..store.shared import recover_output
from .estimate import Durations, estimate_seconds
from .flight import CHECK_SECONDS, BatchLost, Flight, absolute
from .plan import Plan
from .progress import reporting, stderr_console, waiting
from .remote import call, call_aside
from .results import Summary
from .run import Options, announce, warn_of_lengths, worker_spec
from .sources import Source
from .task import Ready, Work

#: Seconds between two looks at how many workers there are.
COUNT_SECONDS = 3.0
#: Workers that a batch loses before Dask gives it back (``allowed-failures``, and one more).
LOSSES = 4
#: How long a scheduler is waited for, s.
CONNECT_SECONDS = 15.0

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
                flight = Flight(self, work, durations, progress, summary, check)
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
        found: list[Ready] = []

        def probe(sources: Sequence[Source]) -> dict[str, float]:
            text = f"waiting for a worker of {self._where}"
            with waiting(text, stderr_console(), options.quiet) as passing:
                future = self.submit("prepare", work, absolute(sources))
                while not future.done():
                    check()
                    passing()
                    time.sleep(CHECK_SECONDS)
            try:
                found.append(self.result(future))
            except BatchLost as error:
                raise ClusterError(f"workers die as they load the model: {error}") from None
            return found[0].seconds

        durations = estimate_seconds(done.todo, probe)
        return durations, replace(work.header, backend=found[0].backend)

    def submit(self, name: str, *arguments: Any) -> Any:
        """A future of what a function of `vit1dx.run.task` gives."""
        try:
            key = f"vit1dx-{name}-{uuid.uuid4().hex}"
            return self._client.submit(call, name, pickle.dumps(arguments), key=key, pure=False)
        except Exception:  # as the connection is closed
            raise self._lost() from None

    def result(self, future: Any) -> Any:
        """What a future that is done gives.

        Raises
        ------
        Vit1dxError
            As it was raised by the worker; `ClusterLostError`, if the scheduler is gone.
        BatchLost
            If its workers died.
        """
        from distributed import CancelledError
        from distributed.scheduler import KilledWorker

        try:
            return future.result(timeout=CONNECT_SECONDS)
        except Vit1dxError:
            raise
        except KilledWorker as error:
            raise BatchLost(reason_of(error)) from None
        except CancelledError:
            raise self._lost() from None
        except Exception as error:
            if future.status != "error":  # it is none of the worker's
                raise self._lost() from None
            raise ClusterError(
                f"the cluster cannot run vit1dx: {reason_of(error)}; scheduler and workers need "
                "the same vit1dx[dask] as this process"
            ) from None
        finally:
            future.release()

    def _lost(self) -> ClusterLostError:
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
    spec = worker_spec(extractor, options, threads=1)
    if name := bundled_name(extractor.weights.path):
        spec["arguments"] |= {"weights": name}
    return spec


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
