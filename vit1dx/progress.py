"""How a run tells of itself: a live bar on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from .collect import Source

#: Seconds between lines where there is no terminal.
LINE_INTERVAL = 30.0


def stderr_console() -> Console:
    """Where everything goes that is not the result."""
    return Console(stderr=True, highlight=False)


class QuietProgress:
    """Says nothing."""

    def advanced(self, source: Source, seconds: float) -> None:
        """See `vit1dx.batch.Progress`."""

    def finished(self, source: Source, seconds: float) -> None:
        """See `vit1dx.batch.Progress`."""

    def failed(self, source: Source, reason: str) -> None:
        """See `vit1dx.batch.Progress`."""

    def warned(self, source: Source, warning: str) -> None:
        """See `vit1dx.batch.Progress`."""


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
        self._files = 0
        self._current: dict[str, float] = defaultdict(float)  # seconds done of files at hand
        self._seconds = 0.0  # and of those before it
        self._total = sum(expected.values())
        self._began = time.monotonic()
        self.show()

    def advanced(self, source: Source, seconds: float) -> None:
        """See `vit1dx.batch.Progress`."""
        self._current[source.id] += seconds
        self.show()

    def finished(self, source: Source, seconds: float) -> None:
        """See `vit1dx.batch.Progress`."""
        self._end(source, seconds)

    def failed(self, source: Source, reason: str) -> None:
        """See `vit1dx.batch.Progress`."""
        self._say("failed", source, reason)
        self._end(source, 0.0)

    def warned(self, source: Source, warning: str) -> None:
        """See `vit1dx.batch.Progress`."""
        self._say("warning", source, warning)

    def show(self) -> None:
        """Show where the run is."""

    @property
    def seconds(self) -> float:
        """Seconds of audio done."""
        return self._seconds + sum(self._current.values())

    @property
    def speed(self) -> float:
        """Times real time."""
        return self.seconds / max(time.monotonic() - self._began, 1e-9)

    def status(self) -> str:
        """Files, audio hours and speed."""
        files = f"{self._files}/{len(self._expected)} files"
        return f"{files}, {self.seconds / 3600:.2f} h audio, {self.speed:.0f}x real time"

    def _end(self, source: Source, seconds: float) -> None:
        self._files += 1
        self._seconds += seconds
        self._current.pop(source.id, None)
        self._total += seconds - self._expected[source.id]
        self.show()

    def _say(self, kind: str, source: Source, text: str) -> None:
        self._console.print(escape(f"{kind}: {source.id}: {text}"), soft_wrap=True)


class LineProgress(CountingProgress):
    """A line now and then, for logs."""

    def __init__(self, expected: Mapping[str, float], console: Console) -> None:
        self._next = time.monotonic() + LINE_INTERVAL
        super().__init__(expected, console)

    def show(self) -> None:
        """See `CountingProgress`."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_INTERVAL
            left = max(0.0, self._total - self.seconds) / max(self.speed, 1e-9)
            eta = f"{left // 3600:.0f}:{left // 60 % 60:02.0f}:{left % 60:02.0f}"
            self._console.print(f"{self.status()}, ETA {eta}", soft_wrap=True)


class BarProgress(CountingProgress):
    """A bar that is redrawn in its place."""

    def __init__(self, expected: Mapping[str, float], console: Console) -> None:
        self.bar = Progress(
            SpinnerColumn(),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.description}  ETA"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self.bar.add_task("", total=None)
        super().__init__(expected, console)

    def show(self) -> None:
        """See `CountingProgress`."""
        total = max(self._total, self.seconds) or None
        self.bar.update(self._task, completed=self.seconds, total=total, description=self.status())


@contextlib.contextmanager
def reporting(
    expected: Mapping[str, float], console: Console, quiet: bool
) -> Iterator[QuietProgress]:
    """The progress that suits where standard error goes, for the time of a run."""
    if quiet:
        yield QuietProgress()
    elif console.is_terminal:
        progress = BarProgress(expected, console)
        with progress.bar:
            yield progress
    else:
        yield LineProgress(expected, console)
