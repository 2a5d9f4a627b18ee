"""Where a cluster saturates: ``python -m benchmarks.cluster_model``, a simulation, event by event.

A batch of files goes from the client over the scheduler to a worker, which computes and then writes
to storage; its record goes back the same way, and the client sends the next one. Client, scheduler
and storage do one thing at a time. What each thing costs was measured (`benchmarks.cluster`), but
for the storage, whose figures are those of a middling parallel file system.
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections import deque
from dataclasses import dataclass

from benchmarks.tables import table
from vit1dx.run.batches import BATCH_FILES, BATCH_SECONDS
from vit1dx.run.flight import BATCHES_A_THREAD, LEAST_BATCHES
from vit1dx.run.parts import FILE_SECONDS

#: Measured, s of a core: of client and scheduler for a batch, there and back, and for a file in it;
#: of a worker for a file, and for a second of its audio.
CLIENT_BATCH, CLIENT_FILE = 0.8e-3, 0.2e-3
SCHEDULER_BATCH, SCHEDULER_FILE = 2.0e-3, 0.0
WORKER_FILE, WORKER_SECOND = 20e-3, 6.25e-3
#: Operations of a batch on storage besides its bytes: its note, a commit, and their syncs.
OPERATIONS = 12
#: Assumed of the storage: bytes and operations a second.
STORAGE_BYTES, STORAGE_OPERATIONS = 10e9, 20e3
#: Bytes of a second of audio, a layer of float32 tokens; and of a file.
LAYER_BYTES, FILE_BYTES = 24_000, 3_500
#: Most files that are simulated; more would take as much longer in the same proportion.
SIMULATED = 400_000


@dataclass(frozen=True)
class Case:
    """A collection on a cluster.

    Attributes
    ----------
    workers : int
    files : int
        All alike, and so many to a batch.
    seconds : float
        Of a file.
    batch : int
    layers : float
        Kept, in float32; half a layer is one in float16.
    """

    workers: int
    files: int
    seconds: float
    batch: int
    layers: float


@dataclass
class Server:
    """Does one thing at a time, in the order in which they come."""

    free_at: float = 0.0
    busy: float = 0.0

    def serve(self, now: float, seconds: float) -> float:
        """When something is done that comes now."""
        self.free_at = max(now, self.free_at) + seconds
        self.busy += seconds
        return self.free_at


@dataclass(frozen=True)
class Result:
    """How a run went: seconds, and the share of them that each was busy."""

    seconds: float
    client: float
    scheduler: float
    storage: float
    workers: float


def default_batch(seconds: float) -> int:
    """Files of a batch as `vit1dx.run.batches` cuts them, far from the end."""
    return max(1, min(BATCH_FILES, int(BATCH_SECONDS / (seconds + FILE_SECONDS))))


def simulate(case: Case, seed: int = 0) -> Result:
    """Run a case."""
    files = min(case.files, SIMULATED, max(case.batch, 1) * 40 * case.workers)
    batches = max(1, files // case.batch)
    chance = random.Random(seed)
    client, scheduler, storage = Server(), Server(), Server()
    there = CLIENT_BATCH / 2 + CLIENT_FILE * case.batch / 2
    over = SCHEDULER_BATCH / 2 + SCHEDULER_FILE * case.batch / 2
    size = case.batch * (FILE_BYTES + LAYER_BYTES * case.layers * case.seconds)
    write = OPERATIONS / STORAGE_OPERATIONS + size / STORAGE_BYTES
    work = case.batch * (WORKER_FILE + WORKER_SECOND * case.seconds)
    idle, queue, worked = case.workers, deque[None](), 0.0
    flying = min(batches, max(LEAST_BATCHES, BATCHES_A_THREAD * case.workers))
    left = batches - flying
    # Where a batch arrives, and when: 0 at the scheduler, 1 at a worker, 2 at the storage, 3 back
    # at the scheduler, 4 back at the client.
    events = [(client.serve(0.0, there), 0) for _ in range(flying)]
    heapq.heapify(events)
    now = 0.0
    while events:
        now, place = heapq.heappop(events)
        if place in (0, 3):
            heapq.heappush(events, (scheduler.serve(now, over), place + 1))
        elif place == 2:
            heapq.heappush(events, (storage.serve(now, write), 5))
        elif place == 4:
            end = client.serve(now, there)
            if left:
                left -= 1
                heapq.heappush(events, (client.serve(end, there), 0))
        else:  # at a worker, or a worker is done with its batch
            if place == 5:
                idle += 1
                heapq.heappush(events, (now, 3))
            else:
                queue.append(None)
            while idle and queue:
                queue.popleft()
                idle -= 1
                took = work * chance.uniform(0.8, 1.2)
                worked += took
                heapq.heappush(events, (now + took, 2))
    now = max(now, client.free_at)
    return Result(
        now * case.files / (batches * case.batch),
        client.busy / now,
        scheduler.busy / now,
        storage.busy / now,
        worked / now / case.workers,
    )


def rows(workers: int, files: int) -> list[list[str]]:
    """Cases of interest, as a table has them."""
    found = []
    for name, seconds, batches in (
        ("clips of 1 s", 1.0, (1, 16, default_batch(1.0))),
        ("songs of 4 min", 240.0, (1, default_batch(240.0))),
    ):
        for kept, layers in (("12 layers, float32", 12.0), ("1 layer, float16", 0.5)):
            for batch in batches:
                result = simulate(Case(workers, files, seconds, batch, layers))
                shares = result.client, result.scheduler, result.storage, result.workers
                cells = [f"{100 * share:.0f} %" for share in shares]
                found.append([name, kept, f"{batch}", f"{result.seconds / 3600:.1f} h", *cells])
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster_model", description=__doc__)
    parser.add_argument("--workers", type=int, default=1000, help="[%(default)s]")
    parser.add_argument("--files", type=int, default=10_000_000, help="[%(default)s]")
    options = parser.parse_args()
    heads = "files, kept, a batch, time, client, scheduler, storage, workers".split(", ")
    print(table(heads, rows(options.workers, options.files)))


if __name__ == "__main__":
    main()
