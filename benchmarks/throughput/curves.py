"""What vit1dx costs as one thing grows: files, seconds, layers, attention, workers, formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.music import FORMATS
from benchmarks.processes import Cost
from benchmarks.throughput.collection import Collection
from benchmarks.throughput.contenders import vit1dx
from benchmarks.throughput.rounds import START_SECONDS
from vit1dx.parallel import usable_cores

COUNTS = (10, 100, 1000, 10_000)
DURATIONS = (5, 30, 180, 1200, 3600, 10_800)  # s
HOUR = 3600.0
SONGS = 4  # of the curves that need only enough audio
Trial = tuple[str, Path, float, tuple[str, ...]]  # what, folder, seconds of audio, options


@dataclass(frozen=True)
class Sizes:
    """How far the curves go.

    Attributes
    ----------
    collection : Collection
    most_files : int
    longest : float
        Of one file, s.
    """

    collection: Collection
    most_files: int = COUNTS[-1]
    longest: float = DURATIONS[-1]

    @property
    def long(self) -> float:
        """The file that is shared out among cores, s."""
        return min(HOUR, self.longest)


@dataclass
class Point:
    """One thing extracted, some times over.

    Attributes
    ----------
    what : str
    audio : float
        Seconds.
    costs : list of Cost
    """

    what: str
    audio: float
    costs: list[Cost] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Median, from start to end."""
        return median(cost.seconds for cost in self.costs)

    @property
    def memory(self) -> int:
        """Most bytes."""
        return max(cost.memory for cost in self.costs)


def files(sizes: Sizes) -> Iterator[Trial]:
    """One-second files, of which the last layer is kept."""
    for count in COUNTS:
        if count <= sizes.most_files:
            folder = sizes.collection.shorts(count)
            yield f"{count} files", folder, float(count), ("--layers", "last")


def durations(sizes: Sizes) -> Iterator[Trial]:
    """One file."""
    for seconds in DURATIONS:
        if seconds <= sizes.longest:
            yield f"{seconds} s", sizes.collection.single(seconds), seconds, ()


def workers(sizes: Sizes) -> Iterator[Trial]:
    """One long file, and songs."""
    songs = sizes.collection.songs(SONGS)
    for count in range(1, usable_cores() + 1):
        options = ("--workers", str(count))
        one = sizes.collection.single(sizes.long)
        yield f"one file of {sizes.long:g} s, {count} workers", one, sizes.long, options
        yield f"songs, {count} workers", songs, SONGS * sizes.collection.song_seconds, options


def layers(sizes: Sizes) -> Iterator[Trial]:
    """The first layers, and one alone."""
    for spec in ("1", "1-2", "1-4", "1-6", "1-8", "1-10", "1-12", "4", "8", "12"):
        yield _songs(sizes, f"layers {spec}", "--layers", spec)


def attention(sizes: Sizes) -> Iterator[Trial]:
    """Of all layers."""
    for kind in ("none", "class", "full"):
        yield _songs(sizes, kind, "--attention", kind)


def formats(sizes: Sizes) -> Iterator[Trial]:
    """The same songs, as each format."""
    for ending in FORMATS:
        folder = sizes.collection.songs(SONGS, ending)
        yield ending, folder, SONGS * sizes.collection.song_seconds, ()


def _songs(sizes: Sizes, what: str, *options: str) -> Trial:
    audio = SONGS * sizes.collection.song_seconds
    return what, sizes.collection.songs(SONGS), audio, options


CURVES: dict[str, Callable[[Sizes], Iterator[Trial]]] = {
    curve.__name__: curve for curve in (files, durations, workers, layers, attention, formats)
}


def run(names: Sequence[str], sizes: Sizes, repeat: int, scratch: Path) -> dict[str, list[Point]]:
    """Curves, by name, each behind a point "start": one file of a second."""
    start = "start", sizes.collection.single(START_SECONDS, "mp3"), START_SECONDS, ()
    found: dict[str, list[Point]] = {}
    for name in names:
        trials = [start, *CURVES[name](sizes)]
        points = [Point(what, audio) for what, _, audio, _ in trials]
        for _ in range(repeat):
            for point, (what, folder, _, options) in zip(points, trials, strict=True):
                point.costs.append(vit1dx(what, *options).run(folder, scratch))
        found[name] = points
    return found
