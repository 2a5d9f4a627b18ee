"""A run over many files: each is done or recorded as failed, and none stops the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .collect import Source
from .errors import AudioError, WriteError
from .extract import Extracted, Extractor, extract_file
from .stop import Stopped
from .store import FeatureWriter


class Progress(Protocol):
    """Is told how a run goes on."""

    def advanced(self, source: Source, seconds: float) -> None:
        """So many more seconds of a file were done."""

    def finished(self, source: Source, seconds: float) -> None:
        """A file was written; it was `seconds` long."""

    def failed(self, source: Source, reason: str) -> None:
        """A file was recorded as failed."""

    def warned(self, source: Source, warning: str) -> None:
        """Something looked wrong with a file, though it was written."""


@dataclass
class Summary:
    """What came of a run.

    Attributes
    ----------
    output : Path
    files : int
        Files found.
    done : int
        Files written.
    failures, warnings : list of (id, reason)
    audio_seconds : float
        Of the files written.
    wall_seconds : float
    output_bytes : int
    stopped : str or None
        Why the run ended early, if it did.
    """

    output: Path
    files: int
    done: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    audio_seconds: float = 0.0
    wall_seconds: float = 0.0
    output_bytes: int = 0
    stopped: str | None = None

    @property
    def speed(self) -> float:
        """Times real time."""
        return self.audio_seconds / self.wall_seconds if self.wall_seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values, for JSON."""
        return {
            "output": str(self.output),
            "output_bytes": self.output_bytes,
            "files": self.files,
            "done": self.done,
            "failed": len(self.failures),
            "failures": [{"id": key, "reason": reason} for key, reason in self.failures],
            "warnings": [{"id": key, "warning": text} for key, text in self.warnings],
            "audio_hours": self.audio_seconds / 3600,
            "wall_seconds": self.wall_seconds,
            "times_real_time": self.speed,
            "stopped": self.stopped,
        }


def run(
    sources: Sequence[Source],
    extractor: Extractor,
    writer: FeatureWriter,
    progress: Progress,
    check: Callable[[], None] = lambda: None,
) -> Summary:
    """Extract all sources, in order, into an open feature file, and close it.

    `check` is called between files and between batches of windows. By raising `Stopped` it ends the
    run: what was finished is kept, and the summary says so.

    Raises
    ------
    WriteError
        If the file can no longer be written.
    """
    summary = Summary(writer.path, len(sources))
    began = time.perf_counter()
    with writer:
        try:
            for source in sources:
                check()
                _one(source, extractor, writer, progress, summary, check)
        except Stopped as stopped:
            summary.stopped = str(stopped)
    summary.wall_seconds = time.perf_counter() - began
    summary.output_bytes = writer.path.stat().st_size
    return summary


def _one(
    source: Source,
    extractor: Extractor,
    writer: FeatureWriter,
    progress: Progress,
    summary: Summary,
    check: Callable[[], None],
) -> None:
    try:
        extracted = _extract(source, extractor, writer, progress, check)
    except (WriteError, Stopped):
        raise
    except Exception as error:  # whatever one file does to a decoder, the others come next
        known = isinstance(error, AudioError)
        reason = writer.fail(source.id, str(error) if known else f"{type(error).__name__}: {error}")
        summary.failures.append((source.id, reason))
        progress.failed(source, reason)
        return
    summary.done += 1
    summary.audio_seconds += extracted.duration
    for warning in extracted.warnings:
        summary.warnings.append((source.id, warning))
        progress.warned(source, warning)
    progress.finished(source, extracted.duration)


def _extract(
    source: Source,
    extractor: Extractor,
    writer: FeatureWriter,
    progress: Progress,
    check: Callable[[], None],
) -> Extracted:
    def advanced(seconds: float) -> None:
        check()
        progress.advanced(source, seconds)

    if source.problem is not None:
        raise AudioError(source.problem)
    with writer.track(source.id) as track:
        return extract_file(extractor, source.path, track, advanced)
