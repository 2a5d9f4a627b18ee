"""One run of ``vit1dx extract``: from sources and options to a summary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .batch import Limits, Summary, run
from .collect import Source
from .cores import usable_cores
from .errors import StoreError
from .estimate import estimate_seconds, estimate_size, grown_size, probe_in, require_space
from .extract import Extractor
from .header import Header, config_dict
from .journal import recover
from .lock import OutputLock
from .output import Output, feature_files, require_folder, require_writable
from .pool import Pool
from .progress import reporting, stderr_console, waiting
from .reader import require_no_shard
from .report import show_plan, show_start
from .resume import Plan, plan
from .sharded import FolderWriter
from .stop import Stopped, StopSignals
from .store import FeatureWriter


@dataclass(frozen=True)
class Options:
    """How a run goes about its files.

    Attributes
    ----------
    output : Path
    shard_bytes : int or None
        Most bytes of a shard, where the output is a folder of them.
    dtype : {"float32", "float16"}
    overwrite, retry_failed, checksum, quiet : bool
    workers : int or None
        Processes; one a usable core by default, and one alone on a graphics processor.
    timeout : float or None
        Seconds a file may take; by default ten minutes and its duration.
    memory : float
        GiB that a worker may take beyond what it starts with.
    factory : str
        What makes the workers' extractor, as ``module:callable``.
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
    factory: str = "vit1dx.extract:Extractor"


def extract_all(
    sources: Sequence[Source], extractor: Extractor, options: Options, pool: Pool
) -> Summary:
    """Extract what of the sources the output does not hold yet.

    Raises
    ------
    Vit1dxError
        If the output cannot be written, is another run's, or was made differently.
    """
    header = Header(extractor.weights, extractor.config, extractor.request, options.dtype)
    _require_output(options)
    with OutputLock(options.output), StopSignals() as signals:
        summary = Summary(options.output, len(sources))
        try:
            done = _compare(sources, header, options, signals.check)
            summary.already, summary.changed = done.already, done.changed
            summary.gone, summary.failures = done.gone, done.failures
            if done.todo:
                _extract(done, extractor, header, options, pool, signals.check, summary)
            elif not done.finished:
                _writer(header, options).close()
        except Stopped as stopped:
            summary.stopped = str(stopped)
        summary.output_bytes = sum(file.stat().st_size for file in feature_files(options.output))
        return summary


def _require_output(options: Options) -> None:
    """Have the place of the output there, and writable."""
    if options.shard_bytes is None:
        require_writable(options.output)
        require_no_shard(options.output)
    else:
        require_folder(options.output)


def _writer(header: Header, options: Options) -> Output:
    if options.shard_bytes is None:
        return FeatureWriter(options.output, header, options.overwrite)
    return FolderWriter(options.output, header, options.shard_bytes, options.overwrite)


def _compare(
    sources: Sequence[Source], header: Header, options: Options, check: Callable[[], None]
) -> Plan:
    """`_plan`; where it hashes files it may take hours, and says so."""
    quiet = options.quiet or not options.checksum
    with waiting("comparing files with the output", stderr_console(), quiet) as passing:

        def checked() -> None:
            check()
            passing()

        return _plan(sources, header, options, checked)


def _plan(
    sources: Sequence[Source], header: Header, options: Options, check: Callable[[], None]
) -> Plan:
    files = feature_files(options.output)
    if options.overwrite or not files:
        return Plan(list(sources))
    try:
        for file in files:
            recover(file)
    except OSError as error:
        raise StoreError(f"{options.output} cannot be written: {error.strerror}") from None
    settings = {
        "model_sha256": header.weights.sha256,
        "precision": header.weights.precision,
        "config": config_dict(header.config, header.request, header.dtype),
    }
    again = options.retry_failed, options.checksum
    return plan(sources, options.output, settings, *again, check)


def _extract(
    done: Plan,
    extractor: Extractor,
    header: Header,
    options: Options,
    pool: Pool,
    check: Callable[[], None],
    summary: Summary,
) -> None:
    # Files go side by side; where there are fewer than cores, their windows do.
    cores = options.workers or usable_cores()
    arguments = {**extractor.arguments(), "threads": max(1, cores // len(done.todo))}
    spec: dict[str, Any] = {
        "factory": options.factory,
        "arguments": arguments,
        "dtype": options.dtype,
        "memory": int(options.memory * (1 << 30)),
    }
    processes = min(cores, len(done.todo))
    pool.resize(processes)  # they import their libraries while the first one loads the model
    backend = pool.load(spec, check)
    pool.resize(processes if backend.device == "cpu" else 1)
    expected = estimate_seconds(done.todo, lambda probed: probe_in(pool, probed, check))
    seconds = sum(expected.values())
    of = extractor.config, extractor.request, options.dtype
    size = estimate_size(seconds, len(done.todo), *of)
    require_space(options.output, size)
    console = stderr_console()
    if not options.quiet:
        show_plan(console, done)
        show_start(
            console, extractor.weights, backend, len(done.todo), seconds, size, options.dtype
        )
    with reporting(expected, console, options.quiet) as progress:
        writer = _writer(replace(header, backend=backend), options)
        limits = Limits(
            expected, lambda length: grown_size(length, *of), options.timeout, options.checksum
        )
        run(done.todo, pool, writer, progress, limits, summary, check)
