"""What a cluster costs beside one machine: ``python -m benchmarks.cluster``, from a checkout.

One-second clips, the dearest files for their length, go through a local run and through a Dask
cluster on loopback, with as many workers. Then the client and the scheduler pass on batches that
do nothing, for what each batch and each of its bytes costs them: `benchmarks.cluster_model` counts
with these figures.
"""

from __future__ import annotations

import argparse
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed.deploy.subprocess import SubprocessCluster

from benchmarks.music import write_shorts
from benchmarks.processes import resident
from benchmarks.tables import table
from vit1dx.run.cluster import Cluster
from vit1dx.run.remote import call

WORKERS = 2
#: Clips of a run that is too short to count, whose cost is that of the start.
FEW = 32
#: What docs/large-collections.md asks for: Dask watches each worker less closely.
QUIET = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figures:
    """Processor seconds of a run, and most resident bytes in its first and second halves."""

    cpu: dict[str, float]
    memory: dict[str, tuple[int, int]]


def cpu(pid: int) -> float:
    """Processor seconds of a process, those below it and those that ended below it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        threads = Path(f"/proc/{pid}/task").iterdir()  # each has children of its own
        children = [c for t in threads for c in (t / "children").read_text().split()]
    except OSError:
        return 0.0
    own = sum(int(field) for field in fields[11:15]) / TICKS
    below = [cpu(int(child)) for child in children]
    return own + sum(below)


def run(command: Sequence[str], watched: dict[str, int]) -> Figures:
    """Run a command to its end, and watch processes by the way."""
    before = {name: cpu(pid) for name, pid in watched.items()}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pids, seen, ended = {**watched, "client": process.pid}, [], threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            seen.append({name: resident(pid) for name, pid in pids.items()})

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, status, usage = os.wait4(process.pid, 0)
    ended.set()
    watcher.join()
    if status:
        raise SystemExit(f"{' '.join(command)}: status {status}")
    took = {name: cpu(pid) - before[name] for name, pid in watched.items()}
    took["client"] = usage.ru_utime + usage.ru_stime
    halves = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    memory = {
        name: (max(s[name] for s in halves[0]), max(s[name] for s in halves[1])) for name in pids
    }
    return Figures(took, memory)


def started(scratch: Path) -> Any:
    """A scheduler and workers of one thread, each a process, without guards of their own."""
    os.environ.update(QUIET)
    return SubprocessCluster(
        n_workers=WORKERS,
        threads_per_worker=1,
        dashboard_address=":0",
        worker_class="distributed.Worker",
        worker_kwargs={"local_directory": str(scratch)},
    )


def clips(scratch: Path, counts: dict[str, int], cluster: Any) -> list[list[str]]:
    """Rows: what a clip costs, locally and on the cluster, by process."""
    watched = {"scheduler": cluster.scheduler.process.pid}
    watched |= {f"worker {n}": one.process.pid for n, one in cluster.workers.items()}
    engines = {
        "local": (["--workers", str(WORKERS)], {}),
        "cluster": (["--scheduler", cluster.scheduler_address], watched),
    }

    def extracted(kind: str, number: int) -> Figures:
        music, output = scratch / str(number), scratch / "features"
        if not music.exists():
            write_shorts(music, number)
        engine, others = engines[kind]
        command = [sys.executable, "-m", "vit1dx", "extract", str(music), "-o", f"{output}/"]
        figures = run([*command, *engine], others)
        shutil.rmtree(output)  # of 100,000 clips, 29 GB
        return figures

    rows = []
    for kind, count in counts.items():
        few, many = extracted(kind, FEW), extracted(kind, count)
        each = {name: (many.cpu[name] - few.cpu[name]) / (count - FEW) for name in many.cpu}
        rows.append([kind, "all", f"{1e3 * sum(each.values()):.2f}", "", ""])
        for name, seconds in each.items():
            halves = (f"{half / 1e6:.0f}" for half in many.memory[name])
            rows.append([kind, name, f"{1e3 * seconds:.2f}", *halves])
    return rows


def passing(cluster: Any, batches: int) -> list[list[str]]:
    """Rows: what a batch that does nothing costs, small and large."""
    rows = []
    with Cluster(cluster.scheduler_address) as known:
        client: Any = known._client
        for size in (0, 40_000):
            nothing = pickle.dumps((Path("/nowhere"),)) + bytes(size)
            pid = cluster.scheduler.process.pid
            own, theirs = time.process_time(), cpu(pid)
            before = resident(os.getpid()), resident(pid)
            for first in range(0, batches, 50):  # few are in flight, as in a run
                futures = [
                    client.submit(call, "seal", nothing, key=f"{size}-{number}", pure=False)
                    for number in range(first, min(first + 50, batches))
                ]
                client.gather(futures)
            costs = time.process_time() - own, cpu(pid) - theirs
            grown = resident(os.getpid()) - before[0], resident(pid) - before[1]
            cells = [f"{1e3 * cost / batches:.2f}" for cost in costs]
            rows.append([f"{size}", *cells, *(f"{more / 1e6:.0f}" for more in grown)])
    return rows


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--clips", type=int, default=2000, help="[%(default)s]")
    parser.add_argument("--local", type=int, help="clips of the local run [as --clips]")
    parser.add_argument("--batches", type=int, default=500, help="[%(default)s]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vit1dx-") as temporary:
        scratch = Path(temporary)
        with started(scratch) as cluster:
            heads = ["run", "process", "CPU ms a clip", "MB, first half", "MB, second half"]
            counts = {"local": options.local or options.clips, "cluster": options.clips}
            print(table(heads, clips(scratch, counts, cluster)), flush=True)
            heads = ["bytes of a batch", "client, CPU ms a batch", "scheduler, CPU ms a batch"]
            heads += ["client, MB more at the end", "scheduler, MB more"]
            print(table(heads, passing(cluster, options.batches)))


if __name__ == "__main__":
    main()
