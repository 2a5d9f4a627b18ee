"""What starting works out is kept, and never trusted further than its bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vit1dx.errors import WeightsError
from vit1dx.extractor import Extractor
from vit1dx.model.cache import KEPT, read, write
from vit1dx.model.weights import bundled, read_info

MODEL = bundled(".onnx")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vit1dx"


def test_where_nothing_can_be_kept_nothing_fails(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.parent.parent.joinpath("file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent.parent / "file"))
    write("a", b"b")
    assert read("a") is None


def test_the_last_used_are_kept(cache: Path) -> None:
    for number in range(KEPT + 1):
        write(str(number), b"content")
        for age, path in enumerate(sorted(cache.iterdir(), key=os.path.getmtime)):
            os.utime(path, (age, age))
        assert read("0") == b"content"  # and now it is the last used
    assert read("1") is None
    assert len(list(cache.iterdir())) == KEPT


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_second_start_needs_no_onnx_and_gives_the_same_tokens(
    precision: str, cache: Path, tmp_path: Path
) -> None:
    code = (
        "import sys, numpy, vit1dx\n"
        f"extractor = vit1dx.Extractor([0, 2], precision={precision!r}, attention='class')\n"
        "mel = numpy.random.default_rng(0).standard_normal((2, 125, 128), numpy.float32)\n"
        "tokens, maps = extractor.backend.run(mel)\n"
        "numpy.savez(sys.argv[1], *tokens.values(), *maps.values())\n"
        "print('onnx' in sys.modules)\n"
    )
    found = []
    for number in range(2):
        path = tmp_path / f"{number}.npz"
        command = [sys.executable, "-c", code, str(path)]
        has_onnx = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert has_onnx.strip() == str(number == 0)
        with np.load(path) as arrays:
            found.append([arrays[name] for name in arrays.files])
    for first, second in zip(*found, strict=True):
        np.testing.assert_array_equal(first, second)


def test_what_a_model_is_goes_with_its_bytes_and_name(cache: Path, tmp_path: Path) -> None:
    info = read_info(MODEL)
    assert read_info(MODEL) == info
    copy = tmp_path / "other.onnx"
    shutil.copy(MODEL, copy)
    assert read_info(copy).path == copy
    assert read_info(copy).sha256 == info.sha256
    copy.write_bytes(copy.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="is not an ONNX model"):
        read_info(copy)


def test_a_damaged_graph_is_made_again(cache: Path) -> None:
    mel = np.random.default_rng(0).standard_normal((1, 125, 128), np.float32)

    def tokens() -> np.ndarray:
        return Extractor(1, attention="none").backend.run(mel)[0][1]

    expected = tokens()
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    np.testing.assert_array_equal(tokens(), expected)


def test_onnx_runtime_leaves_and_sends_nothing(tmp_path: Path) -> None:
    """It would keep a number of the user in a cache of its own, to be reported."""
    env = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    del env["ORT_DISABLE_TELEMETRY"]  # which this process has set for itself
    code = "import vit1dx; vit1dx.Extractor(1).backend"
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["vit1dx"]
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
