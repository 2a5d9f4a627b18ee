"""What a run would do, and how long it would take, before anything is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from ..extractor import Extractor
from ..parallel import usable_cores
from ..remote import text_of
from ..store.existing import require_no_shard
from ..store.place import feature_files, require_folder, require_writable
from ..whole import resolved
from .estimate import Durations, estimate_seconds, estimate_size, probe_in
from .loop import by_file
from .plan import Plan
from .pool import Job, Pool
from .results import Forecast, Summary
from .run import Options, header_of, planned, require_not_read, worker_spec
from .signals import Stopped, StopSignals
from .sources import Source

#: Files tried for a measurement of speed, and seconds that one may take.
MEASURED_FILES, MEASURE_SECONDS = 3, 60.0


def forecast_all(
    sources: Sequence[Source], extractor: Extractor, options: Options, pool: Pool
) -> Summary:
    """What `vit1dx.run.run.extract_all` would do of the sources; nothing is written.

    Raises
    ------
    Vit1dxError
        If the output could not be written, or was made differently.
    """
    _require_output(options)
    require_not_read(options.output, sources)
    output = options.upload.path if options.upload else options.output
    summary = Summary(output, 0)
    with StopSignals(options.raise_signals) as signals:
        try:
            header = header_of(extractor, options)
            done = planned(output, sources, header, options, signals.check, True)
            summary.take_over(len(sources), done)
            summary.forecast = _forecast(done, extractor, options, pool, signals.check)
        except Stopped as stopped:
            summary.stopped = str(stopped)
    summary.output_bytes = sum(file.stat().st_size for file in feature_files(output))
    return summary


def _require_output(options: Options) -> None:
    if options.upload:
        options.upload.require_no_parts()
    elif options.shard_bytes is None:
        require_writable(options.output)
        require_no_shard(options.output)
    elif options.output.is_dir():  # otherwise it would be made
        require_folder(options.output)


def _forecast(
    done: Plan, extractor: Extractor, options: Options, pool: Pool, check: Callable[[], None]
) -> Forecast:
    workers = min(options.workers or usable_cores(), max(1, len(by_file(done.todo))))
    durations, speed = Durations({}, set(), {}), None
    if done.todo:
        pool.resize(workers)
        backend = pool.load(worker_spec(extractor, options, 1), check)
        workers = workers if backend.device == "cpu" else 1
        pool.resize(workers)
        durations = estimate_seconds(done.todo, lambda probed: probe_in(pool, probed, check))
        speed = _speed(pool, done.todo, check)
    seconds = sum(durations.seconds.values())
    return Forecast(
        len(done.todo),
        seconds,
        len(durations.guessed),
        estimate_size(seconds, len(done.todo), extractor.config, extractor.request, options.dtype),
        None if options.upload else _free_bytes(options.output),
        workers,
        speed,
    )


def _free_bytes(output: Path) -> int:
    """Room on the disk of an output that may not be there yet, nor the folder of a part's."""
    real = resolved(output)
    home = next(path for path in (real, *real.absolute().parents) if path.is_dir())
    return shutil.disk_usage(home).free


def _speed(pool: Pool, sources: Sequence[Source], check: Callable[[], None]) -> float | None:
    """Seconds of audio that one process does a second; None if some files cannot be used."""
    usable = [source for source in sources if source.size and not source.problem]
    for source in usable[:: max(1, len(usable) // MEASURED_FILES)][:MEASURED_FILES]:
        for event in pool.run([Job("measure", source.id, text_of(source.path), MEASURE_SECONDS)]):
            check()
            if event.message.get("speed"):
                return float(event.message["speed"])
    return None
