"""A collection shared out to machines: evenly, and a file to one part wherever it is asked for."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import vit1dx
from vit1dx.errors import StoreError, UsageError
from vit1dx.run.parts import Shares, keep_shares, parse_part, shares_for, shares_in, slot_of
from vit1dx.run.sources import Source
from vit1dx.store.merge import merge
from vit1dx.store.place import SHARES_NAME, Part, feature_files

from ..conftest import RunCli
from ..runs import extract_command, require_same, short_tracks

SLURM = "SLURM_ARRAY_TASK_"


def _library(count: int, seed: int = 0) -> tuple[list[Source], dict[str, float]]:
    """Songs, and some albums in one file, of several endings and bit rates; and their seconds."""
    rng = np.random.default_rng(seed)
    seconds = rng.lognormal(5.4, 0.5, count) * np.where(rng.random(count) < 0.01, 12, 1)
    rates = {".mp3": (16_000, 40_000), ".wav": (176_400, 176_400), ".flac": (70_000, 120_000)}
    sources, true = [], {}
    for number, length in enumerate(seconds):
        ending = list(rates)[number % 3]
        track_id = f"{number % 97}/{number}{ending}"
        size = int(length * rng.uniform(*rates[ending]))
        sources.append(Source(track_id, Path("/music", track_id), size))
        true[track_id] = float(length)
    return sources, true


@pytest.mark.parametrize(("count", "parts", "most"), [(20_000, 16, 0.03), (2_000, 16, 0.1)])
def test_parts_have_as_much_to_do(count: int, parts: int, most: float) -> None:
    """By true durations; by hashes alone they would differ by far more."""
    sources, true = _library(count)
    shares = Shares.balanced(parts, sources)
    loads: dict[int, float] = defaultdict(float)
    hashed: dict[int, float] = defaultdict(float)
    for source in sources:
        loads[shares.of(source.id)] += true[source.id]
        hashed[slot_of(source.id) % parts] += true[source.id]
    assert set(loads) == set(range(1, parts + 1))
    mean = sum(true.values()) / parts
    assert max(abs(load / mean - 1) for load in loads.values()) < most
    assert max(loads.values()) < max(hashed.values())


def test_a_few_files_are_shared_out_one_by_one() -> None:
    sources = [Source(f"{n}.mp3", Path(f"/{n}.mp3"), 1000 * 1000) for n in range(32)]
    shares = Shares.balanced(16, sources)
    assert set(Counter(shares.of(source.id) for source in sources).values()) == {2}


def test_shares_do_not_depend_on_the_order_or_the_place() -> None:
    sources, _ = _library(3000)
    shares = Shares.balanced(16, sources)
    others = [Source(s.id, Path("/mnt/other", s.id), s.size) for s in sources]
    random.Random(1).shuffle(others)
    assert Shares.balanced(16, others).digest == shares.digest
    assert Shares.from_json(shares.to_json()).digest == shares.digest
    # Of all machines and versions: what runs begun before would otherwise do is done twice.
    assert [slot_of(key) for key in ("a/b.mp3", "ö.flac", "\udcff.wav")] == SLOTS_OF_OLD


SLOTS_OF_OLD = [7231, 19321, 8490]


def test_what_is_added_later_moves_nothing(tmp_path: Path) -> None:
    sources, _ = _library(4000)
    before = shares_for(tmp_path, Part(3, 1), sources[:3000])
    for number in (1, 2, 3):
        after = shares_for(tmp_path, Part(3, number), sources)
        assert after.digest == before.digest
    assert Shares.balanced(3, sources).digest != before.digest
    with pytest.raises(UsageError, match="is in 3 parts, and --part 1/4 was asked for"):
        shares_for(tmp_path, Part(4, 1), sources)


def test_of_two_runs_that_share_out_at_once_the_first_counts(tmp_path: Path) -> None:
    first, second = (Shares.balanced(4, _library(100, seed)[0]) for seed in (1, 2))
    assert keep_shares(tmp_path, first).digest == first.digest
    assert keep_shares(tmp_path, second).digest == first.digest
    assert os.listdir(tmp_path) == [SHARES_NAME]
    (tmp_path / SHARES_NAME).write_text("{}")
    with pytest.raises(StoreError, match=r"parts\.json.* cannot be read: it is not of format"):
        shares_in(tmp_path)


def _array(task: int, first: int, last: int, step: int = 1, count: int = 0) -> dict[str, str]:
    values = {"ID": task, "MIN": first, "MAX": last, "STEP": step}
    values["COUNT"] = count or (last - first) // step + 1
    return {f"{SLURM}{key}": str(value) for key, value in values.items()}


@pytest.mark.parametrize(
    ("environ", "part"),
    [
        (_array(0, 0, 15), Part(16, 1)),
        (_array(16, 1, 16), Part(16, 16)),
        (_array(30, 10, 50, 10), Part(5, 3)),
        ({k: v for k, v in _array(3, 1, 4).items() if "STEP" not in k}, Part(4, 3)),
    ],
)
def test_the_part_of_a_job_array(environ: Mapping[str, str], part: Part) -> None:
    assert parse_part("slurm", environ) == part


@pytest.mark.parametrize(
    ("text", "environ", "message"),
    [
        ("slurm", {}, "SLURM_ARRAY_TASK_ID is not set"),
        ("slurm", _array(7, 3, 7, count=2), r"an array with gaps .*\$SLURM_ARRAY_TASK_ID/N"),
        ("3", {}, "K/N is accepted"),
        ("0/4", {}, "counted from 1/N"),
        ("5/4", {}, "counted from 1/N"),
        ("1/5000", {}, "at most 4096"),
        ("-1/4", {}, "K/N is accepted"),
    ],
)
def test_other_parts_are_refused(text: str, environ: Mapping[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_part(text, environ)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``music``, its features as ``whole.h5``, and in parts of 3 as ``f``."""
    folder = tmp_path_factory.mktemp("parts")
    short_tracks(folder, 7)
    (folder / "music" / "0" / "9.wav").write_bytes(b"no audio")
    whole = vit1dx.extract(folder / "music", folder / "whole.h5", layers=[4], workers=1)
    done = [
        vit1dx.extract(folder / "music", f"{folder}/f/", layers=[4], workers=1, part=f"{k}/3")
        for k in (1, 2)
    ]
    moved = folder / "elsewhere" / "music"
    shutil.copytree(folder / "music", moved)
    last = vit1dx.extract(
        sorted(moved.rglob("*.wav")), f"{folder}/f/", layers=[4], workers=1, part="3/3", root=moved
    )
    assert whole.files == sum(summary.files for summary in (*done, last)) == 8
    return folder


@pytest.fixture
def copy(parts: Path, tmp_path: Path) -> Path:
    shutil.copytree(parts / "f", tmp_path / "f")
    return tmp_path / "f"


def test_parts_are_one(parts: Path) -> None:
    assert require_same(parts / "f", parts / "whole.h5") > 7
    with vit1dx.open(parts / "f") as features, vit1dx.open(parts / "whole.h5") as whole:
        assert features.parts is not None
        assert features.parts.whole
        assert features.attributes["finished"] == 1
        assert list(features) == list(whole)
        assert features.failures == whole.failures
        assert set(features.failures) == {"0/9.wav"}
        sizes = [len(vit1dx.open(file)) for file in feature_files(parts / "f")]
    assert max(sizes) <= 3


def test_a_part_that_is_missing_or_unfinished_is_named(
    copy: Path, cli: RunCli, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(copy / "part-002-of-003")
    for shard in (copy / "part-003-of-003").iterdir():
        shard.unlink()
    with vit1dx.open(copy) as features:
        assert str(features.parts) == "3 parts; missing: 2; unfinished: 3"
        assert features.attributes["finished"] == 0
    assert caplog.messages == [f"{copy}: 3 parts; missing: 2; unfinished: 3"]
    checked = cli("verify", copy)
    assert checked.returncode == 1
    assert "sound; 3 parts; missing: 2; unfinished: 3" in checked.stdout
    about = json.loads(cli("info", copy, "--json").stdout)
    assert about["parts"] == {"count": 3, "missing": [2], "unfinished": [3]}
    repaired = cli("repair", copy)
    assert repaired.returncode == 0
    assert "kept; 3 parts; missing: 2; unfinished: 3" in repaired.stdout


def test_other_numbers_of_parts_do_not_mix(parts: Path, copy: Path) -> None:
    def run(part: str | None = None) -> None:
        vit1dx.extract(parts / "music", f"{copy}/", layers=[4], workers=1, part=part)

    with pytest.raises(UsageError, match="holds parts of 3, and --part 1/4 was asked for"):
        run(part="1/4")
    with pytest.raises(UsageError, match="is in 3 parts; give --part K/3"):
        run()
    with pytest.raises(UsageError, match="--part 1/3 with one file"):
        vit1dx.extract(parts / "music", copy / "a.h5", part="1/3")
    (copy / "part-001-of-003").rename(copy / "part-001-of-004")
    with pytest.raises(StoreError, match="holds parts of 3 and of 4; give one of them"):
        vit1dx.open(copy)


def test_parts_of_other_shares_are_refused(parts: Path, copy: Path) -> None:
    """Files could lie in two of them, or in none."""
    (copy / SHARES_NAME).unlink()
    for file in sorted((parts / "music").rglob("*.wav"))[:5]:
        os.utime(file)
    few = sorted((parts / "music").rglob("*.wav"))[:4]
    with pytest.raises(UsageError, match=r"made differently: shares \w+ there, \w+ asked for"):
        vit1dx.extract(few, f"{copy}/", layers=[4], workers=1, part="1/3", root=parts / "music")


def test_a_part_without_files_is_done(cli: RunCli, tmp_path: Path) -> None:
    short_tracks(tmp_path, 1)
    results = [
        cli("extract", "music", "-o", "f/", "--layers", "4", "--json", "--part", "slurm", env=of)
        for of in (_array(0, 0, 1), _array(1, 0, 1))
    ]
    assert [result.returncode for result in results] == [0, 0]
    assert sorted(json.loads(result.stdout)["files"] for result in results) == [0, 1]
    with vit1dx.open(tmp_path / "f") as features:
        assert str(features.parts) == "2 parts; all finished"
        assert list(features) == ["0/0.wav"]


PARTS, AT_A_TIME = 16, 4


@pytest.mark.slow
def test_parts_that_die_and_begin_again_on_other_hosts(tmp_path: Path) -> None:
    """Merged, they are what one run makes of it, to the bit."""
    if subprocess.run(["unshare", "--uts", "true"], capture_output=True).returncode:
        pytest.skip("no other host names here")
    short_tracks(tmp_path, 96, seconds=6.0)
    killed = _run_parts(tmp_path)
    assert killed >= 3
    with vit1dx.open(tmp_path / "f") as features:
        assert features.parts is not None
        assert features.parts.whole
    assert merge([tmp_path / "f"], tmp_path / "merged.h5").is_good
    vit1dx.extract(tmp_path / "music", tmp_path / "whole.h5", layers=[4, 8])
    assert require_same(tmp_path / "merged.h5", tmp_path / "whole.h5") > 96
    with vit1dx.open(tmp_path / "merged.h5") as merged:
        assert len(merged) == 96
    assert sum(len(vit1dx.open(file)) for file in feature_files(tmp_path / "f")) == 96


def _run_parts(folder: Path) -> int:
    """Run all parts, some of them killed once they write; returns how many were."""
    rng = random.Random(18)
    waiting = [(number, 0) for number in range(1, PARTS + 1)]
    running: dict[int, tuple[subprocess.Popen[bytes], int]] = {}
    killed = 0
    while waiting or running:
        while waiting and len(running) < AT_A_TIME:
            number, attempt = waiting.pop(0)
            running[number] = _start(folder, number, f"node{attempt}-{number}"), attempt
        time.sleep(0.01)
        for number, (process, attempt) in list(running.items()):
            is_doomed = attempt == 0 and number % 3 == 0
            if process.poll() is None and is_doomed and _writes(folder, number):
                time.sleep(rng.uniform(0, 0.1))
                os.killpg(process.pid, signal.SIGKILL)
                killed += process.wait() != 0
            if process.poll() is None:
                continue
            code = process.wait()
            assert code in (0, -signal.SIGKILL), f"part {number} ended with {code}"
            del running[number]
            if code:
                waiting.append((number, attempt + 1))
    return killed


def _writes(folder: Path, number: int) -> bool:
    """Whether a part's folder holds a file of features."""
    return any((folder / "f").glob(f"part-{number:03}-of-*/*.h5"))


def _start(folder: Path, number: int, host: str) -> subprocess.Popen[bytes]:
    command = extract_command("--part", f"{number}/{PARTS}", "--layers", "4,8", output="f/")
    script = f'hostname {host} && exec "$@"'
    return subprocess.Popen(
        ["unshare", "--uts", "sh", "-c", script, "sh", *command, "--workers", "1"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
