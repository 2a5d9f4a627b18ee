"""What the command line prints: results of runs and checks, tables, JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..run.estimate import format_bytes
from ..run.results import Summary
from ..run.wording import count, duration, one_line, speed
from ..store.merge import Merged
from ..store.verify import Report
from . import console as consoles

#: Failures listed at the end of a run; the feature file has all.
SHOWN_FAILURES = 20


def print_summary(summary: Summary, quiet: bool) -> None:
    """Print what came of a run; of the failures, only what was not on the same terminal before."""
    shown = [] if consoles.is_one() and not quiet else summary.failures[:SHOWN_FAILURES]
    print_failures({"id": track_id, "reason": reason} for track_id, reason in shown)
    if len(summary.failures) > len(shown):
        command = f"vit1dx info {shlex.quote(str(summary.output))} --failures"
        _print(f"{count(len(summary.failures), 'file')} failed; {command} lists all")
    if summary.warnings:
        counts = ", ".join(f"{code} {n}" for code, n in summary.warning_counts.items())
        _print(f"{count(len(summary.warnings), 'warning')}: {counts}")
    for line in _kept(summary):
        _print(line)
    for line in _forecast(summary) if summary.forecast else [_result(summary)]:
        _print(line)


def _forecast(summary: Summary) -> Iterator[str]:
    """What a run would do."""
    told = summary.forecast
    assert told is not None
    yield (
        f"to do: {told.todo} of {count(summary.files, 'file')} ({summary.already} done before, "
        f"{len(summary.failures)} failed before), about {duration(told.audio_seconds)} of audio"
    )
    if told.guessed:
        yield f"files of unknown length: {told.guessed}; their share is a guess"
    free = told.free_bytes
    room = "" if free is None or told.size.total <= free else "TOO LITTLE ROOM: "
    yield (
        f"{room}expected output {format_bytes(told.size.total)} (tokens "
        f"{format_bytes(told.size.tokens)}, attention {format_bytes(told.size.attention)})"
        + ("" if free is None else f"; {format_bytes(free)} free")
    )
    if told.seconds is not None and told.speed is not None:
        processes = "1 process" if told.workers == 1 else f"{told.workers} processes"
        yield (
            f"about {duration(told.seconds)} in {processes}, by one file at {speed(told.speed)} "
            "in one of them"
        )
    elif told.todo:
        yield "how long it takes is not known: none of the files tried could be read"
    yield "nothing was written"


def _result(summary: Summary) -> str:
    """The result of a run in a line."""
    already = f", {summary.already} done before" if summary.already else ""
    line = (
        f"{summary.done} of {count(summary.files, 'file')} done{already}, "
        f"{len(summary.failures)} failed"
    )
    if summary.done:
        line += (
            f": {duration(summary.audio_seconds)} of audio in {duration(summary.wall_seconds)}, "
            f"{speed(summary.speed)}"
        )
    line += f"; {summary.output}, {format_bytes(summary.output_bytes)}"
    if summary.not_uploaded:
        line += f", and {count(summary.not_uploaded, 'shard')} not uploaded yet"
    if summary.stopped:
        line = f"{summary.stopped}: {line}; the same command continues from there"
    return line


def print_failures(failures: Iterable[Mapping[str, str]]) -> None:
    """Print files that failed, each with the reason."""
    for failure in failures:
        _print(f"failed: {failure['id']}: {failure['reason']}")


def _kept(summary: Summary) -> Iterator[str]:
    """Lines on tracks that are in the output, and were not compared with a file, or not done."""
    for track_id, reason in summary.unreadable[:SHOWN_FAILURES]:
        yield f"not read, its track is kept: {track_id}: {reason}"
    if summary.outdated:
        yield (
            f"{count(len(summary.outdated), 'track')} kept of files that failed after they "
            f"changed: {_few(summary.outdated)}"
        )
    if summary.gone:
        yield (
            f"{count(len(summary.gone), 'track')} kept of files that are no longer where they "
            f"were read from: {_few(summary.gone)}"
        )
    if summary.others:
        others = count(summary.others, "other track")
        yield f"the output has {others}, of files that are not of this run"


def _few(ids: Sequence[str]) -> str:
    return ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")


def print_report(report: Report, repaired: bool = False) -> None:
    """Print what a check of features found."""
    for track_id, problem in report.problems:
        _print(f"{track_id or report.path}: {problem}")
    kept = "kept" if repaired else "sound"
    line = f"{report.path}: {len(report.sound)} of {count(report.tracks, 'track')} {kept}"
    if report.parts:
        line += f"; {report.parts}"
    elif not report.finished:
        line += "; the run that wrote it did not come to its end"
    _print(line)


def print_merged(merged: Merged) -> None:
    """Print what came of a merge."""
    for track_id, reason in list(merged.missing.items())[:SHOWN_FAILURES]:
        _print(f"missing: {track_id}: {reason or 'in no input'}")
    if len(merged.missing) > SHOWN_FAILURES:
        _print(f"{len(merged.missing)} of the tracks selected are missing; --json lists all")
    for track_id, reason in merged.unread:
        _print(f"not copied: {track_id}: {reason}")
    for path, state in merged.unfinished.items():
        _print(f"unfinished: {path}: {state}")
    doubled = f", {count(merged.duplicates, 'duplicate')}" if merged.duplicates else ""
    _print(
        f"{count(merged.copied, 'track')} and {count(merged.failures, 'failure')} merged of "
        f"{count(merged.inputs, 'file')}, {merged.already} there before{doubled}"
    )
    if merged.report is not None:
        print_report(merged.report)


def print_json(values: Mapping[str, Any]) -> None:
    """Print values as JSON."""
    print(json.dumps(values, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows as a table, each on a line of its own; without columns, without a heading."""
    lines = [[one_line(cell) for cell in row] for row in ([columns, *rows] if columns else rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def flatten(values: Mapping[str, Any]) -> list[list[str]]:
    """Rows of dotted keys and values, for `print_table`."""
    return [[key, text] for key, text in _flat(values)]


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", text) for inner, text in _flat(value))
        else:
            yield key, ", ".join(map(_text, value if isinstance(value, list) else [value]))


def _text(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _print(line: str) -> None:
    print(one_line(line))
