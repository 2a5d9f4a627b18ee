"""The command line, as a script would use it: in a process, by its output and its exit code."""

from __future__ import annotations

import json
import os
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
import xarray

import vit1dx
from vit1dx.config import Config, ModelConfig
from vit1dx.model.vit import ViT1D, save
from vit1dx.model.weights import BUNDLED, bundled

from ..conftest import RunCli
from ..synth import song

RATE = 44100


def _summary(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(result.stdout)
    return values


def test_main_job_on_real_music(cli: RunCli, real_audio: Path, tmp_path: Path) -> None:
    result = cli("extract", real_audio, "--layers", "4,8", "--attention", "full", "-o", "feats.h5")
    assert result.returncode == 0, result.stderr
    assert "3 of 3 files done, 0 failed" in result.stdout
    with h5py.File(tmp_path / "feats.h5") as file:
        assert set(file["tracks"]) == {"hungarian_dance.ogg", "solo_trumpet.ogg", "vibe_ace.ogg"}
        assert list(file["layer"]) == [4, 8]
    for path in real_audio.glob("*.ogg"):
        info = soundfile.info(path)
        frames = 1 + round(info.frames * 16000 / info.samplerate) // 512
        for engine in ("netcdf4", "h5netcdf"):
            group = f"tracks/{path.name}"
            with xarray.open_dataset(tmp_path / "feats.h5", group=group, engine=engine) as data:
                assert data.sizes["time"] == frames
                assert data.sizes["layer"] == 2
                assert data["attention"].dims == ("layer", "window", "head", "query", "key")
                np.testing.assert_allclose(data["attention"].sum("key"), 1, atol=1e-5)
                np.testing.assert_allclose(data["time"], np.arange(frames) * 512 / 16000)
                assert np.isfinite(data["sequence_tokens"]).all()
                assert data.attrs["duration"] == info.duration
                assert data.attrs["source"] == str(path)
                assert data.attrs["size"] == path.stat().st_size
                assert data.attrs["mtime_ns"] == path.stat().st_mtime_ns


@pytest.mark.slow
def test_bad_files_are_reported_and_the_rest_is_done(cli: RunCli, tmp_path: Path) -> None:
    music = tmp_path / "music"
    (music / "deep").mkdir(parents=True)
    good = song(3.0)
    soundfile.write(music / "good.wav", good, RATE)
    soundfile.write(music / "deep" / "eight.wav", np.stack([good] * 8, axis=1), RATE)
    soundfile.write(music / "deep" / "high.wav", song(2.0, 192_000), 192_000)
    soundfile.write(music / ("long name " * 20 + ".wav"), good, RATE)
    soundfile.write(music / "x.wav", good, RATE)
    (music / "x.wav").rename(music / os.fsdecode(b"caf\xe9.wav"))
    (music / "empty.mp3").touch()
    (music / "text.mp3").write_text("not music\n" * 500)
    soundfile.write(music / "cut.flac", song(30.0), RATE)
    data = (music / "cut.flac").read_bytes()
    (music / "cut.flac").write_bytes(data[: len(data) // 2])
    soundfile.write(music / "zero.wav", np.zeros(0), RATE)
    for name, value in (("nan.wav", np.nan), ("inf.wav", np.inf)):
        soundfile.write(music / name, np.append(good, value), RATE, subtype="FLOAT")
    (music / "broken.wav").symlink_to("nowhere.wav")
    (music / "loop").symlink_to(music)
    (music / "folder.wav").mkdir()
    os.mkfifo(music / "pipe.wav")
    if os.geteuid():
        shutil.copy(music / "good.wav", music / "locked.wav")
        (music / "locked.wav").chmod(0)

    result = cli("extract", music, "-o", "f.h5", "--layers", "1", "--json")

    assert result.returncode == 1, result.stderr
    summary = _summary(result)
    reasons = {failure["id"]: failure["reason"] for failure in summary["failures"]}
    expected = {
        "empty.mp3": "empty file",
        "text.mp3": "cannot read it",
        "zero.wav": "0 samples",
        "nan.wav": "sample nan at 3.000 s",
        "inf.wav": "sample inf at 3.000 s",
        "broken.wav": "broken symbolic link",
        "pipe.wav": "not a regular file",
        **({"locked.wav": "Permission denied"} if os.geteuid() else {}),
    }
    assert reasons.keys() == expected.keys()
    for track_id, reason in expected.items():
        assert reason in reasons[track_id]
        assert "\n" not in reasons[track_id]
        assert f"failed: {track_id}: {reasons[track_id]}" in result.stderr
    done = {
        "good.wav",
        "deep/eight.wav",
        "deep/high.wav",
        "long name " * 20 + ".wav",
        r"caf\xe9.wav",
        "cut.flac",  # as far as it goes
    }
    assert "cut.flac" in {warning["id"] for warning in summary["warnings"]}
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert set(features) == done
        assert features.failures == reasons
    assert (summary["done"], summary["failed"]) == (len(done), len(expected))
    assert "audio-MPEG" not in result.stderr  # libmpg123's own remarks


def test_json_summary_is_true(cli: RunCli, songs: Path, tmp_path: Path) -> None:
    result = cli("extract", songs, "-o", "f.h5", "--layers", "last", "--json")
    summary = _summary(result)
    assert result.returncode == 0
    assert summary["output"] == "f.h5"
    assert summary["output_bytes"] == (tmp_path / "f.h5").stat().st_size
    assert (summary["files"], summary["done"], summary["failures"]) == (2, 2, [])
    assert summary["audio_hours"] == pytest.approx(11 / 3600)
    speed = summary["audio_hours"] * 3600 / summary["wall_seconds"]
    assert summary["times_real_time"] == pytest.approx(speed)


@pytest.mark.slow
def test_size_is_said_before_and_holds(cli: RunCli, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", song(120.0, 16000), 16000)
    for layers, *attention in (("4,8", "none"), ("0,4,8", "full"), ("0,4,8",)):
        out = tmp_path / f"{attention}.h5"
        option = [f"--attention={kind}" for kind in attention]
        result = cli("extract", "x.wav", "-o", out, "--layers", layers, *option)
        said = result.stderr.split("expected output ")[1].split(" (")[0]
        number, unit = said.split()
        expected = float(number) * {"kB": 1e3, "MB": 1e6}[unit]
        tables = 200e3  # of any file, however few its tracks
        assert expected * 0.97 <= out.stat().st_size <= expected * 1.03 + tables
        assert ("attention 0 B" in result.stderr) == (attention == ["none"])


def test_output_that_will_not_fit_is_refused(cli: RunCli, tmp_path: Path) -> None:
    """A sparse wav file of ten years."""
    soundfile.write(tmp_path / "x.rf64", song(1.0, 8000), 8000, format="RF64")
    seconds = 10 * 365 * 86400
    data = bytearray((tmp_path / "x.rf64").read_bytes())
    size = 2 * 8000 * seconds
    at = data.index(b"ds64") + 8
    data[at : at + 24] = b"".join(n.to_bytes(8, "little") for n in (size + 72, size, size // 2))
    (tmp_path / "x.rf64").write_bytes(data)
    os.truncate(tmp_path / "x.rf64", size + 104)
    result = cli("extract", "x.rf64", "-o", "f.h5")
    assert result.returncode == 3
    assert "TB needed (tokens" in result.stderr
    assert "free at" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.rf64"]


def test_quiet_says_nothing_but_the_result(cli: RunCli, songs: Path) -> None:
    result = cli("extract", songs, "-o", "f.h5", "--layers", "1", "--quiet")
    assert result.stderr == ""
    assert result.stdout.startswith("2 of 2 files done, 0 failed")


@pytest.mark.slow
@pytest.mark.parametrize("trained", [False, True])
def test_untrained_weights_are_warned_of_in_one_line(
    cli: RunCli, songs: Path, tmp_path: Path, trained: bool
) -> None:
    model = ViT1D(Config(model=ModelConfig(depth=1, dim=24)))
    save(model, tmp_path / "w.safetensors", "small", trained)
    result = cli("extract", songs, "-o", "f.h5", "--weights", "w.safetensors")
    assert result.returncode == 0
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning")]
    assert len(warnings) == (0 if trained else 1)
    assert trained or "small are untrained" in warnings[0]
    assert vit1dx.open(tmp_path / "f.h5").attributes["model_trained"] == trained


@pytest.mark.slow
def test_float16_is_stored_and_warned_of(cli: RunCli, songs: Path, tmp_path: Path) -> None:
    result = cli("extract", songs, "-o", "f.h5", "--layers", "4", "--dtype", "float16")
    assert "float16" in result.stderr
    cli("extract", songs, "-o", "g.h5", "--layers", "4")
    half, whole = (vit1dx.open(tmp_path / name)["a/x.wav"] for name in ("f.h5", "g.h5"))
    assert half.sequence_tokens.dtype == np.float16
    rounded = whole.sequence_tokens.astype(np.float16)
    np.testing.assert_array_equal(half.sequence_tokens, rounded)


@pytest.mark.slow
def test_lists_globs_and_exclusions(cli: RunCli, songs: Path, tmp_path: Path) -> None:
    listed = f"{songs}/a/x.wav\0{songs}/gone.wav\0"
    result = cli("extract", "--files-from", "-", "-o", "f.h5", "--layers", "1", stdin=listed)
    assert result.returncode == 1
    below = str(songs).lstrip("/")
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert list(features) == [f"{below}/a/x.wav"]
        assert features.failures == {f"{below}/gone.wav": "no such file"}
    (tmp_path / "list.txt").write_text("a/x.wav\nb/x.flac\n")
    shutil.copytree(songs, tmp_path, dirs_exist_ok=True)
    arguments = ["--files-from", "list.txt", "--exclude", "*.flac", "-o", "g.h5", "--layers", "1"]
    assert cli("extract", *arguments).returncode == 0
    assert list(vit1dx.open(tmp_path / "g.h5")) == ["a/x.wav"]
    assert cli("extract", "*/x.*", "-o", "h.h5", "--layers", "1").returncode == 0
    assert list(vit1dx.open(tmp_path / "h.h5")) == ["a/x.wav", "b/x.flac"]


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["."], 2, "output"),
        (["-o", "f.h5"], 2, "nothing to extract"),
        (["nowhere", "-o", "f.h5"], 2, "nowhere: no such file or folder"),
        ([".", "-o", "f.h5", "--layers", "13"], 2, "layer 13; this model has layers 0 to 12"),
        ([".", "-o", "f.h5", "--layers", "0", "--attention", "full"], 2, "layer 0 alone"),
        ([".", "-o", "f.h5", "--attention", "some"], 2, "some"),
        ([".", "-o", "f.h5", "--overlap", "4"], 2, "from 0 to 3.968 s"),
        ([".", "-o", "f.h5", "--weights", "w.onnx"], 2, "no weights at w.onnx"),
        ([".", "-o", "f.h5", "--weights", "w.pt"], 2, ".onnx or .safetensors"),
        ([".", "-o", "f.h5", "--files-from", "none.txt"], 2, "none.txt: No such file"),
        ([".", "-o", "no/f.h5"], 5, "no folder no"),
        ([".", "-o", "."], 2, "holds files other than shards"),
        (["empty", "-o", "f.h5"], 3, "no audio files found"),
        (["empty/*.wav", "-o", "f.h5"], 2, "empty/*.wav: no such file, and no match"),
        (["a", "Song [id].wav", "-o", "f.h5"], 2, "Song [id].wav: no such file"),
        (["", "-o", "f.h5"], 2, "an empty name"),
    ],
)
def test_wrong_usage(
    cli: RunCli, songs: Path, tmp_path: Path, arguments: list[str], code: int, reason: str
) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copytree(songs, tmp_path, dirs_exist_ok=True)
    result = cli("extract", *arguments)
    assert result.returncode == code
    assert reason in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("*.h5*"))


def test_a_listed_folder_is_a_failure(cli: RunCli, songs: Path, tmp_path: Path) -> None:
    listed = f"{songs}/a/x.wav\n.\n{songs}/b\n"
    result = cli("extract", "--files-from", "-", "-o", "f.h5", "--layers", "1", stdin=listed)
    assert result.returncode == 1
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert len(features) == 1
        reasons = set(features.failures.values())
        assert reasons == {"not a regular file", "'.' cannot name a track"}


def test_nothing_succeeded(cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "x.mp3").touch()
    assert cli("extract", "x.mp3", "-o", "f.h5").returncode == 3


def test_a_device_that_is_not_there(cli: RunCli, songs: Path) -> None:
    result = cli("extract", songs, "-o", "f.h5", "--device", "cuda")
    assert result.returncode in (0, 2)
    if result.returncode:
        assert "device cuda is not there" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "word"), [(signal.SIGTERM, "terminated"), (signal.SIGHUP, "hung up")]
)
def test_a_signal_leaves_no_unfinished_files(tmp_path: Path, signum: int, word: str) -> None:
    soundfile.write(tmp_path / "long.wav", song(900.0, 16000), 16000)
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-m", "vit1dx", "plot", "long.wav"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "tmp").glob("vit1dx-*/*.h5")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signum)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    assert stderr == f"vit1dx: {word}\n"
    assert not list((tmp_path / "tmp").iterdir())
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["long.wav"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_interrupted_run_keeps_what_was_finished(tmp_path: Path, signum: int, code: int) -> None:
    (tmp_path / "music").mkdir()
    soundfile.write(tmp_path / "music" / "0.wav", song(1.0), RATE)
    soundfile.write(tmp_path / "music" / "1.wav", song(900.0, 16000), 16000)
    command = [sys.executable, "-m", "vit1dx", "extract", "music", "-o", "f.h5"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        output = tmp_path / "f.h5"
        deadline = time.monotonic() + 60
        # Once the long track grows on disk, the short one is done.
        while not (output.exists() and output.stat().st_size > 10_000_000):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signum)
        stdout, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert "1 of 2 files done" in stdout
    assert "the same command continues from there" in stdout
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert list(features) == ["0.wav"]
        assert features.attributes["finished"] == 0
    assert not list(tmp_path.glob("f.h5.*"))


def _peak_memory(command: list[str], folder: Path) -> int:
    """Bytes; measured by a small process between, because a child begins with its parent's peak."""
    script = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
    )
    wrapped = [sys.executable, "-c", script, *command]
    result = subprocess.run(wrapped, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return int(result.stdout)


@pytest.mark.slow
def test_three_hours_stay_under_a_gibibyte(tmp_path: Path) -> None:
    """Layers 1 and 2 here, to be quick; what is held does not depend on their number."""
    seconds, rate = 3 * 3600, 16000
    block = song(60.0, rate)
    with soundfile.SoundFile(tmp_path / "x.wav", "w", rate, 1) as file:
        for _ in range(seconds // 60):
            file.write(block)
    command = ["extract", "x.wav", "-o", "f.h5", "--layers", "1,2", "--attention", "class"]
    peak = _peak_memory([sys.executable, "-m", "vit1dx", *command], tmp_path)
    print(f"peak memory {peak >> 20} MiB")
    assert peak < 1 << 30
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert features["x.wav"].duration == seconds
        assert len(features["x.wav"].time) == 1 + seconds * rate // 512


@pytest.mark.slow
def test_info(cli: RunCli, songs: Path, tmp_path: Path) -> None:
    cli("extract", songs, "-o", "f.h5", "--layers", "4,8")
    values = json.loads(cli("info", "f.h5", "--json").stdout)
    assert values["kind"] == "features"
    assert values["layers"] == [4, 8]
    assert (values["tracks"], values["failures"]) == (2, 0)
    assert values["audio_hours"] == pytest.approx(11 / 3600)
    assert values["bytes"] == (tmp_path / "f.h5").stat().st_size
    for suffix, kind in ((".onnx", "onnx"), (".safetensors", "weights")):
        values = json.loads(cli("info", bundled(suffix), "--json").stdout)
        assert (values["kind"], values["name"]) == (kind, BUNDLED[0])
        assert values["config"]["mel"]["hop_length"] == 512
        assert values["layers"] == list(range(13))
    table = cli("info", "f.h5").stdout
    assert "config.mel.hop_length" in table
    for name, reason in (("none.h5", "no file at"), ("text.h5", "cannot be opened as HDF5")):
        (tmp_path / "text.h5").write_text("hello")
        result = cli("info", name)
        assert result.returncode == 5
        assert reason in result.stderr


@pytest.mark.slow
def test_export_onnx_and_extract_with_it(cli: RunCli, songs: Path, tmp_path: Path) -> None:
    arguments = ["--layers", "2", "--attention", "class", "-o", "m.onnx"]
    result = cli("export-onnx", *arguments, "--json")
    assert result.returncode == 0, result.stderr
    outputs = {o["output"]: o for o in json.loads(result.stdout)["outputs"]}
    assert outputs.keys() == {"layer_02", "attention_02"}
    assert all(output["max_error"] <= 1e-4 for output in outputs.values())
    arguments = ["--weights", "m.onnx", "--layers", "2", "--attention", "class", "-o", "f.h5"]
    assert cli("extract", songs, *arguments).returncode == 0
    expected = vit1dx.Extractor(2)(songs / "a" / "x.wav")
    with vit1dx.open(tmp_path / "f.h5") as features:
        found = features["a/x.wav"].read("sequence_tokens", layer=2)
    np.testing.assert_allclose(found, expected.sequence_tokens[0], atol=1e-4)
    result = cli("extract", songs, "--weights", "m.onnx", "-o", "g.h5")
    assert result.returncode == 2
    assert "exported with layers 2 and attention class" in result.stderr


def test_help_says_the_exit_codes(cli: RunCli) -> None:
    text = " ".join(cli("extract", "--help").stdout.split())
    for words in ("0 all files done", "1 some files failed", "2 wrong usage", "3 nothing to do"):
        assert words in text
    for words in ("4 another run writes the output", "5 the output cannot be opened or made"):
        assert words in text
    assert cli("--version").stdout == f"vit1dx {vit1dx.__version__}\n"
