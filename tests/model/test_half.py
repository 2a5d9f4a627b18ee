"""Weights kept as float16: half the file, the same tokens, with every backend and precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file

from vit1dx.config import Config, MelConfig, ModelConfig
from vit1dx.model.backend import load_backend
from vit1dx.model.export import export
from vit1dx.model.half import whole
from vit1dx.model.request import Request
from vit1dx.model.vit import ViT1D, load, save
from vit1dx.model.weights import read_info

CONFIG = Config(mel=MelConfig(n_mels=16), model=ModelConfig(depth=2, dim=96, heads=2))
MEL = np.random.default_rng(0).standard_normal((2, 40, 16), np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same weights kept as float16 and, to the bit, as float32, in both kinds of file."""
    folder = tmp_path_factory.mktemp("half")
    torch.manual_seed(1)
    model = ViT1D(CONFIG)
    save(model, folder / "half.safetensors", "m", trained=False, dtype=torch.float16)
    save(load(folder / "half.safetensors"), folder / "same.safetensors", "m", trained=False)
    export(folder / "half.safetensors", folder / "half.onnx")
    model = onnx.load(folder / "half.onnx")
    onnx.save(whole(model), folder / "same.onnx")
    return {path.name: path for path in folder.iterdir()}


def test_it_is_half_the_file(files: dict[str, Path]) -> None:
    size = {name: path.stat().st_size for name, path in files.items()}
    for suffix in (".safetensors", ".onnx"):
        assert size["half" + suffix] < 0.6 * size["same" + suffix]
    kept = load_file(files["half.safetensors"]).values()
    assert {tensor.dtype for tensor in kept} == {torch.float16}
    assert read_info(files["half.onnx"]).precision == "fp32"


def test_other_programs_run_it_as_it_is(files: dict[str, Path]) -> None:
    onnx.checker.check_model(onnx.load(files["half.onnx"]), full_check=True)
    session = onnxruntime.InferenceSession(str(files["half.onnx"]))
    (tokens,) = session.run(["layer_02"], {"mel": MEL})
    ours = load_backend(read_info(files["half.onnx"]), Request((2,)), "cpu").run(MEL)[0][2]
    np.testing.assert_allclose(tokens, ours, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("onnx", {}),
        ("onnx", {"precision": "int8"}),
        ("openvino", {}),
        ("torch", {}),
        ("torch", {"precision": "bf16"}),
    ],
)
def test_tokens_are_those_of_the_same_numbers_kept_as_float32(
    files: dict[str, Path], name: str, options: dict[str, Any]
) -> None:
    if name == "openvino":
        pytest.importorskip("openvino")
    suffix = ".safetensors" if name == "torch" else ".onnx"
    for attention in ("none", "class", "full"):
        request = Request((0, 2), attention)
        ours, theirs = (
            load_backend(read_info(files[kept + suffix]), request, "cpu", name=name, **options)
            for kept in ("half", "same")
        )
        for found, expected in zip(ours.run(MEL), theirs.run(MEL), strict=True):
            assert found.keys() == expected.keys()
            for layer, array in expected.items():
                np.testing.assert_array_equal(found[layer], array)


def test_what_a_graph_computes_in_float16_stays(tmp_path: Path) -> None:
    """Only what is made float32 at once, and used for nothing else, is weights kept small."""
    values = np.arange(4, dtype=np.float16)
    nodes = [
        helper.make_node("Cast", ["w"], ["w32"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["w", "x"], ["y"]),
        helper.make_node("Cast", ["v"], ["z"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [4])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in ("w32", "z")],
        [numpy_helper.from_array(values, name) for name in ("w", "v")],
    )
    model = whole(helper.make_model(graph))
    assert [node.output[0] for node in model.graph.node] == ["w32", "y"]
    found = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert found["w"].dtype == np.float16
    assert found["z"].dtype == np.float32
