"""The benchmark of throughput: that it runs and says all it should, never how fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks import music
from benchmarks.processes import CommandFailed, Cost, measured
from benchmarks.throughput.contenders import vit1dx
from benchmarks.throughput.parts import Part
from benchmarks.throughput.rounds import Results, Round

ROOT = Path(__file__).resolve().parents[2]
TINY = "--minutes-of-audio .2 --song-seconds 6 --repeat 1".split()


@pytest.mark.long
def test_a_tiny_run(tmp_path: Path) -> None:
    ours = "vit1dx onnx fp32, layers 4,8"
    named = [ours, "naive script", "basic-pitch"]
    peers = "--peers-python", "no-such-python"
    command = [sys.executable, "-m", "benchmarks.throughput", *TINY, *peers, "--out", str(tmp_path)]
    subprocess.run([*command, "--contenders", *named], check=True, cwd=ROOT, timeout=300)
    found = json.loads((tmp_path / "throughput.json").read_text())
    assert list(found["contenders"]) == named[:2]
    assert found["skipped"] == {"basic-pitch": "no-such-python: No such file or directory"}
    costs = found["contenders"][ours]["rounds"][0]
    assert costs["audio"] == 2 * 6 - 1
    assert min(costs["whole"].values()) > 0
    stages = ["decode", "resample", "mel", "model onnx fp32 4,8"]
    assert list(found["parts_cpu_a_second"]) == list(costs["parts"]) == stages
    assert found["contenders"][ours]["share_of_parts"] > 0
    table = (tmp_path / "throughput.md").read_text()
    assert f"| {ours} |" in table
    assert found["machine"]["processor"] in table


@pytest.mark.parametrize("ending", music.FORMATS)
def test_songs_are_as_long_as_asked_and_not_silent(tmp_path: Path, ending: str) -> None:
    music.write(tmp_path / f"x.{ending}", 7.5, seed=3)
    samples, rate = soundfile.read(tmp_path / f"x.{ending}")
    assert samples.shape == (round(7.5 * rate), 2)
    assert 0.05 < np.abs(samples).mean() < 0.5
    assert (samples[:, 0] != samples[:, 1]).any()


def test_what_a_command_costs_includes_its_children() -> None:
    hold = "import time; x = bytearray(80 << 20); t = time.process_time();\n"
    spin = "while time.process_time() < t + 0.3: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold + spin!r}])"
    cost = measured([sys.executable, "-c", child])
    assert cost.cpu > 0.3
    assert cost.memory > 80 << 20


def test_memory_that_processes_share_counts_once() -> None:
    shared = "import mmap, os; x = mmap.mmap(-1, 80 << 20); x.write(bytes(80 << 20));\n"
    forked = "p = os.fork(); x.seek(0); x.write(bytes(80 << 20)); p and os.wait();\n"
    cost = measured([sys.executable, "-c", shared + forked + "import time; time.sleep(.3)"])
    assert 80 << 20 < cost.memory < 140 << 20


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(CommandFailed, match="code 3: such is life"):
        measured(["sh", "-c", "echo such is life >&2; exit 3"])


def test_shares_are_of_medians() -> None:
    one = vit1dx("onnx fp32")
    results = Results(entered={one.name: one})
    stages = ("decode", "resample", "mel", "model onnx fp32 all")
    for seconds, start, part in ((12.0, 2.0, 1e-4), (13.0, 1.0, 5e-4), (11.5, 1.5, 6e-4)):
        parts = dict.fromkeys(stages, Part(1.0, part))
        taken = Round(Cost(start, 1, 0), Cost(seconds, 6, 0), 2000.0, parts)
        results.rounds[one.name].append(taken)
        results.rounds["naive script"].append(Round(taken.start, taken.whole, 500.0))
    assert results.rate(one.name) == 200
    assert results.cpu(one.name) == pytest.approx(5 / 2000)
    assert results.cpu("naive script") == pytest.approx(5 / 500)
    assert results.share(one.name) == pytest.approx(4 * 5e-4 / (5 / 2000))
    assert results.parts == dict.fromkeys(stages, 5e-4)
    assert results.cpu("none") is None
    assert results.share("naive script") is None
