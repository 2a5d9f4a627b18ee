"""OpenVINO: ONNX Runtime's tokens, a compiled model that is kept, and nothing told to anybody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vit1dx.errors import BackendError
from vit1dx.extractor import Extractor
from vit1dx.model import backend
from vit1dx.model.backend import find_weights, load_backend
from vit1dx.model.cache import write
from vit1dx.model.request import Request
from vit1dx.model.weights import BUNDLED, bundled, read_info

pytest.importorskip("openvino")

SHAPES = ((4, 125), (1, 1), (2, 7), (3, 125), (1, 300))
MODEL = bundled(".onnx")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vit1dx"


def made(request: Request, name: str = "openvino", **options: Any) -> backend.Backend:
    return load_backend(read_info(MODEL), request, "cpu", 1, name=name, **options)


@pytest.mark.parametrize(
    "request_", [Request((0, 2)), Request((1, 2), "class"), Request((2,), "full")], ids=repr
)
def test_its_tokens_are_onnx_runtimes_at_any_batch_and_length(request_: Request) -> None:
    ours, theirs = made(request_), made(request_, "onnx")
    for shape in SHAPES:
        mel = np.random.default_rng(0).standard_normal((*shape, 128), np.float32)
        for found, expected in zip(ours.run(mel), theirs.run(mel), strict=True):
            assert found.keys() == expected.keys()
            for layer, array in expected.items():
                np.testing.assert_allclose(found[layer], array, atol=1e-4)


def test_a_compiled_model_is_loaded_and_a_damaged_one_made_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mel = np.random.default_rng(0).standard_normal((2, 125, 128), np.float32)

    def tokens() -> Any:
        return made(Request((1,))).run(mel)[0][1].copy()

    read_info(MODEL)  # what it is, is kept too
    before = set(cache.iterdir())
    expected = tokens()
    (kept,) = {*cache.iterdir()} - before

    def loaded() -> Any:
        with monkeypatch.context() as patch:
            patch.setattr("vit1dx.model.pruned.asked_of", None)  # what compiling begins with
            return tokens()

    np.testing.assert_array_equal(loaded(), expected)
    whole = kept.read_bytes()
    for damaged in (whole[:-1], whole[:100] + b"?" + whole[101:], b""):
        kept.write_bytes(damaged)
        np.testing.assert_array_equal(tokens(), expected)
        # Whole again, if not by the byte: OpenVINO numbers what it makes in a process.
        np.testing.assert_array_equal(loaded(), expected)
    compiled_for = made(Request((1,)))._key  # type: ignore[attr-defined]
    write(compiled_for(read_info(MODEL)), b"whole, and nothing that OpenVINO takes")
    np.testing.assert_array_equal(tokens(), expected)


def test_nothing_is_sent_when_it_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys, threading, vit1dx.model.openvino\n"
        "assert threading.active_count() == 1\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry')]\n"
    )
    home = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=home)
    assert not (tmp_path / "intel").exists()


def test_what_it_cannot_compute_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vit1dx.model.openvino.multiplies_bf16", lambda: False)
    with pytest.raises(BackendError, match="bf16 in OpenVINO needs a processor with AMX or AVX"):
        _ = Extractor(1, backend="openvino", precision="bf16").backend
    with pytest.raises(BackendError, match="int8 needs the onnx backend, not openvino"):
        Extractor(1, backend="openvino", precision="int8")
    with pytest.raises(BackendError, match="runs on cpu, not on cuda"):
        _ = Extractor(1, backend="openvino", device="cuda").backend
    with pytest.raises(BackendError, match=rf"cannot run .*{BUNDLED[0]}.* export-onnx"):
        Extractor(1, backend="openvino", weights=bundled(".safetensors"))


@pytest.mark.parametrize(
    ("installed", "able", "expected"),
    [(True, True, "openvino"), (True, False, "torch"), (False, True, "torch")],
)
def test_bf16_takes_it_where_it_is_and_can(
    installed: bool, able: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: "spec" if installed else None)
    monkeypatch.setattr(backend, "multiplies_bf16", lambda: able)
    assert find_weights(None, "auto", "bf16")[1] == expected
    assert backend.likely_backend(None, "auto", "bf16") == expected
    assert find_weights(MODEL, "auto", "bf16")[1] == "openvino"
    assert find_weights(bundled(".safetensors"), "auto", "bf16")[1] == "torch"
    assert find_weights(None)[1] == "onnx"


def test_a_copy_runs_on_the_same_backend() -> None:
    assert Extractor(1, backend="openvino").arguments()["backend"] == "openvino"
