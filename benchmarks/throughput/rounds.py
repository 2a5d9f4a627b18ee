"""Round after round of all contenders, so that what disturbs the machine disturbs them alike."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.processes import CommandFailed, Cost, measured
from benchmarks.throughput import parts
from benchmarks.throughput.collection import Collection
from benchmarks.throughput.contenders import Contender
from benchmarks.throughput.parts import Part
from vit1dx.parallel import usable_cores

START_SECONDS = 1.0  # of audio, in the run that shows what starting costs


@dataclass(frozen=True)
class Round:
    """One file extracted, and the collection.

    Attributes
    ----------
    start, whole : Cost
    audio : float
        Seconds that `whole` extracts more than `start`.
    """

    start: Cost
    whole: Cost
    audio: float

    @property
    def rate(self) -> float:
        """Times real time, once started."""
        # A collection so short that noise is longer tells nothing, but must not divide by zero.
        return self.audio / max(self.whole.seconds - self.start.seconds, self.whole.seconds / 100)


@dataclass
class Results:
    """What was measured.

    Attributes
    ----------
    rounds : dict of lists of Round, by contender
    parts : dict of lists of Part, by stage
        The model's by precision, as "model fp32".
    help : list of float
        Seconds of ``vit1dx --help``.
    skipped : dict of str, by contender
        Why.
    """

    rounds: dict[str, list[Round]] = field(default_factory=lambda: defaultdict(list))
    parts: dict[str, list[Part]] = field(default_factory=lambda: defaultdict(list))
    help: list[float] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def rate(self, name: str) -> float | None:
        """Median times real time of a contender."""
        return median(r.rate for r in self.rounds[name]) if name in self.rounds else None

    def start(self, name: str) -> float | None:
        """Median seconds of a contender's one-file run."""
        return median(r.start.seconds for r in self.rounds[name]) if name in self.rounds else None

    def limit(self, precision: str) -> float | None:
        """Times real time if all cores did nothing but the stages."""
        stages = self._stages(precision)
        if not stages:
            return None
        return usable_cores() / sum(median(one.seconds for one in stage) for stage in stages)

    def useful(self, precision: str) -> float | None:
        """What share of the processor time of vit1dx the stages would take alone."""
        stages, rounds = self._stages(precision), self.rounds.get(f"vit1dx {precision}")
        if not stages or not rounds:
            return None
        return sum(median(one.cpu for one in stage) for stage in stages) / median(
            (one.whole.cpu - one.start.cpu) / one.audio for one in rounds
        )

    def _stages(self, precision: str) -> list[list[Part]]:
        """What was measured of each stage, or nothing unless all were."""
        names = [*parts.STAGES[:-1], f"model {precision}"]
        return [self.parts[name] for name in names] if set(names) <= set(self.parts) else []


def run(
    entered: Sequence[Contender],
    precisions: Sequence[str],
    collection: Collection,
    songs: int,
    repeat: int,
    scratch: Path,
) -> Results:
    """All contenders that can, in turn, `repeat` times."""
    results = Results()
    able = [one for one in entered if _warm_up(one, collection, scratch, results)]
    names = {one.name for one in able}
    for _ in range(repeat):
        for one in able:
            results.rounds[one.name].append(_round(one, collection, songs, scratch))
        able_precisions = [name for name in precisions if f"vit1dx {name}" in names]
        _parts(collection, able_precisions, results)
        results.help.append(measured([sys.executable, "-m", "vit1dx", "--help"]).seconds)
    return results


def _warm_up(one: Contender, collection: Collection, scratch: Path, results: Results) -> bool:
    """Whether a contender runs; what it compiles or caches for ever is then done."""
    try:
        one.run(collection.single(START_SECONDS, "mp3"), scratch)
    except CommandFailed as error:
        results.skipped[one.name] = str(error)
    return one.name not in results.skipped


def _round(contender: Contender, collection: Collection, songs: int, scratch: Path) -> Round:
    count = min(songs, contender.most_songs or songs)
    start = contender.run(collection.single(START_SECONDS, "mp3"), scratch)
    whole = contender.run(collection.songs(count), scratch)
    return Round(start, whole, count * collection.song_seconds - START_SECONDS)


def _parts(collection: Collection, precisions: Sequence[str], results: Results) -> None:
    song = next(collection.songs(1).iterdir())
    for stage in parts.STAGES[:-1]:
        results.parts[stage].append(parts.measure(stage, song))
    for name in precisions:
        results.parts[f"model {name}"].append(parts.measure("model", song, name))
