"""A worker process: takes files one by one, and gives back their arrays.

Whatever a decoder does to it, it does to this process alone; `vit1dx.run.pool` looks after it.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .._types import Array
from ..errors import BackendError, Vit1dxError, one_line
from ..store.track import Parts, TokenBuffer, Totals
from .channel import Arena, Channel, ChannelClosed, Message

#: Seconds between two signs of life while a file is hashed.
PROGRESS_SECONDS = 1.0

_PR_SET_PDEATHSIG = 1


def main(descriptor: int, parent: int, arena: int | None) -> None:
    """Work for the process at the other end of a socket, until it is closed.

    Parameters
    ----------
    descriptor : int
        Of the socket.
    parent : int
        Process id of the run.
    arena : int or None
        Of the memory that arrays are laid in, where there is any.
    """
    _die_with(parent)
    shared = None if arena is None else Arena(arena)
    channel = Channel(socket.socket(fileno=descriptor), shared)
    try:
        _preload()
        _work(channel)
    except ChannelClosed:
        pass
    os._exit(0)  # nothing to tidy up, and libraries take their time over it


def _work(channel: Channel) -> None:
    spec, _ = channel.receive()
    try:
        with _warnings() as warnings:
            extractor = _make(spec["factory"], spec["arguments"])
            backend = extractor.backend
    except Vit1dxError as error:
        channel.send({"event": "refused", "error": type(error).__name__, "reason": str(error)})
        return
    except Exception as error:  # nobody else would see it: a worker's stderr goes nowhere
        reason = f"the model cannot be loaded: {type(error).__name__}: {one_line(error)}"
        channel.send({"event": "refused", "error": BackendError.__name__, "reason": reason})
        return
    if backend.device == "cpu":
        _limit_memory(spec["memory"])
    about = {"name": backend.name, "version": backend.version, "device": backend.device}
    channel.send({"event": "ready", "warnings": warnings, **about})
    while True:
        job, _ = channel.receive()
        try:
            if job["do"] == "probe":
                channel.send({"event": "done", "seconds": _probe(job["path"])})
            else:
                _extract(extractor, channel, job, spec["dtype"])
        except ChannelClosed:
            raise
        except Vit1dxError as error:
            channel.send({"event": "failed", "reason": str(error)})
        except MemoryError:
            channel.send({"event": "failed", "reason": "out of memory"})
        except Exception as error:  # whatever one file does to a decoder, the others come next
            reason = f"{type(error).__name__}: {one_line(error)}"
            channel.send({"event": "failed", "reason": reason})


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect what is warned of, for the run to pass on: a worker's stderr goes nowhere."""
    texts: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: texts.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("vit1dx")
    logger.addHandler(handler)
    try:
        yield texts
    finally:
        logger.removeHandler(handler)


def _probe(path: str) -> float | None:
    from ..audio.probe import probe_duration

    return probe_duration(path)


def _extract(extractor: Any, channel: Channel, job: Message, dtype: str) -> None:
    from ..extractor import extract_file

    def progress(seconds: float = 0.0) -> None:
        channel.send({"event": "progress", "seconds": seconds})

    path = Path(job["path"])
    digest = file_sha256(path, _seldom(progress)) if job["checksum"] else ""
    sink = _ChannelSink(channel, job["path"])
    track = TokenBuffer(sink, dtype)
    extract_file(extractor, path, track, progress)
    if digest:
        track.attributes["sha256"] = digest
    track.finish()


def _seldom(call: Callable[[], None]) -> Callable[[], None]:
    """A function that makes a call once in `PROGRESS_SECONDS` at most."""
    last = time.monotonic()

    def now_and_then() -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            call()

    return now_and_then


class _ChannelSink:
    """Sends a track's arrays on; a `Sink`."""

    def __init__(self, channel: Channel, path: str) -> None:
        self._channel, self._path = channel, path
        channel.discard()  # a track before this one may have ended halfway

    def keep(self, array: Array) -> Array:
        return self._channel.lay(array)

    @cached_property
    def _expected(self) -> float | None:
        """Seconds that the file's header declares: how far the track will grow."""
        return _probe(self._path)

    def append(self, parts: Parts) -> None:
        names, arrays = _flat(parts)
        self._channel.send({"event": "part", "names": names, "seconds": self._expected}, arrays)

    def finish(self, parts: Parts, totals: Totals) -> None:
        names, arrays = _flat(parts)
        words = {"checksums": totals.checksums, "attributes": totals.attributes}
        message = {"event": "done", "names": names, **words}
        self._channel.send(message, [totals.mean_token, *arrays])


def _flat(parts: Parts) -> tuple[list[str], list[Array]]:
    named = [(name, part) for name, held in parts.items() for part in held]
    return [name for name, _ in named], [part for _, part in named]


def parts_of(names: Iterable[str], arrays: Iterable[Array]) -> Parts:
    """Parts of arrays, from the names and arrays of a message."""
    parts: dict[str, list[Array]] = {}
    for name, array in zip(names, arrays, strict=True):
        parts.setdefault(name, []).append(array)
    return parts


def file_sha256(path: Path, check: Callable[[], None] = lambda: None) -> str:
    """Hexadecimal SHA-256 of a file's bytes; `check` is called many times a second.

    Raises
    ------
    AudioError
        If it cannot be read.
    """
    from ..audio.files import require_readable

    require_readable(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            check()
    return digest.hexdigest()


def _make(factory: str, arguments: Message) -> Any:
    """An extractor, made by ``module:callable``."""
    module, _, name = factory.partition(":")
    return getattr(import_module(module), name)(**arguments)


def _preload() -> None:
    """Import what takes long while the run still looks for files."""
    if find_spec("onnxruntime"):
        with suppress(Exception):  # where it is needed, it is imported again, and the reason told
            import_module("vit1dx.model.onnx")
    import_module("vit1dx.extractor")


def _die_with(parent: int) -> None:
    """End when the run ends, also in the middle of a decoder that hangs (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _limit_memory(more: int) -> None:
    """Let this process take so many bytes more than it has, and no more (Linux)."""
    if sys.platform == "linux":
        import resource

        status = Path("/proc/self/status").read_text()
        has = int(status.split("VmData:")[1].split()[0]) * 1024
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        soft = has + more if hard == resource.RLIM_INFINITY else min(has + more, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
