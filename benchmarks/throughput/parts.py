"""The sum of parts: what decoding, resampling, mel and model take, each alone, and none written.

As a script, ``python -m benchmarks.throughput.parts STAGE FILE [WAY LAYERS]`` is one thread that
waits for a line on its standard input, works for a while, and prints how long a second of audio
takes it, and how much processor time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import CommandFailed
from benchmarks.throughput.contenders import WAYS
from vit1dx._types import Array
from vit1dx.audio.decode import AudioFile
from vit1dx.audio.mel import LogMel
from vit1dx.audio.resample import mono_at_rate
from vit1dx.audio.windows import cut
from vit1dx.extractor import BATCH_WINDOWS, Extractor
from vit1dx.parallel import usable_cores

STAGES = ("decode", "resample", "mel", "model")
LEAST_SECONDS = 2.0
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Part:
    """What a stage takes a second of audio, in seconds of a core.

    Attributes
    ----------
    seconds, cpu : float
        By the clock, and of processor time: the same, unless others use the machine.
    """

    seconds: float
    cpu: float


def measure(stage: str, song: Path, *model: str) -> Part:
    """Measure a stage while all cores do the same; the model in a way, and to some layers."""
    command = [sys.executable, "-m", __name__, stage, str(song), *model]
    runs = [_start(command) for _ in range(usable_cores())]
    for run in runs:
        _expect_line(run)  # it is ready
    for run in runs:
        assert run.stdin
        run.stdin.write("go\n")
        run.stdin.flush()
    taken = [json.loads(_expect_line(run)) for run in runs]
    for run in runs:
        run.communicate()
    return Part(*np.mean(taken, axis=0).tolist())


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        text=True,
        env={**os.environ, **ONE_THREAD},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # decoders print a line for every odd byte
    )


def _expect_line(run: subprocess.Popen[str]) -> str:
    assert run.stdout
    line = run.stdout.readline()
    if not line:
        raise CommandFailed(f"a stage measured alone ended with code {run.wait()}")
    return line


def work(
    stage: str, song: Path, way: str = "onnx fp32", layers: str = "all"
) -> tuple[Callable[[], None], float]:
    """A stage to be done again and again, with what comes before it done already.

    Returns
    -------
    work : callable
    seconds : float
        Of audio that it does.
    """
    with AudioFile(song) as file:
        blocks, rate, seconds = list(file.blocks()), file.sample_rate, file.duration
    options: dict[str, Any] = dict(WAYS[way])
    extractor = Extractor(layers, attention="none", threads=1, **options)
    mel = LogMel(extractor.config.mel)
    samples = list(mono_at_rate(blocks, rate, extractor.config.mel.sample_rate))
    frames = list(mel.stream(samples))
    windows = [w.mel for w in cut(frames, extractor.config.window, BATCH_WINDOWS["cpu"])]
    works: dict[str, Callable[[], None]] = {
        "decode": lambda: _decode(song),
        "resample": lambda: _exhaust(mono_at_rate(blocks, rate, extractor.config.mel.sample_rate)),
        "mel": lambda: _exhaust(mel.stream(samples)),
        "model": lambda: _run(extractor, windows),
    }
    return works[stage], seconds


def _decode(song: Path) -> None:
    with AudioFile(song) as file:
        _exhaust(file.blocks())


def _run(extractor: Extractor, windows: Iterable[Array]) -> None:
    for mel in windows:
        extractor.backend.run(mel)


def _exhaust(stream: Iterable[np.ndarray]) -> None:
    for _ in stream:
        pass


def main(stage: str, song: Path, *model: str) -> None:
    """Be one of the processes that work side by side."""
    once, audio = work(stage, song, *model)
    once()
    print("ready", flush=True)
    sys.stdin.readline()
    began, rounds = time.perf_counter(), 0
    before = time.process_time()
    while time.perf_counter() - began < LEAST_SECONDS:
        once()
        rounds += 1
    taken = time.perf_counter() - began, time.process_time() - before
    print(json.dumps([seconds / rounds / audio for seconds in taken]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
