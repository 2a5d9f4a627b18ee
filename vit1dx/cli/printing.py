"""What the command line prints: the start and the result of a run, tables, JSON."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from ..errors import AudioWarning
from ..model.backend import BackendInfo
from ..model.weights import WeightsInfo
from ..run.estimate import Durations, Size, format_bytes
from ..run.plan import Plan
from ..run.results import Summary
from ..run.sources import AUDIO_LIKE_EXTENSIONS, PassedOver
from ..run.wording import count, duration, one_line, speed
from ..store.verify import Report
from . import console as consoles

#: Failures listed at the end of a run; the feature file has all.
SHOWN_FAILURES = 20
#: Endings named of those that were passed over.
SHOWN_ENDINGS = 6


def show_plan(console: Console, plan: Plan) -> None:
    """Say what of a run the output holds already."""
    if plan.already or plan.changed or plan.failures:
        console.print(
            f"going on: {count(plan.already, 'file')} done before, {len(plan.changed)} changed "
            f"since, {len(plan.failures)} failed before",
            soft_wrap=True,
        )


def show_start(
    console: Console,
    weights: WeightsInfo,
    precision: str,
    backend: BackendInfo,
    durations: Durations,
    size: Size,
    warnings: Sequence[AudioWarning],
) -> None:
    """Say what is about to be done, and what the user should know before."""
    files, seconds = len(durations.seconds), sum(durations.seconds.values())
    lines = [
        f"{count(files, 'file')}, about {duration(seconds)} of audio; expected output "
        f"{format_bytes(size.total)} (tokens {format_bytes(size.tokens)}, "
        f"attention {format_bytes(size.attention)})",
        f"{weights.name} ({precision}) with {backend.name} {backend.version} on {backend.device}",
    ]
    if weights.trained is None:
        lines.append(f"the weights {weights.name} do not say whether they were trained")
    if durations.guessed:
        lines.append(
            f"files whose length is not known beforehand: {len(durations.guessed)}; their part of "
            "that is a guess, and the room on the disk is watched"
        )
    lines += [f"warning: {warning.text}" for warning in warnings]
    for line in lines:
        console.print(escape(line), soft_wrap=True)


def run_warnings(weights: WeightsInfo, dtype: str) -> list[AudioWarning]:
    """What a user should know of a run before, whatever its files."""
    found = []
    if weights.trained is False:
        text = (
            f"the weights {weights.name} are untrained (seeded random): good for trying vit1dx "
            "out, not for results"
        )
        found.append(AudioWarning("untrained", text))
    if dtype == "float16":
        text = "xarray's netcdf4 engine crashes on float16; h5py and h5netcdf do not"
        found.append(AudioWarning("float16", text))
    return found


def describe(passed_over: PassedOver) -> list[str]:
    """What a search did not take, in lines."""
    lines = []
    endings = passed_over.other_endings
    other = f"{count(endings.total(), 'file')} of other endings ({_endings(endings)})"
    parts = ([f"{passed_over.hidden} hidden"] if passed_over.hidden else []) + (
        [other] if endings else []
    )
    if parts:
        lines.append(f"passed over: {', '.join(parts)}")
    if audio_like := sorted(AUDIO_LIKE_EXTENSIONS.intersection(endings)):
        lines.append(
            f"warning: {', '.join(audio_like)} may hold audio; --include '*{audio_like[0]}' takes "
            "such files"
        )
    lines += [f"warning: nothing matches the pattern {p!r}" for p in passed_over.unused_patterns]
    return lines


def _endings(endings: Mapping[str, int]) -> str:
    """The commonest endings and how often each is, those that may hold audio first."""
    order = sorted(
        endings, key=lambda ending: (ending not in AUDIO_LIKE_EXTENSIONS, -endings[ending])
    )
    shown = [f"{ending or 'none'} {endings[ending]}" for ending in order[:SHOWN_ENDINGS]]
    return ", ".join(shown + ["..."] * (len(order) > SHOWN_ENDINGS))


def show_passed_over(passed_over: PassedOver) -> None:
    """Say on standard error what a search did not take."""
    for line in describe(passed_over):
        print(one_line(line), file=sys.stderr, flush=True)


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
    _print(_result(summary))


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
    if summary.stopped:
        line = f"{summary.stopped}: {line}; the same command goes on from there"
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
    if not report.finished:
        line += "; the run that wrote it did not come to its end"
    _print(line)


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
