"""How a run tells of itself: a live display on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from .sources import Source
from .wording import clock, duration, one_line, speed

#: Seconds between lines where there is no terminal.
LINE_INTERVAL = 30.0
#: Seconds after which a file that is at work is worth a word.
LONG_SECONDS = 10.0


def stderr_console() -> Console:
    """Where everything goes that is not the result."""
    return Console(stderr=True, highlight=False, force_terminal=sys.stderr.isatty())


class QuietProgress:
    """Says nothing."""

    def started(self, source: Source) -> None:
        """See `vit1dx.run.results.Progress`."""

    def advanced(self, source: Source, seconds: float) -> None:
        """See `vit1dx.run.results.Progress`."""

    def finished(self, source: Source, seconds: float) -> None:
        """See `vit1dx.run.results.Progress`."""

    def failed(self, source: Source, reason: str) -> None:
        """See `vit1dx.run.results.Progress`."""

    def warned(self, source: Source, warning: str) -> None:
        """See `vit1dx.run.results.Progress`."""

    def show(self) -> None:
        """See `vit1dx.run.results.Progress`."""


class CountingProgress(QuietProgress):
    """Counts files and seconds; what is expected is corrected as files turn out.

    Parameters
    ----------
    expected : mapping of str to float
        Expected duration of each file, s, by id.
    console : rich.console.Console
        On standard error.
    """

    def __init__(self, expected: Mapping[str, float], console: Console) -> None:
        self._expected, self._console = expected, console
        self._files = self._failures = 0
        self._at_work: dict[str, float] = {}  # when each file was begun, the first one first
        self._current: dict[str, float] = defaultdict(float)  # seconds done of files at hand
        self._seconds = 0.0  # and of those before it
        self._total = sum(expected.values())
        self._began = time.monotonic()
        self.show()

    def started(self, source: Source) -> None:
        """See `vit1dx.run.results.Progress`."""
        self._at_work[source.id] = time.monotonic()

    def advanced(self, source: Source, seconds: float) -> None:
        """See `vit1dx.run.results.Progress`."""
        self._current[source.id] += seconds
        self.show()

    def finished(self, source: Source, seconds: float) -> None:
        """See `vit1dx.run.results.Progress`."""
        self._end(source, seconds)

    def failed(self, source: Source, reason: str) -> None:
        """See `vit1dx.run.results.Progress`."""
        self._failures += 1
        self._say("failed", source, reason)
        self._end(source, 0.0)

    def warned(self, source: Source, warning: str) -> None:
        """See `vit1dx.run.results.Progress`."""
        self._say("warning", source, warning)

    @property
    def seconds(self) -> float:
        """Seconds of audio done."""
        return self._seconds + sum(self._current.values())

    @property
    def total(self) -> float:
        """Seconds of audio expected in all."""
        return max(self._total, self.seconds)

    @property
    def speed(self) -> float:
        """Times real time."""
        return self.seconds / max(time.monotonic() - self._began, 1e-9)

    @property
    def eta(self) -> str:
        """Time that is left at this speed."""
        return f"ETA {clock((self.total - self.seconds) / self.speed) if self.seconds else '-'}"

    def status(self) -> str:
        """Files, failures, hours and speed."""
        parts = [f"{self._files}/{len(self._expected)} files"]
        parts += [f"{self._failures} failed"] if self._failures else []
        parts.append(f"{duration(self.seconds)} of {duration(self.total)}")
        parts += [speed(self.speed)] if self.seconds else []
        return ", ".join(parts)

    def longest(self) -> str:
        """The file that has been at work for longest, if that is long."""
        for track_id, began in self._at_work.items():
            elapsed = time.monotonic() - began
            if elapsed >= LONG_SECONDS:
                return one_line(f"at work for {duration(elapsed)}: {track_id}")
            break
        return ""

    def _end(self, source: Source, seconds: float) -> None:
        self._files += 1
        self._seconds += seconds
        self._at_work.pop(source.id, None)
        self._current.pop(source.id, None)
        self._total += seconds - self._expected[source.id]
        self.show()

    def _say(self, kind: str, source: Source, text: str) -> None:
        self._console.print(escape(one_line(f"{kind}: {source.id}: {text}")), soft_wrap=True)


class Lines:
    """Says something now and then, for logs.

    Parameters
    ----------
    console : rich.console.Console
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = time.monotonic() + LINE_INTERVAL

    def say(self, line: Callable[[], str]) -> None:
        """Print a line, if it is time for one."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_INTERVAL
            self._console.print(escape(line()), soft_wrap=True)


class LineProgress(CountingProgress):
    """A line now and then."""

    def __init__(self, expected: Mapping[str, float], console: Console) -> None:
        self._lines = Lines(console)
        super().__init__(expected, console)

    def show(self) -> None:
        """See `vit1dx.run.results.Progress`."""
        self._lines.say(lambda: ", ".join(filter(None, [self.status(), self.eta, self.longest()])))


class Display(Progress):
    """A bar over the whole width, and lines of text below it, cut where they are too long."""

    lines: tuple[str, ...] = ()

    def get_renderables(self) -> Iterable[RenderableType]:
        """What is drawn; from a thread of rich's own."""
        yield self.make_tasks_table(self.tasks)
        for line in self.lines:
            yield Text(line, no_wrap=True, overflow="ellipsis")


class BarProgress(CountingProgress):
    """A bar that is redrawn in its place."""

    def __init__(self, expected: Mapping[str, float], console: Console) -> None:
        self.bar = Display(
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f} %  {task.description}"),
            console=console,
            transient=True,
            expand=True,
        )
        self._task = self.bar.add_task("", total=None)
        super().__init__(expected, console)

    def show(self) -> None:
        """See `vit1dx.run.results.Progress`."""
        self.bar.lines = (self.status(), self.longest())
        total = self.total or None
        self.bar.update(self._task, completed=self.seconds, total=total, description=self.eta)


@contextlib.contextmanager
def reporting(
    expected: Mapping[str, float], console: Console, quiet: bool
) -> Iterator[QuietProgress]:
    """The progress that suits where standard error goes, for the time of a run."""
    if quiet:
        yield QuietProgress()
    elif _is_live(console):
        progress = BarProgress(expected, console)
        with progress.bar:
            yield progress
    else:
        yield LineProgress(expected, console)


@contextlib.contextmanager
def waiting(text: str, console: Console, quiet: bool) -> Iterator[Callable[[], None]]:
    """Say that something takes its time; what is given is to be called now and then meanwhile."""
    began, lines = time.monotonic(), Lines(console)
    if quiet:
        yield lambda: None
    elif _is_live(console):
        with console.status(escape(text), spinner="line"):
            yield lambda: None
    else:
        yield lambda: lines.say(lambda: f"{text}: {duration(time.monotonic() - began)}")


def _is_live(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal
