"""Files in batches that take about the same time each, for the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from .parts import FILE_SECONDS
from .sources import Source

#: Seconds of audio of a batch, with `FILE_SECONDS` of each file: about ten seconds of a core.
BATCH_SECONDS = 1800.0
#: Most files of a batch: what the scheduler holds of it is in proportion.
BATCH_FILES = 256
#: Towards the end, a batch is so small that each worker has as many more to come.
ROUNDS_LEFT = 2


class Batches:
    """Cuts files into batches, one at a time: large ones first, small ones towards the end.

    Files that make a batch by themselves come first, the longest of all at the very beginning: a
    worker that had one at the end would be waited for. The others keep their order, so that files
    of one folder come together.

    Parameters
    ----------
    sources : sequence of Source
    seconds : mapping of str to float
        Expected duration of each, by id.
    workers : callable
        Gives how many there are now.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        seconds: Mapping[str, float],
        workers: Callable[[], int],
    ) -> None:
        self._seconds, self._workers = seconds, workers
        self._left = sum(map(self._cost, sources))
        long = [source for source in sources if self._cost(source) >= BATCH_SECONDS]
        self._sources = sorted(long, key=self._cost, reverse=True)
        self._sources += [source for source in sources if self._cost(source) < BATCH_SECONDS]

    def _cost(self, source: Source) -> float:
        return self._seconds[source.id] + FILE_SECONDS

    def __iter__(self) -> Iterator[list[Source]]:
        batch: list[Source] = []
        room = 0.0
        for source in self._sources:
            cost = self._cost(source)
            if batch and (cost > room or len(batch) == BATCH_FILES):
                yield batch
                batch = []
            if not batch:
                room = min(BATCH_SECONDS, self._left / (ROUNDS_LEFT * max(1, self._workers())))
            batch.append(source)
            room -= cost
            self._left -= cost
        if batch:
            yield batch
