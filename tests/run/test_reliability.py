"""What a run survives: kills, full disks, bad decoders and files, another run, itself again."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile

import vit1dx
import vit1dx.run.pool as pool_module
from vit1dx.errors import BackendError, StoreError
from vit1dx.extractor import Extractor
from vit1dx.run.pool import Pool
from vit1dx.run.pulse import Pulse
from vit1dx.run.run import Options, extract_all
from vit1dx.run.sources import collect
from vit1dx.store.journal import Journal, journal_path
from vit1dx.store.lock import OutputLock
from vit1dx.store.repair import repair
from vit1dx.store.verify import verify

from ..conftest import RunCli
from ..runs import extract_command, require_same, short_tracks, tracks_in, with_small_files
from ..synth import song

RATE = 16000


def _extract_hostile(folder: Path, names: list[str], **options: Any) -> dict[str, str]:
    """Extract short songs of these names by `tests.hostile`; the failures."""
    (folder / "music").mkdir()
    for name in names:
        soundfile.write(folder / "music" / name, song(2.0, RATE), RATE)
    output = folder / "f.h5"
    wanted = Options(output, quiet=True, workers=2, factory="tests.hostile:make", **options)
    with Pool() as pool:
        summary = extract_all(collect([str(folder / "music")]), Extractor(1), wanted, pool)
    failures = dict(summary.failures)
    with vit1dx.open(folder / "f.h5") as features:
        assert list(features) == sorted(set(names) - set(failures))
        assert features.failures == failures
    assert not verify(folder / "f.h5").problems
    assert not list(folder.glob("f.h5.*"))
    return failures


@pytest.mark.slow
def test_decoders_that_misbehave_cost_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "QUIET_SECONDS", 4.0)
    expected = {
        "segfault.wav": "ended by SIGSEGV",
        "header.wav": "ended by SIGSEGV",
        "abort.wav": "ended by SIGABRT",
        "exit.wav": "ended with code 7",
        "killed.wav": "ended by SIGKILL (out of memory?)",
        "hang.wav": "no sign of life for 4 s",
        "bomb.wav": "out of memory",
    }
    good = ["a.wav", "busy.wav", "m.wav", "z.wav"]  # the second computes for 6 s without a word
    reasons = _extract_hostile(tmp_path, [*expected, *good], memory=0.5)
    assert reasons.keys() == expected.keys()
    for track_id, reason in expected.items():
        assert reason in reasons[track_id], track_id


@pytest.mark.slow
def test_a_file_without_end_is_given_up(tmp_path: Path) -> None:
    reasons = _extract_hostile(tmp_path, ["endless.wav"], timeout=3)
    assert reasons == {"endless.wav": "not done after 3 s: given up"}


@pytest.mark.slow
def test_a_hash_that_takes_long_is_no_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the kernel counts nothing, as on systems without /proc."""
    monkeypatch.setattr(pool_module, "QUIET_SECONDS", 10.0)  # to start on a busy machine
    monkeypatch.setattr(Pulse, "beats", lambda self: False)
    (tmp_path / "long").mkdir()
    soundfile.write(tmp_path / "long" / "x.wav", np.tile(song(30.0, 44100), 10), 44100)  # 25 MiB
    options = Options(
        tmp_path / "f.h5",
        quiet=True,
        checksum=True,
        factory="tests.hostile:make_with_slow_hashes",
    )
    with Pool() as pool:
        summary = extract_all(collect([str(tmp_path / "long")]), Extractor(1), options, pool)
    assert (summary.done, summary.failures) == (1, [])


@pytest.mark.parametrize(
    ("script", "beats"),
    [
        ("while True: pass", True),
        ("while True: open('/dev/zero', 'rb', 0).read(1 << 20)", True),
        # A process whose child has come by vfork waits as one does that waits for a disk.
        ("import ctypes; libc = ctypes.CDLL(None); libc.vfork() or libc.pause()", True),
        ("import time; time.sleep(600)", False),
        ("import os; os.read(0, 1)", False),
    ],
)
def test_signs_of_life(script: str, beats: bool) -> None:
    command = [sys.executable, "-c", f"print(flush=True)\n{script}"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, start_new_session=True) as process:
        process.stdout.readline()  # type: ignore[union-attr]
        time.sleep(0.5)
        pulse, deadline = Pulse(process.pid), time.monotonic() + 30
        try:
            while {_beats_later(pulse) for _ in range(3)} != {beats}:
                assert time.monotonic() < deadline
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _beats_later(pulse: Pulse) -> bool:
    time.sleep(0.1)
    return pulse.beats()


def test_a_process_that_is_gone_shows_no_life() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    pulse = Pulse(process.pid)
    assert not pulse.beats()


@pytest.mark.slow
def test_the_clock_may_be_set_back_and_files_come_from_the_future(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the monotonic clock measures time, and files' times need only be the same."""
    falling = itertools.count(2_000_000_000, -86_400)
    monkeypatch.setattr(time, "time", lambda: float(next(falling)))
    monkeypatch.setattr(time, "time_ns", lambda: next(falling) * 10**9)
    short_tracks(tmp_path, 30)
    songs = sorted((tmp_path / "music" / "0").iterdir())
    years = (1960, 2100, 2400)  # the last is beyond 64 bits of nanoseconds
    for path, year in zip(songs, years, strict=False):
        os.utime(path, ns=(0, (year - 1970) * 31_556_952 * 10**9))
    options = Options(tmp_path / "f.h5", quiet=True)

    def run() -> tuple[int, int, int]:
        with Pool() as pool:
            summary = extract_all(collect([str(tmp_path / "music")]), Extractor(1), options, pool)
        assert summary.wall_seconds >= 0
        return summary.done, summary.already, summary.changed

    assert run() == (30, 0, 0)
    assert run() == (0, 30, 0)
    os.utime(songs[1], ns=(0, 0))
    assert run() == (1, 29, 1)
    assert not verify(tmp_path / "f.h5").problems


def test_a_worker_that_cannot_start_ends_the_run(tmp_path: Path) -> None:
    with (
        Pool() as pool,
        pytest.raises(BackendError, match=r"no worker process gets ready: .*code 3"),
    ):
        pool.load({"factory": "os:_exit", "arguments": {"status": 3}, "dtype": "", "memory": 1})


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_arrays_do_not_depend_on_the_workers(
    cli: RunCli, songs: Path, tmp_path: Path, workers: int
) -> None:
    for name, count in (("f.h5", 2), ("g.h5", workers)):
        result = cli("extract", songs, "-o", name, "--layers", "4", "--workers", str(count))
        assert result.returncode == 0, result.stderr
    assert require_same(tmp_path / "f.h5", tmp_path / "g.h5") == 2 * 9


@pytest.mark.slow
def test_a_full_disk_is_said_and_the_run_goes_on(cli: RunCli, tmp_path: Path, songs: Path) -> None:
    """A limit on the size of files stands for the disk's."""
    short_tracks(tmp_path, 30, seconds=4.0)
    command = extract_command("--layers", "1-4", "--workers", "1")
    full = with_small_files(command, tmp_path, 5 << 20)
    assert full.returncode == 1
    assert full.stderr.startswith("vit1dx: f.h5 cannot be written: File too large; what was fin")
    assert full.stderr.count("\n") == 1
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert not features.attributes["finished"]
        finished = len(features)
    summary = json.loads(subprocess.run(command, cwd=tmp_path, capture_output=True).stdout)
    assert (summary["already"], summary["done"]) == (finished, 30 - finished)
    assert not verify(tmp_path / "f.h5").problems


def _started(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """A run over one long track, under way: it holds its lock and its worker decodes."""
    (tmp_path / "music").mkdir(exist_ok=True)
    soundfile.write(tmp_path / "music" / "0.wav", song(1.0, RATE), RATE)
    soundfile.write(tmp_path / "music" / "1.wav", np.tile(song(60.0, RATE), 30), RATE)
    command = extract_command("--workers", "1", *arguments)
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not ((out := tmp_path / "f.h5").exists() and out.stat().st_size > 10_000_000):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.slow
def test_two_runs_on_one_output_are_refused_and_a_dead_ones_lock_is_not(
    cli: RunCli, tmp_path: Path
) -> None:
    with _started(tmp_path) as first:
        workers = _children(first.pid)
        result = cli("extract", "music", "-o", "f.h5")
        assert result.returncode == 4
        host = os.uname().nodename
        assert f"by another run, process {first.pid} on {host}\n" in result.stderr
        first.kill()
    assert (tmp_path / "f.h5.lock").exists()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{worker}").exists() for worker in workers):  # they end with their run
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (tmp_path / "music" / "1.wav").unlink()
    result = cli("extract", "music", "-o", "f.h5")
    assert result.returncode == 0, result.stderr
    assert list(vit1dx.open(tmp_path / "f.h5")) == ["0.wav"]
    assert not list(tmp_path.glob("f.h5.*"))


def test_a_lock_of_another_host_is_respected(cli: RunCli, songs: Path, tmp_path: Path) -> None:
    holder = {"pid": 1, "host": "elsewhere", "boot": "x", "started": 1}
    (tmp_path / "f.h5.lock").write_text(json.dumps(holder))
    result = cli("extract", songs, "-o", "f.h5")
    assert result.returncode == 4
    assert "process 1 on elsewhere; if it is gone, remove f.h5.lock" in result.stderr
    OutputLock(tmp_path / "g.h5").close()
    assert not (tmp_path / "g.h5.lock").exists()


@pytest.mark.slow
def test_a_second_interrupt_leaves_at_once(tmp_path: Path) -> None:
    with _started(tmp_path) as process:
        process.send_signal(signal.SIGSTOP)  # so that both come before the first is acted on
        for signum in (signal.SIGTERM, signal.SIGINT):
            process.send_signal(signum)
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=20)
    assert process.returncode in (130, 143)
    assert list(vit1dx.open(tmp_path / "f.h5")) == ["0.wav"]


@pytest.mark.slow
def test_output_removed_during_a_run(tmp_path: Path) -> None:
    command = [*extract_command(), "--workers", "1"]
    short_tracks(tmp_path, 150, seconds=3.0)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as process:
        while not tracks_in(tmp_path / "f.h5"):
            time.sleep(0.02)
        (tmp_path / "f.h5").unlink()
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "f.h5 cannot be written: it was removed" in stderr


@pytest.mark.skipif(not os.geteuid(), reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(cli: RunCli, songs: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(0o500)
    result = cli("extract", songs, "-o", "locked/f.h5")
    assert result.returncode == 5
    assert "no permission to write into locked" in result.stderr


class TestResume:
    """The same command again does what is not done, and no more."""

    @staticmethod
    def _run(cli: RunCli, *arguments: str, code: int = 0) -> dict[str, Any]:
        result = cli("extract", "music", "-o", "f.h5", "--layers", "1", "--json", *arguments)
        assert result.returncode == code, result.stderr
        values: dict[str, Any] = json.loads(result.stdout)
        return values

    @pytest.mark.slow
    def test_what_is_done_is_not_done_again(self, cli: RunCli, songs: Path, tmp_path: Path) -> None:
        shutil.copytree(songs, tmp_path / "music")
        assert self._run(cli)["done"] == 2
        before = (tmp_path / "f.h5").read_bytes()
        summary = self._run(cli)
        assert (summary["done"], summary["already"]) == (0, 2)
        assert (tmp_path / "f.h5").read_bytes() == before
        soundfile.write(tmp_path / "music" / "a" / "x.wav", song(3.0), 44100)
        (tmp_path / "music" / "b" / "x.flac").unlink()
        summary = self._run(cli)
        assert (summary["done"], summary["already"], summary["changed"]) == (1, 0, 1)
        assert summary["gone"] == ["b/x.flac"]
        with vit1dx.open(tmp_path / "f.h5") as features:
            assert list(features) == ["a/x.wav", "b/x.flac"]
            assert features["a/x.wav"].duration == 3.0
            assert features.attributes["finished"] == 1
        assert not verify(tmp_path / "f.h5").problems

    @pytest.mark.slow
    def test_changes_are_known_by_content_if_asked(
        self, cli: RunCli, songs: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(songs, tmp_path / "music")
        path = tmp_path / "music" / "a" / "x.wav"
        assert self._run(cli, "--checksum")["done"] == 2
        os.utime(path, (1, 1))
        assert self._run(cli, "--checksum")["already"] == 2
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        os.utime(path, (1, 1))
        assert self._run(cli, "--checksum")["changed"] == 1

    @pytest.mark.slow
    def test_failures_are_done_again_if_asked_or_changed(
        self, cli: RunCli, songs: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(songs, tmp_path / "music")
        (tmp_path / "music" / "bad.wav").write_text("no music")
        assert self._run(cli, code=1)["failed"] == 1
        summary = self._run(cli, code=1)
        assert (summary["done"], summary["already"], summary["failed"]) == (0, 2, 1)
        assert "bad.wav" in {failure["id"] for failure in summary["failures"]}
        assert self._run(cli, "--retry-failed", code=1)["failed"] == 1
        soundfile.write(tmp_path / "music" / "bad.wav", song(2.0), 44100)
        summary = self._run(cli)
        assert (summary["done"], summary["failed"]) == (1, 0)
        assert vit1dx.open(tmp_path / "f.h5").failures == {}

    @pytest.mark.slow
    def test_another_configuration_is_refused_with_the_difference(
        self, cli: RunCli, songs: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(songs, tmp_path / "music")
        self._run(cli)
        before = (tmp_path / "f.h5").read_bytes()
        for arguments, said in (
            (["--layers", "2"], "request.layers [1] there, [2] asked for"),
            (["--dtype", "float16"], "request.dtype float32 there, float16 asked for"),
            (["--overlap", "0.5"], "window.overlap 0 there, 16 asked for"),
            (["--attention", "none"], "request.attention class there, none asked for"),
            (["--precision", "int8"], "precision fp32 there, int8 asked for"),
        ):
            command = ["extract", "music", "-o", "f.h5", "--layers", "1", *arguments]
            result = cli(*command)
            assert result.returncode == 2
            assert said in result.stderr
            assert result.stderr.count("\n") == 1
            to_type = result.stderr.partition("to continue it, add ")[2].partition(";")[0]
            assert cli(*command, *to_type.split()).returncode == 0
        assert (tmp_path / "f.h5").read_bytes() == before
        self._run(cli, "--overlap", "0.5", "--overwrite")

    @pytest.mark.slow
    def test_a_commit_cut_short_is_read_through_and_completed(
        self, cli: RunCli, songs: Path, tmp_path: Path
    ) -> None:
        """Killed after the journal of its last commit was whole, before that was applied."""
        (tmp_path / "music").mkdir()
        path = tmp_path / "f.h5"
        states = []
        for name in ("a", "b"):
            shutil.copytree(songs / name, tmp_path / "music" / name)
            self._run(cli)
            states.append(path.read_bytes())
        before, after = states
        pages = range(0, len(before), 4096)
        changes = {at: after[at : min(at + 4096, len(before))] for at in pages}
        journal = Journal(len(after), before[:48], changes)
        path.write_bytes(before + after[len(before) :] + b"never committed")
        journal_path(path).write_bytes(b"".join(journal.parts()))
        assert list(vit1dx.open(path)) == ["a/x.wav", "b/x.flac"]
        assert path.read_bytes()[: len(before)] == before
        assert self._run(cli)["already"] == 2
        assert path.read_bytes() == after
        assert not journal_path(path).exists()

    @pytest.mark.slow
    def test_a_run_that_ended_early_is_finished(self, tmp_path: Path) -> None:
        short_tracks(tmp_path, 60, seconds=3.0)
        command = extract_command("--layers", "1")
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
            while not (tmp_path / "f.h5").exists():
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            summary = json.loads(process.communicate(timeout=60)[0])
        assert process.returncode == 130
        assert summary["stopped"] == "interrupted"
        done = summary["done"]
        again = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
        summary = json.loads(again.stdout)
        assert (summary["already"], summary["done"]) == (done, 60 - done)


FULL = ("-o", "f.h5", "--layers", "2,4", "--attention", "full", "--quiet")


@pytest.fixture(scope="module")
def sound(songs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A feature file with nothing wrong."""
    folder = tmp_path_factory.mktemp("sound")
    command = [sys.executable, "-m", "vit1dx", "extract", str(songs), *FULL]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "f.h5"


class TestVerifyAndRepair:
    """Damage is found, named, and cut out."""

    def test_a_sound_file(self, cli: RunCli, sound: Path, tmp_path: Path) -> None:
        shutil.copy(sound, tmp_path)
        result = cli("verify", "f.h5")
        assert (result.returncode, result.stdout) == (0, "f.h5: 2 of 2 tracks sound\n")
        shutil.copy(tmp_path / "f.h5", tmp_path / "g.h5")
        assert cli("repair", "g.h5").returncode == 0
        require_same(tmp_path / "f.h5", tmp_path / "g.h5")
        assert cli("verify", "nothing.h5").returncode == 5

    @pytest.mark.parametrize("damage", ["bit", "cut", "attention", "nan", "no array", "shape"])
    def test_damage(self, cli: RunCli, sound: Path, tmp_path: Path, damage: str) -> None:
        path = tmp_path / "f.h5"
        shutil.copy(sound, path)
        with h5py.File(path, "r+") as file:
            track = file["tracks/a/x.wav"]
            offset = track["class_token"].id.get_offset() + 1001
            end = track["attention"].id.get_offset()
            expected = {
                "bit": "class_token does not match its checksum",
                "cut": "was cut",
                "attention": "attention has rows that do not sum to 1",
                "nan": "sequence_tokens holds values that are not finite",
                "no array": "has no mean_token",
                "shape": "time is of shape",
            }[damage]
            if damage == "attention":
                track["attention"][1, 0, 1, 5] *= 1.1
            elif damage == "nan":
                track["sequence_tokens"][0, 3, 3] = np.nan
            elif damage == "no array":
                del track["mean_token"]
            elif damage == "shape":
                del track["window_start"]
                track["window_start"] = np.zeros(7)
                expected = "window_start is of shape (7,)"
        if damage == "bit":
            data = bytearray(path.read_bytes())
            data[offset] ^= 64
            path.write_bytes(data)
        elif damage == "cut":
            os.truncate(path, end)
        found = verify(path)
        assert ("" if damage == "cut" else "a/x.wav", expected) in {
            (key, problem[: len(expected)]) for key, problem in found.problems
        }
        result = cli("repair", "f.h5")
        assert result.returncode == 1
        assert f"f.h5: {len(found.sound)} of {found.tracks} tracks kept" in result.stdout
        assert not verify(path).problems
        kept = list(vit1dx.open(path))
        assert kept == found.sound
        assert "a/x.wav" not in kept
        assert damage == "cut" or kept == ["b/x.flac"]

    @pytest.mark.slow
    def test_any_damage_is_refused_or_repaired(self, sound: Path, tmp_path: Path) -> None:
        original, path = sound.read_bytes(), tmp_path / "f.h5"
        chance = random.Random(0)
        outcomes = set()
        for _ in range(25):
            data = bytearray(original)
            for _ in range(chance.choice((1, 20))):
                places = (chance.randrange(len(data)), len(data) - 1 - chance.randrange(20_000))
                data[chance.choice(places)] = chance.randrange(256)
            path.write_bytes(data)
            try:
                report = repair(path)
                assert not verify(path).problems
                outcomes.add("repaired" if report.problems else "sound")
            except StoreError:
                outcomes.add("refused")
        assert "repaired" in outcomes

    @pytest.mark.slow
    def test_what_was_dropped_is_done_again(
        self, cli: RunCli, songs: Path, sound: Path, tmp_path: Path
    ) -> None:
        shutil.copy(sound, tmp_path)
        with h5py.File(tmp_path / "f.h5", "r+") as file:
            file["tracks/a/x.wav/time"][0] = 7
        result = cli("verify", "f.h5", "--json")
        assert result.returncode == 1
        problem = {"id": "a/x.wav", "problem": "time does not match its checksum"}
        assert json.loads(result.stdout)["problems"] == [problem]
        assert cli("repair", "f.h5").returncode == 1
        result = cli("extract", songs, *FULL)
        assert result.stdout.startswith("1 of 2 files done, 1 done before, 0 failed")
        require_same(sound, tmp_path / "f.h5")


def test_workers_import_nothing_from_the_current_folder(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", song(1.0), 44100)
    script = Path(sys.executable).with_name("vit1dx")
    command = [str(script), "extract", "x.wav", "-o", "f.h5", "--layers", "1", "-q"]
    (tmp_path / "json.py").write_text("raise SystemExit('not from here')")
    subprocess.run(command, cwd=tmp_path, check=True)
