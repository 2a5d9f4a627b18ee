"""`vit1dx.extract`: what the command does, for a program."""

from __future__ import annotations

import inspect
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile

import vit1dx
from vit1dx.cli import extract as command
from vit1dx.run.extract import extract

from ..conftest import RunCli
from ..synth import song

#: Parameters of the command alone, and of the function alone.
OWN = {"as_json", "config"}, {"raise_signals"}


def test_it_is_what_the_command_does(cli: RunCli, songs: Path, tmp_path: Path) -> None:
    summary = vit1dx.extract(songs, tmp_path / "api.h5", layers=[4, 8], workers=1)
    done = cli("extract", songs, "-o", "cli.h5", "--layers", "4,8", "--workers", "1", "--json")
    told, ours = json.loads(done.stdout), summary.to_dict()
    for one in (told, ours):
        for key in ("output", "wall_seconds", "times_real_time"):
            del one[key]
    assert ours == told
    assert summary.done == 2
    with h5py.File(tmp_path / "api.h5") as api, h5py.File(tmp_path / "cli.h5") as other:
        for track in ("a/x.wav", "b/x.flac"):
            for name in ("class_token", "sequence_tokens", "mean_token"):
                found, expected = (file["tracks"][track][name][:] for file in (api, other))
                np.testing.assert_array_equal(found, expected)


def test_its_options_and_defaults_are_the_command_s() -> None:
    ours = inspect.signature(extract).parameters
    theirs = inspect.signature(command.extract).parameters
    assert ours.keys() - OWN[1] == theirs.keys() - OWN[0]
    for name, parameter in ours.items():
        if name not in ("paths", "output"):
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        default = parameter.default
        if name not in ("paths", "output", "quiet", *OWN[1]):
            assert (default or None) == (theirs[name].default or None), name


def test_it_writes_nothing_to_the_standard_streams(songs: Path, tmp_path: Path) -> None:
    script = f"import vit1dx; vit1dx.extract({str(songs)!r}, 'f.h5', layers='last')"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"paths": []}, vit1dx.UsageError, "nothing to extract"),
        ({"paths": "nowhere"}, vit1dx.UsageError, "nowhere: no such file or folder"),
        ({"paths": "."}, vit1dx.NoFilesError, "no audio files found"),
        ({"output": "feats"}, vit1dx.UsageError, r"-o feats: .*\.h5 or \.hdf5, or in '/'"),
        ({"output": "no/f.h5"}, vit1dx.StoreError, "no folder no"),
        ({"layers": 13}, vit1dx.UsageError, "layer 13"),
        ({"attention": "some"}, vit1dx.UsageError, "'some'; choose from none, class, full"),
        ({"dtype": "float64"}, vit1dx.UsageError, "'float64'; choose from float32, float16"),
        ({"backend": "jax"}, vit1dx.UsageError, "'jax'; choose from auto, onnx, openvino, torch"),
        ({"device": "tpu"}, vit1dx.UsageError, "'tpu'; choose from auto, cpu, cuda, or cuda:N"),
        ({"precision": "int4"}, vit1dx.UsageError, "'int4'; choose from fp32, int8, bf16, fp16"),
        ({"workers": 0}, vit1dx.UsageError, "workers 0"),
        ({"weights": "none.onnx"}, vit1dx.WeightsError, "no weights at none.onnx"),
    ],
)
def test_what_cannot_be_done_raises(
    options: dict[str, Any],
    error: type[Exception],
    reason: str,
    songs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"paths": songs, "output": "f.h5", "layers": "last", **options}
    with pytest.raises(error, match=reason):
        extract(given.pop("paths"), given.pop("output"), **given)
    assert list(tmp_path.iterdir()) == []


def test_a_usage_error_is_a_value_error() -> None:
    assert issubclass(vit1dx.UsageError, ValueError)


def test_outside_the_main_thread_no_handler_of_signals_is_touched(
    songs: Path, tmp_path: Path
) -> None:
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    found = []
    thread = threading.Thread(
        target=lambda: found.append(extract(songs, tmp_path / "f.h5", layers="last"))
    )
    thread.start()
    while thread.is_alive():
        assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before
        time.sleep(0.05)
    assert [summary.done for summary in found] == [2]


SCRIPT = """
import signal, sys, vit1dx
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
if sys.argv[1] == "own":
    def handler(*_):
        print("own handler")
        sys.exit(7)
    signal.signal(signal.SIGTERM, handler)
before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
try:
    vit1dx.extract("music", "f.h5", layers="last", workers=1)
except KeyboardInterrupt:
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    print("KeyboardInterrupt")
"""


@pytest.mark.parametrize(
    ("number", "handler", "word", "code"),
    [
        (signal.SIGINT, "", "KeyboardInterrupt", 0),
        (signal.SIGTERM, "", "", -signal.SIGTERM),
        (signal.SIGTERM, "own", "own handler", 7),
    ],
)
def test_a_signal_comes_to_the_program_once_what_is_finished_is_written(
    number: signal.Signals, handler: str, word: str, code: int, tmp_path: Path
) -> None:
    (tmp_path / "music").mkdir()
    soundfile.write(tmp_path / "music" / "0.wav", song(1.0, 16000), 16000)
    soundfile.write(tmp_path / "music" / "1.wav", np.tile(song(60.0, 16000), 20), 16000)
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, handler], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        _wait_for_a_track(tmp_path / "f.h5")
        process.send_signal(number)
        printed, _ = process.communicate(timeout=60)
    assert (printed.strip(), process.returncode) == (word, code)
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert list(features) == ["0.wav"]
        assert not features.attributes["finished"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.h5", "music"]


def _wait_for_a_track(path: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if path.exists():
            with vit1dx.open(path) as features:
                if len(features):
                    return
        time.sleep(0.02)
    raise AssertionError("no track was committed")
