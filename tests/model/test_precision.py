"""Precisions, and windows side by side: the same tokens, or nearly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

from tests.synth import song
from vit1dx.errors import BackendError, UsageError
from vit1dx.extractor import Extractor
from vit1dx.model.request import BackendName, Precision
from vit1dx.parallel import side_by_side

RATE = 22050


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("precision")
    soundfile.write(folder / "song.wav", song(30.0, RATE), RATE)
    return folder


def least_cosine(a: np.ndarray, b: np.ndarray) -> float:
    products = (a * b).sum(axis=-1)
    return float((products / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).min())


def extract(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vit1dx", "extract", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "least"), [("int8", 0.98), ("bf16", 0.998)])
def test_a_lower_precision_gives_nearly_the_same_tokens(
    music: Path, precision: Precision, least: float
) -> None:
    path = music / "song.wav"
    exact = Extractor()(path).sequence_tokens
    found = Extractor(precision=precision)(path).sequence_tokens
    assert not np.array_equal(found, exact)
    assert least_cosine(found, exact) > least


@pytest.mark.slow
def test_the_command_line_says_in_what_it_computed_and_resumes_in_nothing_else(
    music: Path, tmp_path: Path
) -> None:
    output = tmp_path / "feats.h5"
    done = extract(music, "-o", output, "--precision", "int8", "--layers", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] == 1
    with h5py.File(output) as file:
        assert file.attrs["precision"] == "int8"
        written = file["tracks/song.wav/sequence_tokens"][:]
    expected = Extractor(2, precision="int8")(music / "song.wav").sequence_tokens
    np.testing.assert_array_equal(written, expected)
    again = extract(music, "-o", output, "--layers", "2")
    assert again.returncode == 2
    assert "precision" in again.stderr
    assert "int8" in again.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"precision": "int4"}, "'int4'; choose from fp32, int8, bf16, fp16"),
        ({"precision": "int8", "backend": "torch"}, "int8 needs the onnx backend, not torch"),
        (
            {"precision": "bf16", "backend": "onnx"},
            "bf16 needs the openvino or torch backend, not onnx",
        ),
        ({"precision": "fp16", "device": "cpu"}, "fp16 is for CUDA devices"),
    ],
)
def test_what_cannot_be_computed_is_refused(options: dict[str, str], reason: str) -> None:
    with pytest.raises((BackendError, UsageError), match=reason):
        _ = Extractor(**options).backend  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_quantised_model_is_not_taken_for_an_exact_one(music: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vit1dx", "export-onnx", "--layers", "1", "--attention"]
    model = tmp_path / "small.onnx"
    subprocess.run([*command, "none", "--precision", "int8", "-o", model], check=True)
    exported = Extractor(1, weights=model)(music / "song.wav").sequence_tokens
    made = Extractor(1, precision="int8")(music / "song.wav").sequence_tokens
    assert least_cosine(exported, made) > 0.9999  # roundings differ
    with pytest.raises(BackendError, match="is in int8; fp32 needs fp32 weights"):
        Extractor(1, weights=model, precision="fp32")


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_windows_side_by_side_are_those_one_after_another(
    music: Path, backend: BackendName
) -> None:
    pytest.importorskip("openvino" if backend == "openvino" else "onnxruntime")
    path = music / "song.wav"
    one, three = (Extractor([0, 5], threads=n, backend=backend)(path) for n in (1, 3))
    for name in ("class_token", "sequence_tokens", "mean_token", "time", "window_start"):
        np.testing.assert_array_equal(getattr(three, name), getattr(one, name))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_pytorch_takes_no_more_threads_than_cores_that_it_may_use() -> None:
    code = """
import os, torch, vit1dx
torch.set_num_threads(3)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
vit1dx.Extractor(backend="torch").backend
print(torch.get_num_threads())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnx", "openvino", "torch"])
def test_an_extractor_that_has_run_works_in_a_forked_process(backend: str) -> None:
    pytest.importorskip(backend.replace("onnx", "onnxruntime"))
    code = """
import multiprocessing, sys
import numpy
import vit1dx

samples = numpy.random.default_rng(0).uniform(-0.1, 0.1, 320_000).astype(numpy.float32)
used = vit1dx.Extractor(4, backend=sys.argv[1])
expected = used(samples, 16000).mean_token

def work(queue):
    fresh = vit1dx.Extractor(4, backend=sys.argv[1])
    queue.put([extractor(samples, 16000).mean_token for extractor in (used, fresh)])

context = multiprocessing.get_context("fork")
queue = context.Queue()
process = context.Process(target=work, args=(queue,), daemon=True)
process.start()
for found in queue.get(timeout=100):
    numpy.testing.assert_allclose(found, expected, atol=1e-4)
"""
    subprocess.run([sys.executable, "-c", code, backend], check=True, timeout=120)


def test_side_by_side_keeps_the_order_and_stays_near() -> None:
    items = iter(range(20))
    results = side_by_side(lambda item: item * item, items, 3)
    found = [next(results)]
    assert next(items) == 4  # three beyond the first are in hand, and no more
    found += results
    assert found == [item * item for item in range(20) if item != 4]


def test_side_by_side_works_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=30)  # passed only by two at once
    assert sorted(side_by_side(lambda _: meeting.wait(), range(4), 2)) == [0, 0, 1, 1]


def test_an_error_side_by_side_is_the_callers() -> None:
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(lambda item: 1 // item, [1, 0, 1, 1, 1], 2))
