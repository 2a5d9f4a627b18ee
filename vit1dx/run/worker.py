"""A worker process: takes files one by one, and gives back their arrays.

Whatever a decoder does to it, it does to this process alone; `vit1dx.run.pool` looks after it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._types import Array
from ..errors import BackendError, Vit1dxError, reason_of
from ..remote import AnyPath, path_of, place_of
from ..store.format import warning_texts
from ..store.track import Parts, TokenBuffer, Totals
from .channel import Arena, Channel, ChannelClosed, Message

if TYPE_CHECKING:
    from ..extractor import Extractor
    from ..model.request import DType

#: Seconds between two signs of life while a file is hashed.
PROGRESS_SECONDS = 1.0

_PR_SET_PDEATHSIG = 1


def main(descriptor: int, parent: int, arena: int | None, backend: str = "onnx") -> None:
    """Work for the process at the other end of a socket, until it is closed.

    Parameters
    ----------
    descriptor : int
        Of the socket.
    parent : int
        Process id of the run.
    arena : int or None
        Of the memory that arrays are shared in, where there is any.
    backend : {"onnx", "openvino", "torch"}
        Whose library will be needed.
    """
    _die_with(parent)
    shared = None if arena is None else Arena(arena)
    channel = Channel(socket.socket(fileno=descriptor), shared)
    try:
        _preload(backend)
        _work(channel)
    except ChannelClosed:
        pass
    os._exit(0)  # nothing to tidy up, and libraries take their time over it


def _work(channel: Channel) -> None:
    spec, _ = channel.receive()
    try:
        with _warnings() as warnings:
            extractor = _make_extractor(spec["factory"], spec["arguments"])
            backend = extractor.backend
    except Vit1dxError as error:
        channel.send({"event": "refused", "error": type(error).__name__, "reason": str(error)})
        return
    except Exception as error:  # nobody else would see it: a worker's stderr goes nowhere
        reason = f"the model cannot be loaded: {type(error).__name__}: {reason_of(error)}"
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
            elif job["do"] == "measure":
                from .measure import measure

                channel.send({"event": "done", "speed": measure(extractor, path_of(job["path"]))})
            else:
                _extract(extractor, channel, job, spec["dtype"])
        except ChannelClosed:
            raise
        except Vit1dxError as error:
            channel.send({"event": "failed", "reason": str(error)})
        except MemoryError:
            channel.send({"event": "failed", "reason": "out of memory"})
        except Exception as error:  # whatever one file does to a decoder, the others come next
            reason = f"{type(error).__name__}: {reason_of(error)}"
            channel.send({"event": "failed", "reason": reason})


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect warnings for the run to pass on: a worker's stderr goes nowhere."""
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


def _extract(extractor: Any, channel: Channel, job: Message, dtype: DType) -> None:
    def progress(seconds: float = 0.0) -> None:
        channel.send({"event": "progress", "seconds": seconds})

    path = path_of(job["path"])
    digest = file_sha256(path, _throttled(progress)) if job["checksum"] else ""
    known = {"sha256": digest} if digest else {}
    keep_mean = "mean" in extractor.request.tokens
    if job["segments"]:
        _extract_segments(extractor, channel, job, dtype, known)
        return
    track = TokenBuffer(_ChannelSink(channel, job["path"]), dtype, keep_mean)
    extract_file(extractor, path, track, progress)
    track.attributes.update(known)
    track.finish()


def _extract_segments(
    extractor: Any, channel: Channel, job: Message, dtype: DType, known: Mapping[str, Any]
) -> None:
    """Extract parts of a file, in the order of their starts; one that fails stops no other."""
    from .excerpts import Excerpts

    keep_mean = "mean" in extractor.request.tokens
    with Excerpts(extractor, path_of(job["path"]), job["segments"], dtype) as excerpts:
        for number in range(len(job["segments"])):
            about = {"segment": number, "more": number + 1 < len(job["segments"])}

            def progress(seconds: float, number: int = number) -> None:
                channel.send({"event": "progress", "seconds": seconds, "segment": number})

            track = TokenBuffer(_ChannelSink(channel, job["path"], about), dtype, keep_mean)
            try:
                excerpts.extract(number, track, progress)
                track.attributes.update(known)
                track.finish()
            except Vit1dxError as error:
                if excerpts.is_broken:  # so are those that follow
                    raise
                channel.send({"event": "failed", "reason": str(error), **about})


def extract_file(
    extractor: Extractor,
    path: AnyPath,
    track: TokenBuffer,
    progress: Callable[[float], None] = lambda seconds: None,
) -> None:
    """Extract one file, all but the last step.

    Parameters
    ----------
    extractor : Extractor
    path : Path
    track : TokenBuffer
        To be finished by the caller; its attributes will be what is known of the file.
    progress : callable
        Called now and then with the seconds of audio done since the last call.

    Raises
    ------
    AudioError
        If there is no usable audio in it.
    TokensError
        If what the model gives of it cannot be kept.
    """
    from ..audio.checks import SignalChecks
    from ..audio.decode import AudioFile
    from ..audio.files import mtime_ns, printable

    with AudioFile(path) as file:
        done = 0.0
        checks = SignalChecks(file.sample_rate)
        blocks = checks.watch(file.blocks())
        # Closed, no thread writes any more into memory that the next track will have.
        with closing(
            extractor.stream(blocks, file.sample_rate, track.dtype, track.empty)
        ) as stream:
            for tokens in stream:
                track.add(tokens)
                progress(tokens.end - done)
                done = tokens.end
        track.attributes = {
            "source": printable(place_of(path)),
            "size": file.status.st_size,
            "mtime_ns": mtime_ns(file.status),
            "duration": file.duration,
            "sample_rate": file.sample_rate,
            "channels": file.channels,
            "start_time": file.start_time,
            "decoder": file.decoder,
        }
        if found := [*file.warnings, *checks.warnings()]:
            track.attributes["warnings"] = warning_texts(found)


def _throttled(call: Callable[[], None]) -> Callable[[], None]:
    """A function that makes a call once in `PROGRESS_SECONDS` at most."""
    last = time.monotonic()

    def throttled() -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            call()

    return throttled


class _ChannelSink:
    """Sends a track's arrays on; a `Sink`."""

    def __init__(self, channel: Channel, path: str, about: Mapping[str, Any] = {}) -> None:
        self._channel, self._path, self._about = channel, path, about
        channel.discard()  # a track before this one may have ended halfway

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        return self._channel.empty(shape, dtype)

    def keep(self, array: Array) -> Array:
        return self._channel.share(array)

    @cached_property
    def _expected(self) -> float | None:
        """Seconds that the file's header declares: how far the track will grow."""
        if self._about:  # a part of it
            return None
        return _probe(self._path)

    def append(self, parts: Parts) -> None:
        names, arrays = _flattened(parts)
        about = {key: value for key, value in self._about.items() if key != "more"}
        message = {"event": "part", "names": names, "seconds": self._expected, **about}
        self._channel.send(message, arrays)

    def finish(self, parts: Parts, totals: Totals) -> None:
        names, arrays = _flattened(parts)
        known = {"checksums": totals.checksums, "attributes": totals.attributes}
        message = {"event": "done", "names": names, **known, **self._about}
        if totals.mean_token is not None:
            message["names"], arrays = ["mean_token", *names], [totals.mean_token, *arrays]
        self._channel.send(message, arrays)


def _flattened(parts: Parts) -> tuple[list[str], list[Array]]:
    named = [(name, part) for name, held in parts.items() for part in held]
    return [name for name, _ in named], [part for _, part in named]


def parts_of(names: Iterable[str], arrays: Iterable[Array]) -> dict[str, list[Array]]:
    """Parts of arrays, from the names and arrays of a message."""
    parts: dict[str, list[Array]] = {}
    for name, array in zip(names, arrays, strict=True):
        parts.setdefault(name, []).append(array)
    return parts


def file_sha256(path: AnyPath, check: Callable[[], None] = lambda: None) -> str:
    """Hexadecimal SHA-256 of a file's bytes; `check` is called many times a second.

    Raises
    ------
    AudioError
        If it cannot be read.
    """
    from ..audio.files import require_readable
    from ..model.weights import sha256

    require_readable(path)
    return sha256(path, check)


def _make_extractor(factory: str, arguments: Message) -> Any:
    """An extractor, made by ``module:callable``."""
    module, _, name = factory.partition(":")
    return getattr(import_module(module), name)(**arguments)


def _preload(backend: str) -> None:
    """Import what takes long while the run still looks for files."""
    with suppress(Exception):  # imported again where it is needed, it gives its reason
        import_module(f"vit1dx.model.{backend}")
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
