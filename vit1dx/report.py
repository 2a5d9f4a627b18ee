"""What the command line prints: the start and the result of a run, tables, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .audio_warnings import AudioWarning
from .backend import BackendInfo
from .batch import Summary
from .checks import Report
from .estimate import Durations, Size, format_bytes
from .resume import Plan
from .weights import WeightsInfo

#: Failures listed at the end of a run; the feature file has all.
SHOWN_FAILURES = 20


def show_plan(console: Console, plan: Plan) -> None:
    """Say what of a run the output holds already."""
    if plan.already or plan.changed or plan.failures:
        console.print(
            f"going on: {plan.already} files are in the output, {plan.changed} have changed since, "
            f"{len(plan.failures)} failed before",
            soft_wrap=True,
        )


def show_start(
    console: Console,
    weights: WeightsInfo,
    backend: BackendInfo,
    durations: Durations,
    size: Size,
    warnings: Sequence[AudioWarning],
) -> None:
    """Say what is about to be done, and what the user should know before."""
    hours = sum(durations.seconds.values()) / 3600
    lines = [
        f"{len(durations.seconds)} files, about {hours:.2f} h of audio; expected output "
        f"{format_bytes(size.total)} (tokens {format_bytes(size.tokens)}, "
        f"attention {format_bytes(size.attention)})",
        f"{weights.name} ({weights.precision}) with {backend.name} {backend.version} "
        f"on {backend.device}",
    ]
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
    if not weights.trained:
        text = (
            f"the weights {weights.name} are untrained (seeded random): good for trying vit1dx "
            "out, not for results"
        )
        found.append(AudioWarning("untrained", text))
    if dtype == "float16":
        text = "xarray's netcdf4 engine crashes on float16; h5py and h5netcdf do not"
        found.append(AudioWarning("float16", text))
    return found


def print_summary(summary: Summary) -> None:
    """Print what came of a run."""
    console = Console(highlight=False)
    for track_id, reason in summary.failures[:SHOWN_FAILURES]:
        console.print(escape(f"failed: {track_id}: {reason}"), soft_wrap=True)
    if len(summary.failures) > SHOWN_FAILURES:
        more = len(summary.failures) - SHOWN_FAILURES
        console.print(f"... and {more} more, listed in {summary.output} under /failures")
    if summary.warnings:
        counts = ", ".join(f"{code} {n}" for code, n in summary.warning_counts.items())
        console.print(f"{len(summary.warnings)} warnings: {counts}", soft_wrap=True)
    if summary.gone:
        few = ", ".join(summary.gone[:3]) + (", ..." if len(summary.gone) > 3 else "")
        line = f"{len(summary.gone)} tracks of the output have no file here any more: {few}"
        console.print(escape(line), soft_wrap=True)
    already = f", {summary.already} done before" if summary.already else ""
    line = (
        f"{summary.done} of {summary.files} files done{already}, {len(summary.failures)} failed: "
        f"{summary.audio_seconds / 3600:.2f} h of audio in {summary.wall_seconds:.1f} s, "
        f"{summary.speed:.0f}x real time; {summary.output}, {format_bytes(summary.output_bytes)}"
    )
    if summary.stopped:
        line = f"{summary.stopped}: {line}; the same command goes on from there"
    console.print(escape(line), soft_wrap=True)


def print_report(report: Report, repaired: bool = False) -> None:
    """Print what a check of features found."""
    console = Console(highlight=False)
    for track_id, problem in report.problems:
        console.print(escape(f"{track_id or report.path}: {problem}"), soft_wrap=True)
    kept = "kept" if repaired else "sound"
    line = f"{report.path}: {len(report.sound)} of {report.tracks} tracks {kept}"
    if not report.finished:
        line += "; the run that wrote it did not come to its end"
    console.print(escape(line), soft_wrap=True)


def print_json(values: Mapping[str, Any]) -> None:
    """Print values as JSON."""
    print(json.dumps(values, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows as a table."""
    table = Table(show_header=any(columns), box=None)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    Console(highlight=False).print(table)


def flatten(values: Mapping[str, Any]) -> list[list[str]]:
    """Rows of dotted keys and values, for `print_table`."""
    return [[key, text] for key, text in _flat(values)]


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", text) for inner, text in _flat(value))
        else:
            yield key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)
