"""What is said, and where: terminals, pipes, full disks, closed descriptors, other encodings."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from rich.console import Console

import vit1dx
from vit1dx.run.progress import CountingProgress, reporting, waiting
from vit1dx.run.remarks import passed_over_lines
from vit1dx.run.sources import PassedOver, Source
from vit1dx.run.wording import clock, count, duration, one_line, speed
from vit1dx.store.verify import verify

from ..conftest import RunCli
from ..synth import song

VIT1DX = f"{shlex.quote(sys.executable)} -m vit1dx"


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """A song, a file that is none, and notes."""
    folder = tmp_path / "music"
    folder.mkdir()
    soundfile.write(folder / "a.wav", song(3.0), 44100)
    (folder / "東京.wav").write_text("no music")
    (folder / "notes.txt").touch()
    return folder


def _shell(command: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command line of bash, with vit1dx as ``V``."""
    return subprocess.run(
        ["bash", "-c", re.sub(r"\bV\b", VIT1DX, command)],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, **env},
        timeout=120,
    )


def _on_terminal(
    arguments: list[str], folder: Path, columns: int = 60, **more: str
) -> tuple[int, str]:
    """Run vit1dx on a terminal: the exit code, and all that was written to it."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "vit1dx", *arguments],
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**env, "TERM": "xterm", **more},
    )
    os.close(theirs)
    written = b""
    while block := _read(ours):
        written += block
    os.close(ours)
    return process.wait(), written.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # nobody writes to it any more
        return b""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "code", "said"),
    [
        ("2>/dev/full", 1, "1 of 2 files done, 1 failed"),
        ("2> >(true)", 1, "1 of 2 files done, 1 failed"),
        ("2>&1 | head -1; exit ${PIPESTATUS[0]}", 1, "passed over: 1 file of other endings"),
        ("0<&- 1>&- 2>&-", 1, ""),
        ("--exclude '東*' >/dev/full", 1, "cannot be written to standard output: No space left"),
        ("--exclude '東*' >&-", 0, ""),
        ("--exclude '東*' --json >&-", 0, ""),
        ("--exclude '東*' | true; exit ${PIPESTATUS[0]}", 141, ""),
    ],
)
def test_the_console_never_decides_a_run(
    music: Path, tmp_path: Path, where: str, code: int, said: str
) -> None:
    result = _shell(f"V extract music -o f.h5 --layers 1 {where}", tmp_path)
    written = result.stdout + result.stderr
    assert result.returncode == code, written
    assert said in written
    assert "Traceback" not in written
    assert "Exception" not in written
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert list(features) == ["a.wav"]
        assert features.attributes["finished"] == 1
    assert not verify(tmp_path / "f.h5").problems


@pytest.fixture(scope="module")
def features(songs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a feature file, ``f.h5``."""
    folder = tmp_path_factory.mktemp("features")
    made = _shell(f"V extract {songs}/a/x.wav -o f.h5 --layers 1 -q", folder)
    assert made.returncode == 0, made.stderr
    return folder


def test_colours_are_for_terminals_that_want_them(tmp_path: Path) -> None:
    colour = re.compile(r"\x1b\[[0-9;]*3[0-9]")
    arguments = ["ls", "--help"]
    assert colour.search(_on_terminal(arguments, tmp_path)[1])
    assert not colour.search(_on_terminal(arguments, tmp_path, NO_COLOR="1")[1])
    assert "\x1b" not in _on_terminal(arguments, tmp_path, TERM="dumb")[1]
    assert "\x1b" not in _shell("V ls --help", tmp_path).stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "info f.h5",
        "info f.h5 --json",
        "verify f.h5",
        "ls f.h5",
        "cat f.h5 x.wav time --format npy",
        "--help",
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_other_commands_too(features: Path, command: str, unbuffered: str) -> None:
    env = {"PYTHONUNBUFFERED": unbuffered}
    full = _shell(f"V {command} > /dev/full", features, **env)
    assert full.returncode == 1
    assert full.stderr == (
        "vit1dx: the result cannot be written to standard output: No space left on device\n"
    )
    pipe = _shell(f"V {command} | true; exit ${{PIPESTATUS[0]}}", features, **env)
    assert (pipe.returncode, pipe.stderr) == (141, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "env", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}], ids=str
)
def test_names_that_an_encoding_lacks_are_escaped(
    music: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    result = _shell("V extract music -o f.h5 --layers 1", tmp_path, **env)
    assert result.returncode == 1
    assert r"failed: \u6771\u4eac.wav: " in result.stdout
    assert r"failed: \u6771\u4eac.wav: " in result.stderr
    assert "1 of 2 files done, 1 failed" in result.stdout
    summary = _shell("V extract music -o f.h5 --layers 1 --json", tmp_path, **env)
    assert json.loads(summary.stdout)["failures"][0]["id"] == "東京.wav"


@pytest.fixture(scope="module")
def latin1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose locale is not of UTF-8."""
    path = tmp_path_factory.mktemp("locales") / "en_US.ISO-8859-1"
    command = ["localedef", "-f", "ISO-8859-1", "-i", "en_US", os.fspath(path)]
    if not shutil.which("localedef") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no locales to make one of")
    return {"LOCPATH": os.fspath(path.parent), "LC_ALL": path.name}


@pytest.mark.slow
@pytest.mark.parametrize("utf8", ["0", "1"])
def test_workers_find_the_names_that_the_run_found(
    tmp_path: Path, latin1: dict[str, str], utf8: str
) -> None:
    names = ["öl.wav", "東京.wav", os.fsdecode(b"caf\xe9.wav")]
    (tmp_path / "music").mkdir()
    for name in names:
        soundfile.write(tmp_path / "x.wav", song(1.0), 44100)
        (tmp_path / "x.wav").rename(tmp_path / "music" / name)
    env = {**latin1, "PYTHONUTF8": utf8}
    result = _shell("V extract music -o f.h5 --layers 1 --json", tmp_path, **env)
    assert result.returncode == 0, result.stdout
    assert set(vit1dx.open(tmp_path / "f.h5")) == {"öl.wav", "東京.wav", r"caf\xe9.wav"}


def test_a_list_from_a_closed_standard_input(cli: RunCli, tmp_path: Path) -> None:
    result = _shell("V extract --files-from - -o f.h5 <&-", tmp_path)
    assert result.returncode == 2
    assert result.stderr == "vit1dx: list of files -: standard input is closed\n"


@pytest.mark.slow
def test_a_failure_is_one_line_whatever_its_name(music: Path, tmp_path: Path) -> None:
    (music / "line\nbreak \x1b[31m.wav").write_text("no music")
    result = _shell("V extract music -o f.h5 --layers 1", tmp_path)
    for text in (result.stdout, result.stderr, _shell("V info f.h5 --failures", tmp_path).stdout):
        assert r"failed: line\nbreak \x1b[31m.wav: " in text
        assert "\x1b" not in text
        assert len(re.findall("^failed: ", text, re.MULTILINE)) == 2


@pytest.mark.slow
def test_a_terminal_shows_a_failure_once_and_a_bar(music: Path, tmp_path: Path) -> None:
    soundfile.write(music / "b.wav", np.tile(song(60.0, 16000), 5), 16000)
    code, text = _on_terminal(["extract", "music", "-o", "f.h5", "--layers", "1"], tmp_path)
    assert code == 1
    assert text.count("failed: 東京.wav: ") == 1
    assert "1 file failed; vit1dx info f.h5 --failures lists all\r\n" in text
    assert "2 of 3 files done, 1 failed: 5.0 min of audio in " in text
    assert max(map(len, re.findall("━+", text))) > 20
    assert re.search(r"[123]/3 files, 1 failed, \d.* min of 5.0 min, \d+x real time", text)
    assert "ETA 0:00:" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is shown again


@pytest.mark.slow
def test_failures_are_listed_where_the_result_goes_elsewhere(music: Path, tmp_path: Path) -> None:
    one = _shell("V extract music -o f.h5 --layers 1 > log 2>&1; cat log", tmp_path)
    assert one.stdout.count("failed: 東京.wav: ") == 1
    assert "--failures lists all" in one.stdout
    apart = _shell("V extract music -o f.h5 --layers 1", tmp_path)
    assert apart.stdout.count("failed: 東京.wav: ") == 1
    assert "--failures" not in apart.stdout


@pytest.mark.slow
def test_info_lists_failures(cli: RunCli, music: Path, tmp_path: Path) -> None:
    cli("extract", "music", "-o", "shards/", "--layers", "1")
    (failure,) = json.loads(cli("info", "shards", "--failures", "--json").stdout)["failures"]
    assert failure["id"] == "東京.wav"
    assert failure["reason"]
    result = cli("info", "shards", "--failures")
    assert result.stdout == "failed: {id}: {reason}\n".format(**failure)
    assert cli("info", music / "a.wav", "--failures").returncode == 5


def test_info_is_a_line_a_value_however_narrow_the_terminal(cli: RunCli, features: Path) -> None:
    values = json.loads(cli("info", features / "f.h5", "--json").stdout)
    lines = cli("info", features / "f.h5", env={"COLUMNS": "30"}).stdout.splitlines()
    found = dict(line.split(maxsplit=1) for line in lines)
    assert found["model_sha256"] == values["model_sha256"]
    assert found["audio_hours"] == "0.00138889"


@pytest.mark.slow
def test_what_was_passed_over_is_said_and_counted(cli: RunCli, music: Path) -> None:
    for name in ("b.mpga", "c.mpga", ".38 Special.mp3", "._a.wav"):
        shutil.copy(music / "a.wav", music / name)
    result = cli("extract", "music", "-o", "f.h5", "--layers", "1", "--exclude", "solo/", "--json")
    assert json.loads(result.stdout)["passed_over"] == {
        "hidden": 1,
        "other_endings": {".mpga": 2, ".txt": 1},
        "unused_patterns": ["solo/"],
    }
    first, second, third, *_ = result.stderr.splitlines()
    assert first == "passed over: 1 hidden, 3 files of other endings (.mpga 2, .txt 1)"
    assert second == "warning: .mpga may hold audio; --include '*.mpga' takes such files"
    assert third == "warning: nothing matches the pattern 'solo/'"
    result = cli("extract", "music/*.mpga", "-o", "g.h5")
    assert result.returncode == 3
    assert "no audio files found; passed over: 2 files of other endings (.mpga 2);" in result.stderr
    taken = cli("extract", "music", "--include", "*.mpga", "-o", "h.h5", "--layers", "1", "-q")
    assert taken.stdout.splitlines()[-1].startswith("3 of 4 files done, 1 failed")
    assert taken.stderr == ""


def test_many_endings_are_cut_short_and_those_of_audio_come_first() -> None:
    passed_over = PassedOver()
    for number in range(10):
        passed_over.other_endings[f".{number}"] = 20 - number
    passed_over.other_endings[".weba"] = 1
    line, warning = passed_over_lines(passed_over)
    assert "(.weba 1, .0 20, .1 19, .2 18, .3 17, .4 16, ...)" in line
    assert ".weba may hold audio" in warning
    assert passed_over_lines(PassedOver()) == []


@pytest.mark.slow
def test_help(cli: RunCli) -> None:
    for command in (["extract"], ["train"], ["info"], []):
        text = cli(*command, "--help", env={"COLUMNS": "120"}).stdout
        assert "<bool>" not in text
    text = " ".join(cli("extract", "--help").stdout.split())
    assert "are searched for 3gp, aac," in text
    assert "129 hung up (SIGHUP)" in text


def _own_terminal() -> None:
    """Make standard input this process's terminal, whose closing hangs it up."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.slow
def test_a_terminal_that_closes_leaves_what_was_finished(tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    soundfile.write(tmp_path / "music" / "0.wav", song(1.0, 16000), 16000)
    soundfile.write(tmp_path / "music" / "1.wav", np.tile(song(60.0, 16000), 15), 16000)
    ours, theirs = pty.openpty()
    ends: dict[str, Any] = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    command = [sys.executable, "-m", "vit1dx", "extract", "music", "-o", "f.h5", "--workers", "1"]
    with subprocess.Popen(command, cwd=tmp_path, preexec_fn=_own_terminal, **ends) as process:
        os.close(theirs)
        output, deadline = tmp_path / "f.h5", time.monotonic() + 60
        while not (output.exists() and output.stat().st_size > 10_000_000):
            os.set_blocking(ours, False)
            with contextlib.suppress(BlockingIOError):
                os.read(ours, 1 << 16)
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.close(ours)
        process.wait(timeout=60)
    assert process.returncode == 129
    with vit1dx.open(output) as features:
        assert list(features) == ["0.wav"]
        assert features.attributes["finished"] == 0
        assert features.failures == {}
    assert not list(tmp_path.glob("f.h5.*"))


@pytest.mark.slow
def test_nohup_is_respected(tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    for number in range(3):
        soundfile.write(tmp_path / "music" / f"{number}.wav", song(30.0, 16000), 16000)
    command = f"trap '' HUP; exec {VIT1DX} extract music -o f.h5 --workers 1"
    with subprocess.Popen(["bash", "-c", command], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "f.h5").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGHUP)
        stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"3 of 3 files done" in stdout


class TestProgress:
    """The lines of a run that goes on for long."""

    SOURCES = tuple(Source(name, Path(name)) for name in ("a.wav", "b\n.wav", "c.wav"))
    EXPECTED: Mapping[str, float] = {source.id: 1800.0 for source in SOURCES}

    @staticmethod
    def _console(terminal: bool = False) -> Console:
        return Console(force_terminal=terminal, highlight=False, width=200)

    @pytest.fixture(autouse=True)
    def _now(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An hour has passed whenever somebody looks."""
        self.time = 0.0
        monkeypatch.setattr("vit1dx.run.progress.time.monotonic", self._later)

    def _later(self) -> float:
        return self.time

    def test_what_one_who_looks_once_an_hour_wants(self, capsys: Any) -> None:
        a, b, c = self.SOURCES
        with reporting(self.EXPECTED, self._console(), quiet=False) as progress:
            progress.started(a)
            progress.started(b)
            self.time = 10.0
            progress.finished(a, 1800.0)
            progress.failed(c, "not a\nregular file")
            progress.advanced(b, 450.0)
            self.time = 50.0
            progress.show()
        failed, line = capsys.readouterr().out.splitlines()
        assert failed == r"failed: c.wav: not a\nregular file"
        assert line == (
            "2/3 files, 1 failed, 37.5 min of 1.0 h, 45x real time, ETA 0:00:30, "
            r"at work for 50.0 s: b\n.wav"
        )

    def test_before_anything_is_done(self) -> None:
        progress = CountingProgress(self.EXPECTED, self._console())
        assert progress.status() == "0/3 files, 0.0 s of 1.5 h"
        assert progress.eta == "ETA -"
        assert progress.longest() == ""

    def test_waiting_says_so(self, capsys: Any) -> None:
        with waiting("comparing [files]", self._console(), quiet=False) as passing:
            passing()
            self.time = 100.0
            passing()
            passing()
        assert capsys.readouterr().out == "comparing [files]: 1.7 min\n"
        with waiting("comparing", self._console(), quiet=True) as passing:
            self.time = 200.0
            passing()
        assert capsys.readouterr().out == ""


def test_ranks_that_wait_for_a_long_decode_do_not_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = pytest.importorskip("vit1dx.train.ranks")
    given: dict[str, Any] = {}
    monkeypatch.setattr(ranks.distributed, "init_process_group", lambda _, **k: given.update(k))
    monkeypatch.setenv("WORLD_SIZE", "2")
    ranks.join_ranks("cpu")
    assert given["timeout"].days > 1


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (count(0, "file"), "0 files"),
        (count(1, "file"), "1 file"),
        (count(1234, "file"), "1234 files"),
        (duration(0), "0.0 s"),
        (duration(59.9), "59.9 s"),
        (duration(59.99), "1.0 min"),
        (duration(3599), "1.0 h"),
        (duration(36000), "10.0 h"),
        (clock(3723.4), "1:02:03"),
        (clock(59.6), "0:01:00"),
        (speed(0.04), "0.04x real time"),
        (speed(9.96), "10x real time"),
        (speed(318.4), "318x real time"),
        (one_line("a\tb\r\n\x9b\u2028東京 é"), r"a\tb\r\n\x9b\u2028東京 é"),
    ],
)
def test_wording(found: str, expected: str) -> None:
    assert found == expected
