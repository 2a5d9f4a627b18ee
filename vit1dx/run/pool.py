"""Worker processes: each takes a file at a time; one that dies, hangs or swells costs its file."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .. import errors
from .._types import Array
from ..errors import BackendError, Vit1dxError
from ..model.backend import BackendInfo
from .channel import Arena, Channel, ChannelClosed, Message
from .pulse import Pulse
from .signals import SIGNALS

_log = logging.getLogger("vit1dx")

#: Seconds without a sign of life after which a worker counts as hung; a message is one, and so is
#: whatever `Pulse` finds.
QUIET_SECONDS = 120.0
#: Seconds between two checks of `Pulse`.
PULSE_SECONDS = 1.0
#: Seconds between two polls of the workers. A longer pause counts as two of them: a run that was
#: stopped itself (a suspended machine, Ctrl-Z) does not blame the workers.
POLL_SECONDS = 0.25
#: How long a process that was killed is waited for.
KILL_SECONDS = 5.0
#: Workers that may die one after another before they are ready.
START_ATTEMPTS = 3
#: Workers side by side each keep to a core; NumPy's libraries would all take all of them.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "VECLIB_MAXIMUM_THREADS": "1"}

_START = """import sys
sys.path[:] = {path!r}
from vit1dx.run.worker import main
main({fd}, {parent}, {arena}, {backend!r})
"""


@dataclass(frozen=True)
class Job:
    """Something to be done with a file.

    Attributes
    ----------
    do : {"extract", "probe", "measure"}
    id : str
    path : str
    seconds : float
        How long it may take.
    checksum : bool
        Whether to sum up the file's bytes too.
    segments : list of (start, end)
        Parts of the file to extract instead of all of it, s; an end of None is the file's. Messages
        of them have their number, ``"segment"``, and ``"more"`` if others follow.
    """

    do: Literal["extract", "probe", "measure"]
    id: str
    path: str
    seconds: float
    checksum: bool = False
    segments: list[tuple[float, float | None]] = field(default_factory=list)


@dataclass(frozen=True)
class Event:
    """A message of a worker about a job; or a ``"tick"``, now and then, about none.

    Attributes
    ----------
    kind : {"progress", "part", "done", "failed", "tick"}
    job : Job or None
    message : dict
    arrays : list of arrays
        Which stay what they are until the next event is asked for.
    """

    kind: str
    job: Job | None = None
    message: Message = field(default_factory=dict)
    arrays: list[Array] = field(default_factory=list)


class Pool:
    """Worker processes, replaced as they die; a context manager.

    Parameters
    ----------
    backend : {"onnx", "openvino", "torch"}
        Whose library they import before they are told what to load.
    """

    def __init__(self, backend: str = "onnx") -> None:
        self._backend = backend
        self._polled = time.monotonic()
        self._spec: Message = {}
        self._failed_starts = 0
        self._warned: set[str] = set()
        self._returned: deque[Job] = deque()
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []
        self._add()  # it imports its libraries while the run looks for files

    def load(self, spec: Message, check: Callable[[], None] = lambda: None) -> BackendInfo:
        """Have the model loaded by one process.

        Parameters
        ----------
        spec : dict
            ``factory`` ("module:callable", which gives an extractor), its ``arguments``, ``dtype``,
            and ``memory``, bytes that a worker may take beyond those it has when it is ready.
        check : callable
            Called several times a second.

        Raises
        ------
        Vit1dxError
            If it cannot be loaded.
        """
        self._spec = spec
        self._workers[0].configure(spec)
        while True:
            for _ in self._poll(iter(())):
                pass
            check()
            for worker in self._workers:
                if worker.info is not None:
                    return worker.info

    def resize(self, size: int) -> None:
        """Work with so many processes; before `load`, have them import their libraries."""
        for worker in self._workers[size:]:
            self._remove(worker)
        while len(self._workers) < size:
            self._add()
        for worker in self._workers:
            worker.configure(self._spec)

    def run(self, jobs: Iterable[Job]) -> Iterator[Event]:
        """Do jobs, in any order, as many at a time as there are workers.

        A worker has its next job before its last one's arrays are passed on.
        """
        waiting = iter(jobs)
        while True:
            for worker in [w for w in self._workers if w.info and not w.job]:
                self._assign(worker, waiting)
            if not any(worker.job for worker in self._workers):
                job = self._next(waiting)
                if job is None:
                    return
                self._returned.append(job)
            yield from self._poll(waiting)
            yield Event("tick")

    def _next(self, waiting: Iterator[Job]) -> Job | None:
        return self._returned.popleft() if self._returned else next(waiting, None)

    def _assign(self, worker: _Worker, waiting: Iterator[Job]) -> None:
        job = self._next(waiting)
        if job is None:
            return
        try:
            worker.start(job)
        except ChannelClosed:  # not of this job
            self._returned.append(job)
            self._remove(worker)
            self._add()

    def _poll(self, waiting: Iterator[Job]) -> Iterator[Event]:
        """Poll all workers once."""
        ready = {key.data for key, _ in self._selector.select(POLL_SECONDS)}
        now = time.monotonic()
        passed, self._polled = min(now - self._polled, 2 * POLL_SECONDS), now
        for worker in ready:
            yield from self._receive(worker, waiting)
        for worker in list(self._workers):
            worker.wait(passed, answered=worker in ready)
            reason = worker.overdue()
            if reason is not None:
                yield from self._replace(worker, reason)

    def _receive(self, worker: _Worker, waiting: Iterator[Job]) -> Iterator[Event]:
        try:
            message, arrays = worker.channel.receive()
        except ChannelClosed:
            yield from self._replace(worker, worker.exit_reason())
            return
        kind, job = message.pop("event"), worker.job
        if kind == "ready":
            self._warn(message.pop("warnings"))
            worker.info = BackendInfo(**message)
            self._failed_starts = 0
        elif kind == "refused":
            error: type[Vit1dxError] = getattr(errors, message["error"])
            raise error(message["reason"])
        else:
            if kind in ("done", "failed") and not message.pop("more", False):
                worker.job = None
                self._assign(worker, waiting)
            yield Event(kind, job, message, arrays)
            with suppress(ChannelClosed):  # that it is dead is found out later
                worker.channel.release()

    def _warn(self, texts: Iterable[str]) -> None:
        """Pass on, once each, the warnings of workers that load the model."""
        for text in texts:
            if text not in self._warned:
                self._warned.add(text)
                _log.warning("%s", text)

    def _replace(self, worker: _Worker, reason: str) -> Iterator[Event]:
        job = worker.job
        if worker.info is None:
            self._failed_starts += 1
            if self._failed_starts >= START_ATTEMPTS:
                raise BackendError(f"no worker process gets ready: {reason}")
        self._remove(worker)
        self._add()
        if job is not None:
            yield Event("failed", job, {"reason": reason})

    def _add(self) -> None:
        worker = _Worker(self._backend)
        self._workers.append(worker)
        self._selector.register(worker.channel, selectors.EVENT_READ, worker)
        worker.configure(self._spec)

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._selector.unregister(worker.channel)
        worker.kill()

    def close(self) -> None:
        """End all workers, at once."""
        for worker in list(self._workers):
            self._remove(worker)
        self._selector.close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Worker:
    """One process, from the run's side."""

    def __init__(self, backend: str) -> None:
        ours, theirs = socket.socketpair()
        arena = Arena.new()
        shared = [theirs.fileno(), *([arena.fileno()] if arena else [])]
        start = _START.format(
            path=[str(Path(p).absolute()) for p in sys.path],
            fd=theirs.fileno(),
            parent=os.getpid(),
            arena=arena and arena.fileno(),
            backend=backend,
        )
        # In isolation, too, names are encoded as they are here.
        utf8 = f"utf8={sys.flags.utf8_mode}"
        command = [sys.executable, "-I", "-X", utf8, "-c", start]
        # Blocked signals stay blocked in what is started: Ctrl-C goes to all processes of a
        # terminal, and schedulers signal them all too.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # decoders print a line for every odd byte
                env={**os.environ, **_ONE_THREAD},
                pass_fds=shared,
            )
        except OSError as error:
            raise BackendError(f"no worker process can be started: {error.strerror}") from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self.channel = Channel(ours, arena)
        self.info: BackendInfo | None = None
        self.job: Job | None = None
        self._configured = False
        self._pulse = Pulse(self._process.pid)
        self._busy = self._quiet = self._since_pulse = 0.0

    def start(self, job: Job) -> None:
        """Send it a job."""
        asked = {"do": job.do, "path": job.path, "checksum": job.checksum}
        self.channel.send({**asked, "segments": job.segments})
        self.job, self._busy, self._quiet = job, 0.0, 0.0

    def configure(self, spec: Message) -> None:
        """Send it what to load, once that is known; that it is dead is found out later."""
        if spec and not self._configured:
            self._configured = True
            with suppress(ChannelClosed):
                self.channel.send(spec)

    def wait(self, seconds: float, answered: bool) -> None:
        """Count the time that passed."""
        self._busy += seconds
        self._quiet = 0.0 if answered else self._quiet + seconds
        self._since_pulse += seconds
        if self._since_pulse >= PULSE_SECONDS:
            self._since_pulse = 0.0
            if self._pulse.beats():
                self._quiet = 0.0

    def overdue(self) -> str | None:
        """Why it should be ended, if it should."""
        if self.job is not None and self._busy > self.job.seconds:
            return f"not done after {self.job.seconds:.0f} s: given up"
        is_awaited = self.job is not None or (self._configured and self.info is None)
        if is_awaited and self._quiet > QUIET_SECONDS:
            return f"no sign of life for {QUIET_SECONDS:.0f} s: given up"
        return None

    def exit_reason(self) -> str:
        """How the process ended."""
        try:
            code = self._process.wait(timeout=KILL_SECONDS)
        except subprocess.TimeoutExpired:
            return "its process does not answer any more"
        if code >= 0:
            return f"its process ended with code {code}"
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"

    def kill(self) -> None:
        """End it; one that waits for a disk ends when that answers."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=KILL_SECONDS)
        self.channel.close()
