"""How a run shows its progress: a live display on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from rich import progress as rich_progress
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.text import Text

from .sources import Source
from .wording import clock, duration, one_line, speed

#: Seconds between lines where there is no terminal.
LINE_INTERVAL = 30.0
#: Seconds at work after which a file is named.
LONG_SECONDS = 10.0


def stderr_console() -> Console:
    """Where everything goes that is not the result."""
    return Console(stderr=True, highlight=False, force_terminal=sys.stderr.isatty())


class Progress:
    """Follows a run, and shows nothing."""

    def started(self, source: Source) -> None:
        """A worker was given a file."""

    def advanced(self, source: Source, seconds: float) -> None:
        """So many more seconds of a file are done."""

    def finished(self, source: Source, seconds: float) -> None:
        """A file was written; it was `seconds` long."""

    def failed(self, source: Source, reason: str) -> None:
        """A file was recorded as failed."""

    def warned(self, source: Source, warning: str) -> None:
        """Something looked wrong with a file, though it was written."""

    def show(self) -> None:
        """Show where the run is."""


class CountingProgress(Progress):
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
        """See `Progress`."""
        self._at_work[source.id] = time.monotonic()

    def advanced(self, source: Source, seconds: float) -> None:
        """See `Progress`."""
        self._current[source.id] += seconds
        self.show()

    def finished(self, source: Source, seconds: float) -> None:
        """See `Progress`."""
        self._end(source, seconds)

    def failed(self, source: Source, reason: str) -> None:
        """See `Progress`."""
        self._failures += 1
        self._print("failed", source, reason)
        self._end(source, 0.0)

    def warned(self, source: Source, warning: str) -> None:
        """See `Progress`."""
        self._print("warning", source, warning)

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

    def _print(self, kind: str, source: Source, text: str) -> None:
        self._console.print(escape(one_line(f"{kind}: {source.id}: {text}")), soft_wrap=True)


class Lines:
    """Prints a line now and then, for logs.

    Parameters
    ----------
    console : rich.console.Console
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = time.monotonic() + LINE_INTERVAL

    def print_if_due(self, line: Callable[[], str]) -> None:
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
        """See `Progress`."""
        self._lines.print_if_due(
            lambda: ", ".join(filter(None, [self.status(), self.eta, self.longest()]))
        )


class Display(rich_progress.Progress):
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
            rich_progress.BarColumn(bar_width=None),
            rich_progress.TextColumn("{task.percentage:>3.0f} %  {task.description}"),
            console=console,
            transient=True,
            expand=True,
        )
        self._task = self.bar.add_task("", total=None)
        super().__init__(expected, console)

    def show(self) -> None:
        """See `Progress`."""
        self.bar.lines = (self.status(), self.longest())
        total = self.total or None
        self.bar.update(self._task, completed=self.seconds, total=total, description=self.eta)


@contextlib.contextmanager
def reporting(expected: Mapping[str, float], console: Console, quiet: bool) -> Iterator[Progress]:
    """The progress that suits where standard error goes, for the time of a run."""
    if quiet:
        yield Progress()
    elif _is_live(console):
        progress = BarProgress(expected, console)
        with progress.bar:
            yield progress
    else:
        yield LineProgress(expected, console)


@contextlib.contextmanager
def waiting(text: str, console: Console, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show that something takes time; what is yielded is to be called now and then meanwhile."""
    began, lines = time.monotonic(), Lines(console)
    if quiet:
        yield lambda: None
    elif _is_live(console):
        with console.status(escape(text), spinner="line"):
            yield lambda: None
    else:
        yield lambda: lines.print_if_due(lambda: f"{text}: {duration(time.monotonic() - began)}")


def _is_live(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal
