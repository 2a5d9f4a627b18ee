"""One run of ``vit1dx extract``: from sources and options to a summary."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ..audio.files import mtime_ns, printable
from ..errors import StoreError, UsageError
from ..extractor import Extractor
from ..model.request import require_choice
from ..parallel import usable_cores
from ..remote import AnyPath, RemotePath
from ..store.existing import require_extendable, require_no_shard, require_replaceable
from ..store.format import Header, config_dict
from ..store.lock import OutputLock
from ..store.place import feature_files, require_folder, require_writable
from ..store.shards import FolderWriter
from ..store.shared import recover_output
from ..store.writer import FeatureWriter, Output
from .estimate import (
    Durations,
    estimate_seconds,
    estimate_size,
    grown_size,
    probe_in,
    require_space,
)
from .loop import Limits, by_file, run
from .plan import Plan, plan
from .pool import Pool
from .progress import Progress, reporting, stderr_console, waiting
from .remarks import run_warnings, show_plan, show_start
from .results import Summary
from .room import Room
from .signals import Stopped, StopSignals
from .sources import Source
from .upload import RemoteOutput

#: Bytes that no worker has: a limit that is none.
UNLIMITED = 1 << 62


@dataclass(frozen=True)
class Options:
    """How a run treats its files.

    Attributes
    ----------
    output : Path
    shard_bytes : int or None
        Most bytes of a shard, where the output is a folder of them.
    dtype : {"float32", "float16"}
    overwrite, retry_failed, checksum, quiet : bool
    raise_signals : bool
        See `vit1dx.extract`.
    workers : int or None
        Processes; one a usable core by default, and one alone on a graphics processor.
    timeout : float or None
        Seconds a file may take; by default ten minutes and its duration.
    memory : float
        GiB that a worker may take beyond what it starts with; infinity is no limit.
    factory : str
        What makes the workers' extractor, as ``module:callable``.
    upload : RemoteOutput or None
        Where the shards go; `output` is its staging folder.
    shares : str
        See `vit1dx.store.format.Header`.
    """

    output: Path
    shard_bytes: int | None = None
    dtype: str = "float32"
    overwrite: bool = False
    retry_failed: bool = False
    checksum: bool = False
    workers: int | None = None
    timeout: float | None = None
    memory: float = 2.0
    quiet: bool = False
    raise_signals: bool = False
    factory: str = "vit1dx.extractor:Extractor"
    shares: str = ""
    upload: RemoteOutput | None = None

    def __post_init__(self) -> None:
        require_choice("dtype", self.dtype)
        if not self.memory > 0:
            raise UsageError(
                f"memory {self.memory} GiB; a number above 0 is accepted; inf: no limit"
            )
        if self.timeout is not None and not self.timeout > 0:
            raise UsageError(f"timeout {self.timeout} s; a number above 0 is accepted")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"workers {self.workers}; 1 or more are accepted")


class Elsewhere(Protocol):
    """Does a run's files somewhere else than in this machine's processes."""

    def seal(self, output: Path) -> None:
        """Have those that still write to an output end and close it; the run has its lock."""

    def extract(
        self,
        done: Plan,
        extractor: Extractor,
        header: Header,
        options: Options,
        check: Callable[[], None],
        summary: Summary,
    ) -> None:
        """Do what is to be done of some sources, and add it to the summary."""

    def finish(self, options: Options, summary: Summary) -> bool:
        """Close the output, after all sources; whether it was written, and so says how it ended."""


def extract_all(
    sources: Sequence[Source], extractor: Extractor, options: Options, pool: Pool | Elsewhere
) -> Summary:
    """Extract what of the sources the output does not hold yet; see `extract_batches`."""
    return extract_batches([sources], extractor, options, pool, one=True)


def extract_batches(
    batches: Iterable[Sequence[Source]],
    extractor: Extractor,
    options: Options,
    pool: Pool | Elsewhere,
    one: bool = False,
) -> Summary:
    """Extract what the output does not hold yet, of some sources after others.

    Parameters
    ----------
    one : bool
        Whether there is one batch: what else the output holds is looked for among its tracks.

    Raises
    ------
    Vit1dxError
        If the output cannot be written, is another run's, or was made differently.
    """
    header = header_of(extractor, options)
    _require_output(options)
    # The signals last, which may raise: by then the lock is free.
    with StopSignals(options.raise_signals) as signals, OutputLock(options.output):
        summary = Summary(options.output, 0)
        try:
            if options.upload:
                options.upload.begin(options.overwrite)
            _run_batches(batches, extractor, header, options, pool, signals.check, summary, one)
            if options.upload and not summary.stopped:
                options.upload.finish(signals.check)
        except Stopped as stopped:
            summary.stopped = str(stopped)
        finally:
            if options.upload:
                options.upload.leave()
        files = feature_files(options.output)
        summary.output_bytes = sum(file.stat().st_size for file in files)
        if options.upload:
            summary.output, summary.output_bytes = options.upload.path, options.upload.size
            summary.not_uploaded = options.upload.waiting
        return summary


def header_of(extractor: Extractor, options: Options) -> Header:
    """How the output is to be made."""
    return Header(
        extractor.weights,
        extractor.config,
        extractor.request,
        options.dtype,
        precision=extractor.precision,
        shares=options.shares,
    )


def _run_batches(
    batches: Iterable[Sequence[Source]],
    extractor: Extractor,
    header: Header,
    options: Options,
    pool: Pool | Elsewhere,
    check: Callable[[], None],
    summary: Summary,
    one: bool,
) -> None:
    finished = False
    try:
        if not isinstance(pool, Pool):
            pool.seal(options.output)
        for sources in batches:
            require_not_read(options.output, sources)
            done = _compare(sources, header, options, check, one)
            if not options.overwrite:
                _recover(options.output)
            summary.take_over(len(sources), done)
            if done.todo:
                if isinstance(pool, Pool):
                    _extract(done, extractor, header, options, pool, check, summary, one)
                else:
                    pool.extract(done, extractor, header, options, check, summary)
                options = replace(options, overwrite=False)
            summary.outdated += [key for key, _ in summary.failures if key in done.outdated]
            finished = one and (done.finished or bool(done.todo))
            if summary.stopped:
                break
    except Stopped as stopped:
        summary.stopped = str(stopped)
    if not isinstance(pool, Pool):
        finished = pool.finish(options, summary) or finished
    if not (summary.stopped or finished):
        _finish(extractor, header, options, pool, check)


def _finish(
    extractor: Extractor,
    header: Header,
    options: Options,
    pool: Pool | Elsewhere,
    check: Callable[[], None],
) -> None:
    """Record that all is done; a part of a collection may have no files at all."""
    if isinstance(pool, Pool) and not feature_files(options.output):
        backend = pool.load(worker_spec(extractor, options, 1), check)
        header = replace(header, backend=backend)
    _writer(header, options).close()


def _require_output(options: Options) -> None:
    """Make sure that the output can be written."""
    if options.shard_bytes is None:
        require_writable(options.output)
        require_no_shard(options.output)
    else:
        require_folder(options.output)
    if options.overwrite:
        for file in feature_files(options.output):
            require_replaceable(file)


def require_not_read(output: Path, sources: Sequence[Source]) -> None:
    """Raise `UsageError` if the output is one of the files to read, by whatever name."""
    files = feature_files(output) or [output]
    names = {file.name for file in files}
    found = [file.stat() for file in files if file.exists()]
    stamps = {(status.st_size, mtime_ns(status)) for status in found}
    for source in sources:
        if isinstance(source.path, RemotePath):
            continue
        if source.path.name in names or (source.size, source.mtime_ns) in stamps:
            for file in files:
                if _is_same_file(source.path, file):
                    raise UsageError(
                        f"{file} is among the files to read, as {printable(source.path)}; give "
                        "another -o"
                    )


def _is_same_file(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)


def _writer(header: Header, options: Options) -> Output:
    if options.shard_bytes is None:
        return FeatureWriter(options.output, header, options.overwrite)
    sealed = options.upload.sealed if options.upload else lambda path: None
    return FolderWriter(options.output, header, options.shard_bytes, options.overwrite, sealed)


def _compare(
    sources: Sequence[Source],
    header: Header,
    options: Options,
    check: Callable[[], None],
    others: bool,
) -> Plan:
    """`planned`; where it hashes files it may take hours, and is shown."""
    quiet = options.quiet or not options.checksum
    with waiting("comparing files with the output", stderr_console(), quiet) as passing:

        def checked() -> None:
            check()
            passing()

        return planned(options.output, sources, header, options, checked, others)


def planned(
    output: AnyPath,
    sources: Sequence[Source],
    header: Header,
    options: Options,
    check: Callable[[], None],
    others: bool,
) -> Plan:
    """What is to be done, by what an output holds, which is left as it is."""
    files = feature_files(output)
    if options.overwrite or not files:
        return Plan(list(sources))
    settings = {
        "model_sha256": header.weights.sha256,
        "precision": header.computes_in,
        "config": config_dict(header.config, header.request, header.dtype),
        **({"shares": header.shares} if header.shares else {}),
    }
    again = options.retry_failed, options.checksum
    done = plan(sources, output, settings, *again, check, others)
    is_file = isinstance(output, Path) and options.shard_bytes is None
    if is_file and (done.todo or not done.finished):
        require_extendable(options.output)
    return done


def _recover(output: Path) -> None:
    """Bring the files of an output to their last commit."""
    try:
        recover_output(output)
    except OSError as error:
        raise StoreError(f"{output} cannot be written: {error.strerror}") from None


def worker_spec(extractor: Extractor, options: Options, threads: int) -> dict[str, Any]:
    """What each worker loads."""
    return {
        "factory": options.factory,
        "arguments": {**extractor.arguments(), "threads": threads},
        "dtype": options.dtype,
        "memory": int(min(options.memory * (1 << 30), UNLIMITED)),
    }


def _extract(
    done: Plan,
    extractor: Extractor,
    header: Header,
    options: Options,
    pool: Pool,
    check: Callable[[], None],
    summary: Summary,
    is_last: bool,
) -> None:
    # Files go side by side; where there are fewer than cores, their windows do.
    cores = options.workers or usable_cores()
    jobs = len(by_file(done.todo))
    spec = worker_spec(extractor, options, max(1, cores // jobs))
    processes = min(cores, jobs)
    pool.resize(processes)  # they import their libraries while the first one loads the model
    backend = pool.load(spec, check)
    spec["arguments"]["device"] = backend.device  # what takes a process's place falls back no more
    pool.resize(processes if backend.device == "cpu" else 1)
    durations = estimate_seconds(done.todo, lambda probed: probe_in(pool, probed, check))
    header = replace(header, backend=backend)
    announce(done, header, durations, options, summary)
    of = header.config, header.request, header.dtype
    with reporting(durations.seconds, stderr_console(), options.quiet) as progress:
        writer = _writer(header, options)
        limits = Limits(
            durations.seconds,
            lambda length: grown_size(length, *of),
            Room(options.output, durations.guessed),
            options.timeout,
            options.checksum,
        )
        warn_of_lengths(done.todo, durations, progress, summary)
        run(done.todo, pool, writer, progress, limits, summary, check, is_last)


def announce(
    done: Plan, header: Header, durations: Durations, options: Options, summary: Summary
) -> None:
    """Say what is about to be done.

    Raises
    ------
    SpaceError
        If the disk has no room for it.
    """
    of = header.config, header.request, header.dtype
    sound, expected = durations.sound, durations.seconds
    if sound and options.upload is None:
        size = estimate_size(sum(sound.values()), len(sound), *of)
        require_space(options.output, size, sound)
    console = stderr_console()
    found = run_warnings(header.weights, header.dtype)
    summary.warnings += [(None, warning) for warning in found]
    if not options.quiet:
        assert header.backend is not None
        show_plan(console, done)
        size = estimate_size(sum(expected.values()), len(expected), *of)
        model = header.weights, header.computes_in, header.backend
        show_start(console, *model, durations, size, found)


def warn_of_lengths(
    sources: Sequence[Source], durations: Durations, progress: Progress, summary: Summary
) -> None:
    """Warn of headers that declare more than their files hold."""
    by_id = {source.id: source for source in sources}
    for track_id, warning in durations.warnings():
        summary.warnings.append((track_id, warning))
        progress.warned(by_id[track_id], warning.text)
