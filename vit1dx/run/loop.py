"""The loop of a run: each file is done or recorded as failed, and none stops the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import AudioError, AudioWarning
from ..remote import text_of
from ..store.format import parse_warnings
from ..store.track import Parts, Totals, TrackWriter, size_of
from ..store.writer import Output
from .estimate import TRACK_BYTES, format_bytes, most_seconds
from .pool import Event, Job, Pool
from .progress import Progress
from .results import Summary
from .room import Room
from .signals import Stopped
from .sources import Source
from .worker import parts_of

#: Seconds that a file may take, whatever its length; and those it may take more for each of its
#: own: hundreds of times what it needs.
LEAST_SECONDS, SECONDS_A_SECOND = 600.0, 1.0


@dataclass(frozen=True)
class Limits:
    """What a file may take.

    Attributes
    ----------
    expected : mapping of str to float
        Expected duration of each file, s, by id.
    size : callable
        Bytes that a track will grow to on disk, from the seconds that its file is expected to be
        long.
    room : Room
        What is left on the disk.
    seconds : float or None
        Seconds for each file; by default ten minutes and its duration.
    checksum : bool
        Whether to sum up files' bytes too.
    """

    expected: Mapping[str, float]
    size: Callable[[float], int]
    room: Room
    seconds: float | None = None
    checksum: bool = False

    def job(self, sources: Sequence[Source]) -> Job:
        """The job of extracting a file, or segments of one."""
        segments = [source.segment for source in sources if source.segment]
        length = sum(self.expected.get(source.id, 0.0) for source in sources)
        length += max([segment.start for segment in segments], default=0.0)
        usual = LEAST_SECONDS + SECONDS_A_SECOND * length
        seconds = usual if self.seconds is None else self.seconds
        parts = [(segment.start, segment.end) for segment in segments]
        first = sources[0]
        return Job("extract", first.id, text_of(first.path), seconds, self.checksum, parts)


def run(
    sources: Sequence[Source],
    pool: Pool,
    writer: Output,
    progress: Progress,
    limits: Limits,
    summary: Summary,
    check: Callable[[], None] = lambda: None,
    is_last: bool = True,
) -> None:
    """Extract all sources into an open output, close it, and complete the summary.

    The output is marked as finished if these are the last of a run.

    `check` is called several times a second. By raising `Stopped` it ends the run: what was
    finished is kept, and the summary says so.

    Raises
    ------
    WriteError
        If the output can no longer be written.
    """
    began = time.perf_counter()
    with writer:
        add(sources, pool, writer, progress, limits, summary, check)
        writer.finished = is_last and summary.stopped is None
    summary.wall_seconds += time.perf_counter() - began


def by_file(sources: Iterable[Source]) -> list[list[Source]]:
    """Sources by what is read at once: segments of one file together, in the order of their starts.

    Files come in the order of their first sources.
    """
    groups: dict[object, list[Source]] = {}
    for source in sources:
        is_part = source.segment is not None and source.problem is None
        groups.setdefault(source.path if is_part else source.id, []).append(source)
    return [
        sorted(group, key=lambda s: s.segment.start if s.segment else 0.0)
        for group in groups.values()
    ]


def add(
    sources: Sequence[Source],
    pool: Pool,
    writer: Output,
    progress: Progress,
    limits: Limits,
    summary: Summary,
    check: Callable[[], None],
) -> None:
    """`run`, but the output stays open, and what was finished last may wait for its commit."""
    extraction = _Run(writer, progress, limits, summary)
    try:
        for event in pool.run(extraction.jobs(sources)):
            check()
            extraction.handle(event)
            writer.commit_if_due()
    except Stopped as stopped:
        summary.stopped = str(stopped)


class _Run:
    """Puts the workers' results into the output, the summary and the progress."""

    def __init__(
        self, writer: Output, progress: Progress, limits: Limits, summary: Summary
    ) -> None:
        self._writer, self._progress, self._summary = writer, progress, summary
        self._limits = limits
        self._jobs: dict[str, list[Source]] = {}
        self._growing: dict[str, TrackWriter] = {}
        self._pending: set[str] = set()

    def jobs(self, sources: Sequence[Source]) -> Iterator[Job]:
        """What there is to do; what cannot be done fails on the way."""
        for group in by_file(sources):
            usable = [source for source in group if self._is_usable(source)]
            if usable:
                self._jobs[usable[0].id] = usable
                for source in usable:
                    self._progress.started(source)
                yield self._limits.job(usable)

    def _is_usable(self, source: Source) -> bool:
        try:
            if source.problem is not None:
                raise AudioError(source.problem)
            self._writer.require_place(source.id)
        except AudioError as error:
            self._failed(source, str(error))
            return False
        self._pending.add(source.id)
        return True

    def handle(self, event: Event) -> None:
        """Handle a message of a worker."""
        if event.job is None:
            self._progress.show()
            return
        message, sources = event.message, self._jobs[event.job.id]
        if event.kind == "failed" and "segment" not in message:  # the file, or its process
            for source in sources:
                if source.id in self._pending:
                    self._growing.pop(source.id, None)
                    self._failed(source, message["reason"])
            return
        source = sources[message.get("segment", 0)]
        if event.arrays:
            self._limits.room.require(source.id, sum(array.nbytes for array in event.arrays))
        if event.kind == "progress":
            self._progress.advanced(source, message["seconds"])
        elif event.kind == "part":
            self._append(source, parts_of(message["names"], event.arrays), message["seconds"])
        elif event.kind == "done":
            parts = parts_of(message["names"], event.arrays)
            (mean,) = parts.pop("mean_token", [None])
            totals = Totals(mean, message["checksums"], message["attributes"])
            self._finish(source, parts, totals)
            self._done(source, totals.attributes)
        else:
            self._growing.pop(source.id, None)
            self._failed(source, message["reason"])

    def _append(self, source: Source, parts: Parts, seconds: float | None) -> None:
        track = self._growing.get(source.id)
        if track is None:
            believed = seconds if seconds and 0 < seconds <= most_seconds(source) else None
            size = self._limits.size(believed or self._limits.expected[source.id])
            track = self._growing[source.id] = self._begin(source, size)
        track.append(parts)

    def _finish(self, source: Source, parts: Parts, totals: Totals) -> None:
        track = self._growing.pop(source.id, None)
        track = track or self._begin(source, size_of(parts) + TRACK_BYTES)
        track.finish(parts, totals)

    def _begin(self, source: Source, size: int) -> TrackWriter:
        """A place for a track, sought only when its size is known."""
        if size > self._writer.limit:
            self._warned(
                source,
                AudioWarning(
                    "shard",
                    f"about {format_bytes(size)} of features, more than the "
                    f"{format_bytes(self._writer.limit)} of a shard; it gets one of its own",
                ),
            )
        return self._writer.begin(source.id, size)

    def _done(self, source: Source, attributes: Mapping[str, Any]) -> None:
        self._pending.discard(source.id)
        self._summary.done += 1
        self._summary.audio_seconds += attributes["duration"]
        for warning in parse_warnings(attributes.get("warnings", ())):
            self._warned(source, warning)
        self._progress.finished(source, attributes["duration"])

    def _warned(self, source: Source, warning: AudioWarning) -> None:
        self._summary.warnings.append((source.id, warning))
        self._progress.warned(source, warning.text)

    def _failed(self, source: Source, reason: str) -> None:
        self._pending.discard(source.id)
        stamp = source.size, source.mtime_ns, source.part
        reason = self._writer.fail(source.id, reason, *stamp)
        self._summary.failures.append((source.id, reason))
        self._progress.failed(source, reason)
