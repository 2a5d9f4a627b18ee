"""Round after round of all contenders, so that what disturbs the machine disturbs them alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.processes import CommandFailed, Cost
from benchmarks.throughput.collection import Collection
from benchmarks.throughput.contenders import Contender
from benchmarks.throughput.parts import STAGES, Part, measure

START_SECONDS = 1.0  # of audio, in the run that shows what starting costs


@dataclass(frozen=True)
class Round:
    """One file extracted, and the collection.

    Attributes
    ----------
    start, whole : Cost
    audio : float
        Seconds that `whole` extracts more than `start`.
    parts : dict of Part, by stage
        Of vit1dx: what each takes alone, measured directly afterwards, as machines have moods.
    """

    start: Cost
    whole: Cost
    audio: float
    parts: dict[str, Part] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Times real time, once started."""
        # A collection so short that noise is longer tells nothing, but must not divide by zero.
        return self.audio / max(self.whole.seconds - self.start.seconds, self.whole.seconds / 100)

    @property
    def cpu(self) -> float:
        """Processor time a second of audio, once started."""
        return (self.whole.cpu - self.start.cpu) / self.audio

    @property
    def share(self) -> float | None:
        """What the parts take alone, of that."""
        return sum(part.cpu for part in self.parts.values()) / self.cpu if self.parts else None


@dataclass
class Results:
    """What was measured.

    Attributes
    ----------
    entered : dict of Contender, by name
        Those that run.
    rounds : dict of lists of Round, by contender
    skipped : dict of str, by contender
        Why.
    """

    entered: dict[str, Contender] = field(default_factory=dict)
    rounds: dict[str, list[Round]] = field(default_factory=lambda: defaultdict(list))
    skipped: dict[str, str] = field(default_factory=dict)

    def rate(self, name: str) -> float | None:
        """Median times real time of a contender."""
        return median(r.rate for r in self.rounds[name]) if name in self.rounds else None

    def cpu(self, name: str) -> float | None:
        """Median processor time of a contender a second of audio."""
        return median(r.cpu for r in self.rounds[name]) if name in self.rounds else None

    def share(self, name: str) -> float | None:
        """Median share of the parts of a contender in its processor time."""
        shares = [r.share for r in self.rounds.get(name, []) if r.share is not None]
        return median(shares) if shares else None

    @property
    def parts(self) -> dict[str, float]:
        """Median processor time a second of audio of each stage alone.

        The model's are by way and layers, as "model onnx fp32 4,8".
        """
        found = defaultdict(list)
        for rounds in self.rounds.values():
            for stage, part in (item for one in rounds for item in one.parts.items()):
                found[stage].append(part.cpu)
        return {stage: median(found[stage]) for stage in sorted(found, key=_place)}


def _place(stage: str) -> int:
    return STAGES.index(stage.split()[0])


def run(
    entered: Sequence[Contender], collection: Collection, songs: int, repeat: int, scratch: Path
) -> Results:
    """All contenders that can, in turn, `repeat` times."""
    results = Results()
    able = [one for one in entered if _warm_up(one, collection, scratch, results)]
    results.entered = {one.name: one for one in able}
    for _ in range(repeat):
        for one in able:
            results.rounds[one.name].append(_round(one, collection, songs, scratch))
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
    parts = _parts(contender, collection) if contender.way else {}
    return Round(start, whole, count * collection.song_seconds - START_SECONDS, parts)


def _parts(one: Contender, collection: Collection) -> dict[str, Part]:
    song = next(collection.songs(1).iterdir())
    parts = {stage: measure(stage, song) for stage in STAGES[:-1]}
    model = f"model {one.way} {one.layers}"
    return {**parts, model: measure("model", song, one.way, one.layers)}
