"""Export and backends: ONNX gives what PyTorch gives, and computes no more than is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from vit1dx.config import Config, MelConfig, ModelConfig
from vit1dx.errors import BackendError, StoreError, UsageError, Vit1dxError, WeightsError
from vit1dx.model.backend import find_weights, load_backend
from vit1dx.model.export import TOLERANCE, export
from vit1dx.model.graph import attention_name, layer_name
from vit1dx.model.pruned import prune
from vit1dx.model.request import Request
from vit1dx.model.vit import ViT1D, save
from vit1dx.model.weights import BUNDLED, SUFFIXES, bundled, load_onnx, read_info, sha256

SMALL = Config(mel=MelConfig(n_mels=16), model=ModelConfig(depth=3, dim=24, heads=2))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small model."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    torch.manual_seed(1)
    save(ViT1D(SMALL), path, "small", trained=False)
    return path


@pytest.fixture(scope="module")
def exported(small: Path) -> Path:
    """All of it as ONNX."""
    path = small.with_suffix(".onnx")
    export(small, path)
    return path


@pytest.mark.slow
def test_export_compares_every_output(small: Path, tmp_path: Path) -> None:
    agreements = export(small, tmp_path / "m.onnx")
    names = [layer_name(k) for k in range(4)] + [attention_name(k) for k in range(1, 4)]
    assert sorted(a.output for a in agreements) == sorted(names)
    assert max(a.max_error for a in agreements) < TOLERANCE
    assert min(a.cosine for a in agreements) > 0.99999


@pytest.mark.slow
def test_export_that_differs_is_refused(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vit1dx.model.export.TOLERANCE", 1e-12)
    with pytest.raises(Vit1dxError, match="nothing was written"):
        export(small, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_metadata(small: Path, exported: Path) -> None:
    info = read_info(exported)
    assert info.config == SMALL
    assert (info.sha256, info.exported_from) == (sha256(exported), sha256(small))
    assert (info.name, info.trained, info.precision) == ("small", False, "fp32")
    assert info.layers == (0, 1, 2, 3)
    assert (info.attention, info.attention_layers) == ("full", (1, 2, 3))
    onnx.checker.check_model(onnx.load(exported), full_check=True)


@pytest.mark.parametrize("attention", ["none", "class", "full"])
@pytest.mark.parametrize(("batch", "time"), [(1, 1), (3, 40), (2, 125)])
def test_backends_agree(small: Path, exported: Path, attention: str, batch: int, time: int) -> None:
    mel = np.random.default_rng(0).standard_normal((batch, time, 16), np.float32)
    request = Request((1, 3), attention)
    (tokens, maps), (tokens_torch, maps_torch) = (
        load_backend(read_info(path), request, "cpu").run(mel) for path in (exported, small)
    )
    assert list(tokens) == list(tokens_torch) == [1, 3]
    assert list(maps) == list(maps_torch) == list(request.attention_layers)
    for ours, theirs in ((tokens, tokens_torch), (maps, maps_torch)):
        for layer in ours:
            assert ours[layer].shape == theirs[layer].shape
            np.testing.assert_allclose(ours[layer], theirs[layer], atol=TOLERANCE)
    for weights in maps.values():
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)


def test_pruned_graph_ends_at_the_deepest_layer(exported: Path) -> None:
    whole, cut = load_onnx(exported), load_onnx(exported)
    prune(cut, [layer_name(1), layer_name(2)])
    assert [output.name for output in cut.graph.output] == [layer_name(1), layer_name(2)]
    softmaxes = [sum(n.op_type == "Softmax" for n in m.graph.node) for m in (whole, cut)]
    assert softmaxes == [3, 2]
    assert len(cut.graph.initializer) < len(whole.graph.initializer)
    onnx.checker.check_model(cut)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["none", "class"])
def test_a_model_gives_only_what_it_was_exported_with(
    small: Path, tmp_path: Path, attention: str
) -> None:
    path = tmp_path / "m.onnx"
    export(small, path, [0, 2], attention)
    info = read_info(path)
    assert (info.layers, info.attention) == ((0, 2), attention)
    load_backend(info, Request((0, 2)))
    for request in (Request((1,)), Request((2,), "full")):
        with pytest.raises(
            WeightsError, match=f"exported with layers 0, 2 and attention {attention}"
        ):
            load_backend(info, request)
    if attention == "class":
        mel = np.zeros((2, 9, 16), np.float32)
        _, rows = load_backend(info, Request((2,), "class")).run(mel)
        _, expected = load_backend(read_info(small), Request((2,), "class")).run(mel)
        np.testing.assert_allclose(rows[2], expected[2], atol=TOLERANCE)


@pytest.mark.slow
def test_int8_is_smaller_and_close(tmp_path: Path) -> None:
    agreements = export(bundled(".safetensors"), tmp_path / "m.onnx", [6], "none", "int8")
    assert read_info(tmp_path / "m.onnx").precision == "int8"
    size = 2 * bundled(".onnx").stat().st_size * 6 / 12  # of float32; it keeps float16
    assert (tmp_path / "m.onnx").stat().st_size < 0.35 * size
    assert [a.output for a in agreements] == ["layer_06"]
    assert 0.98 < agreements[0].cosine < 1
    assert agreements[0].max_error > TOLERANCE  # it is int8


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_files_are_one_model(name: str) -> None:
    model, weights = (read_info(bundled(suffix, name)) for suffix in SUFFIXES)
    assert model.sha256 == weights.sha256
    assert model.config == weights.config
    assert (model.name, model.trained) == (weights.name, weights.trained)
    assert weights.name == name
    assert model.layers == tuple(range(13))
    mel = np.random.default_rng(3).standard_normal((2, 125, 128), np.float32)
    request = Request((4, 12), "full")
    outputs = [load_backend(info, request, "cpu").run(mel) for info in (model, weights)]
    for kind in (0, 1):
        for layer in request.layers:
            ours, theirs = (output[kind][layer] for output in outputs)
            np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)


def test_data_outside_the_model_file_is_refused(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    onnx.save(
        model, tmp_path / "m.onnx", save_as_external_data=True, location="data", size_threshold=0
    )
    with pytest.raises(WeightsError, match="in another file"):
        read_info(tmp_path / "m.onnx")


def test_data_outside_the_model_file_is_refused_wherever_it_is(
    exported: Path, tmp_path: Path
) -> None:
    model = onnx.load(exported)
    tensor = onnx.TensorProto(name="t", data_type=1, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    constant = onnx.helper.make_node("Constant", [], ["c"], value=tensor)
    inner = onnx.helper.make_graph([constant], "inner", [], [])
    model.graph.node.append(onnx.helper.make_node("If", ["x"], ["y"], then_branch=inner))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match="keeps t in another file"):
        read_info(tmp_path / "m.onnx")


def test_backend_follows_the_weights(small: Path, exported: Path) -> None:
    assert find_weights(exported)[0].path.suffix == ".onnx"
    assert find_weights(None)[0].path.suffix == ".onnx"
    assert find_weights(None, "torch")[0].path.suffix == ".safetensors"
    with pytest.raises(BackendError, match="export-onnx"):
        find_weights(small, "onnx")
    with pytest.raises(BackendError, match="cannot run"):
        find_weights(exported, "torch")


def test_a_device_that_is_not_there_is_an_error(small: Path, exported: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    for path in (small, exported):
        with pytest.raises(BackendError, match="device cuda is not there"):
            load_backend(read_info(path), Request((1,)), "cuda")
        assert load_backend(read_info(path), Request((1,)), "auto").device == "cpu"


@pytest.mark.parametrize(
    ("name", "precision", "reason"), [("m.onnx", "int4", "int4"), ("m.bin", "fp32", "in .onnx")]
)
def test_wrong_requests(
    small: Path, tmp_path: Path, name: str, precision: str, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        export(small, tmp_path / name, precision=precision)


@pytest.mark.slow
def test_a_model_replaces_a_model_and_nothing_else(small: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.onnx"
    output.touch()
    export(small, output, [1], "none")
    export(small, output, [2], "none")
    assert read_info(output).layers == (2,)
    output.write_text("my own notes")
    with pytest.raises(UsageError, match="no model to replace"):
        export(small, output, [1], "none")
    assert output.read_text() == "my own notes"
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        export(small, tmp_path / "folder.onnx", [1], "none")


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_an_export_never_replaces_its_weights(small: Path, tmp_path: Path, link: str) -> None:
    weights, output = tmp_path / "w.safetensors", tmp_path / "m.onnx"
    weights.write_bytes(small.read_bytes())
    getattr(output, link)(weights)
    with pytest.raises(UsageError, match="is read too"):
        export(weights, output, [1], "none")
    assert output.read_bytes() == small.read_bytes()


@pytest.mark.slow
def test_an_export_without_a_folder_is_refused(small: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written: No such file"):
        export(small, tmp_path / "no" / "m.onnx", [1], "none")
