"""What `vit1dx probe` and `vit1dx predict` show and write: progress, tables, curves, labels."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import UsageError
from ..whole import whole

if TYPE_CHECKING:
    from ..probe.predict import Timeline
    from ..probe.report import Report
    from ..probe.run import Progress
    from ..probe.saved import SavedProbe
    from ..store.reader import Features

Form = Literal["table", "markdown", "csv", "json"]
#: Seconds after which a line shows where a run is, without a terminal.
QUIET_SECONDS = 30.0


@contextmanager
def progress() -> Iterator[Progress]:
    """Features done, of all, on standard error: a bar on a terminal, else a line now and then."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    shown = [time.monotonic()]
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("probes", total=None)

        def show(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name)
            if not console.is_terminal and time.monotonic() - shown[0] > QUIET_SECONDS:
                shown[0] = time.monotonic()
                print(f"{done} of {total} features probed", file=sys.stderr)

        yield show


def write(report: Report, form: Form, output: Path | None) -> None:
    """Write a result, to standard output unless there is a file for it."""
    from ..probe.report import FORMATS, caption

    if form == "table" and output is None:
        _print_table(report)
        print(caption(report), file=sys.stderr)
        return
    text = FORMATS["markdown" if form == "table" else form](report)
    write_lines([text], output)
    if form == "csv":
        print(caption(report), file=sys.stderr)


def _print_table(report: Report) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ..probe.report import cells, heading

    table = Table(box=SIMPLE_HEAD, title=report.task)
    for place, name in enumerate(heading(report)):
        table.add_column(name, justify="right" if place else "left", no_wrap=True)
    rows = cells(report)
    best = max(report.tokens, key=lambda line: line.scores[report.measures[0]][0])
    for place, row in enumerate(rows):
        is_best = place > 0 and report.lines[place - 1] is best
        style = "bold" if place == 0 or is_best else ""
        last = place == 0 or place == len(report.tokens)
        table.add_row(*map(Text, row), style=style, end_section=last)
    width = None if sys.stdout.isatty() else 200
    Console(width=width).print(table)


def plot_layers(report: Report, path: Path) -> None:
    """Draw the scores of a result by layer."""
    from ..show.layers import Curve, draw_layers
    from ..show.plot import save

    own = report.measures[0]
    curves = [
        Curve(kind, [line.layer or 0 for line in lines], [line.scores[own] for line in lines])
        for kind in dict.fromkeys(line.tokens for line in report.tokens)
        if (lines := [line for line in report.tokens if line.tokens == kind])
    ]
    # What is most frequent is no event at all, and would stretch the picture down to nothing.
    others = (line for line in report.lines if line.layer is None)
    levels = {line.name: line.scores[own][0] for line in others if line.scores[own][0] != 0}
    save(draw_layers(curves, levels, f"{report.task}: {own}"), path)
    print(path, file=sys.stderr)


def write_lines(lines: Iterable[str], path: Path | None) -> None:
    """Write text, to a file once all of it is there."""
    if path is None:
        sys.stdout.writelines(lines)
        return
    try:
        with whole(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
            file.writelines(lines)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def write_folder(features: Features, saved: SavedProbe, folder: Path, overwrite: bool) -> None:
    """Write the labels of each track over time to a file of its own.

    Raises
    ------
    UsageError
        If one is there, which may be somebody's annotation, and is not to be overwritten.
    """
    from ..probe.predict import place_of, shared_stems, timelines

    several = shared_stems(features)
    places = {track: place_of(track, folder, saved.about.task, several) for track in features}
    there = [] if overwrite else [place for place in places.values() if place.exists()]
    if there:
        others = f" and {len(there) - 1} others" if len(there) > 1 else ""
        raise UsageError(f"{there[0]}{others} exist; --overwrite replaces them, or give another -o")
    for line in timelines(features, saved):
        _write_timeline(line, places[line.track])
    print(f"{len(places)} files in {folder}", file=sys.stderr)


def _write_timeline(line: Timeline, path: Path) -> None:
    from ..probe.predict import as_text

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path.parent} cannot be made: {error.strerror}") from None
    write_lines([as_text(line)], path)
