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
from benchmarks.throughput.curves import Point
from benchmarks.throughput.parts import Part
from benchmarks.throughput.rounds import Results, Round
from benchmarks.throughput.targets import TARGETS
from vit1dx.parallel import usable_cores

ROOT = Path(__file__).resolve().parents[2]
TINY = "--minutes-of-audio .2 --song-seconds 6 --repeat 1 --most-files 10 --longest 5".split()


@pytest.mark.slow
def test_a_tiny_run(tmp_path: Path) -> None:
    named = ["vit1dx fp32", "naive script", "naive script, DataLoader", "basic-pitch"]
    peers = "--peers-python", "no-such-python"
    command = [sys.executable, "-m", "benchmarks.throughput", *TINY, *peers, "--out", str(tmp_path)]
    options = ["--curves", "files", "--contenders", *named]
    subprocess.run([*command, *options], check=True, cwd=ROOT, timeout=300)
    found = json.loads((tmp_path / "throughput.json").read_text())
    assert list(found["contenders"]) == named[:3]
    assert found["skipped"] == {"basic-pitch": "no-such-python: No such file or directory"}
    costs = found["contenders"]["vit1dx fp32"]["rounds"][0]
    assert costs["audio"] == 2 * 6 - 1
    assert min(costs["whole"].values()) > 0
    assert list(found["parts"]) == ["decode", "resample", "mel", "model fp32"]
    assert found["limits"]["fp32"] > 0
    assert [point["what"] for point in found["curves"]["files"]] == ["start", "10 files"]
    assert len(found["targets"]) == len(TARGETS)
    table = (tmp_path / "throughput.md").read_text()
    assert "| fp32, times the naive script | at least 3 |" in table


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


def test_targets_judge_medians() -> None:
    results = Results()
    for seconds, start in ((12.0, 2.0), (13.0, 1.0), (11.5, 1.5)):
        one = Round(Cost(start, 1, 0), Cost(seconds, 6, 0), 2000.0)
        results.rounds["vit1dx fp32"].append(one)
        results.rounds["naive script"].append(Round(one.start, one.whole, 500.0))
    for stage in ("decode", "resample", "mel", "model fp32"):
        results.parts[stage] = [Part(seconds, 0.001) for seconds in (0.001, 0.002, 0.5)]
    line = [Point(f"{n} files", n, [Cost(1 + n / 100, 0, 50 + n)]) for n in (1, 10, 100, 1000)]
    figures = {t.what: t.figure(results, {"files": line}) for t in TARGETS}
    assert figures["fp32, times the naive script"] == pytest.approx(4)
    assert figures["one-file extract, s"] == 1.5
    assert figures["files, departure from linear time"] == pytest.approx(0, abs=1e-9)
    assert figures["memory at most files, times that at fewest"] == pytest.approx(1050 / 60)
    assert figures["int8, times the naive script"] is None
    rate, limit = results.rate("vit1dx fp32"), results.limit("fp32")
    assert rate == 200
    assert limit == usable_cores() / 0.008
    assert figures["fp32, share of the sum-of-parts limit"] == rate / limit
    assert results.useful("fp32") == pytest.approx(4 * 0.001 / (5 / 2000))
