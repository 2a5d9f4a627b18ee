"""Dask clusters on loopback: a scheduler and workers, as processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .conftest import ROOT

#: What Dask logs goes to a file, errors only.
_QUIET = {"DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "error"}


class LoopbackCluster:
    """A scheduler and workers, whose files are in a folder; a context manager."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        folder.mkdir()
        self._folder = folder
        self.file = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--host", "127.0.0.1")
        self.workers = [self.add_worker() for _ in range(workers)]

    def add_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker of one thread; without its guard, so that a kill is the end of it."""
        return self._start(
            "worker",
            "--nthreads",
            "1",
            "--no-nanny",
            "--host",
            "127.0.0.1",
            "--death-timeout",
            "20",
        )

    def _start(self, role: str, *more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distributed.cli.dask_" + role, *more]
        command += ["--scheduler-file", str(self.file), "--no-dashboard"]
        if role == "worker":
            command += ["--local-directory", str(self._folder)]
        with (self._folder / f"{role}.log").open("ab") as log:
            return subprocess.Popen(
                command, stdout=log, stderr=log, cwd=ROOT, env={**os.environ, **_QUIET}
            )

    def __enter__(self) -> LoopbackCluster:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


def start_on(
    cluster: LoopbackCluster, command: Sequence[str], folder: Path
) -> subprocess.Popen[str]:
    """A command of `extract_command`, begun on a cluster."""
    pipe = subprocess.PIPE
    command = [*command, "--scheduler", str(cluster.file)]
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def interrupt(process: subprocess.Popen[str]) -> None:
    """Ctrl-C."""
    process.send_signal(signal.SIGINT)


def wait_until_gone(process: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    """Wait for a process that is to end by itself."""
    end = time.monotonic() + seconds
    while process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.1)
