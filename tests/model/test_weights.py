"""Weights are known by their bytes, and refused where they are unsound."""

from __future__ import annotations

import copy
import json
import pickle
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.torch import load_file, save_file

import vit1dx
from vit1dx.cli.info import describe
from vit1dx.config import Config, MelConfig, ModelConfig
from vit1dx.errors import AudioError, BackendError, TokensError, UsageError, WeightsError
from vit1dx.extractor import Extractor
from vit1dx.model.backend import load_backend
from vit1dx.model.export import export
from vit1dx.model.quantise import quantised
from vit1dx.model.request import Precision, Request
from vit1dx.model.torch import _available
from vit1dx.model.vit import ViT1D, save
from vit1dx.model.weights import (
    BUNDLED,
    ONE_MODEL,
    SUFFIXES,
    bundled,
    bundled_name,
    load_onnx,
    named,
    read_info,
    sha256,
)
from vit1dx.run.pool import Pool
from vit1dx.run.run import Options

from ..conftest import RunCli
from ..synth import song

SMALL = Config(mel=MelConfig(n_mels=16), model=ModelConfig(depth=2, dim=16, heads=2))
RATE = 16000


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return _weights(tmp_path / "small.safetensors")


@pytest.fixture(scope="module")
def _exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export(_weights(folder / "small.safetensors"), folder / "small.onnx")
    return folder / "small.onnx"


@pytest.fixture
def model(_exported: Path, tmp_path: Path) -> Path:
    """The same as ONNX; a copy, to be altered."""
    (tmp_path / "small.onnx").write_bytes(_exported.read_bytes())
    return tmp_path / "small.onnx"


def _weights(path: Path, seed: int = 0, **scales: float) -> Path:
    torch.manual_seed(seed)
    network = ViT1D(SMALL)
    with torch.no_grad():
        for parameter in network.parameters():  # tensors that are alike, the exporter makes one
            parameter.add_(0.1 * torch.randn_like(parameter))
        for name, value in scales.items():
            dict(network.named_parameters())[name.replace("__", ".")].fill_(value)
    save(network, path, "small", trained=True)
    return path


def _altered(path: Path, alter: Callable[[onnx.ModelProto], None]) -> Path:
    graph = onnx.load(path)
    alter(graph)
    onnx.save(graph, path)
    return path


def _change_weight(graph: onnx.ModelProto, value: float = 1.0) -> None:
    tensor = next(t for t in graph.graph.initializer if t.name.endswith("blocks.1.norm1.weight"))
    values = numpy_helper.to_array(tensor).copy()
    values[3] = value
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _change_epsilon(graph: onnx.ModelProto) -> None:
    node = next(n for n in graph.graph.node if n.op_type == "LayerNormalization")
    next(a for a in node.attribute if a.name == "epsilon").f = 0.1


def _claim_to_be_the_bundled(graph: onnx.ModelProto) -> None:
    theirs = onnx.load(bundled(".onnx"), load_external_data=False).metadata_props
    claims = {entry.key: entry.value for entry in theirs if entry.key != "config"}
    for entry in graph.metadata_props:
        entry.value = claims.get(entry.key, entry.value)


def test_one_model_is_a_bundled_pair() -> None:
    pairs = {sha256(bundled(".onnx", n)): sha256(bundled(".safetensors", n)) for n in BUNDLED}
    assert pairs == ONE_MODEL


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_weights_are_known_by_their_name(
    name: str, cli: RunCli, songs: Path, tmp_path: Path
) -> None:
    info = json.loads(cli("info", name, "--json").stdout)
    assert info["name"] == name
    command = ("extract", songs, "-o", "f.h5", "--layers", "2", "--attention", "none")
    result = cli(*command, "--weights", name)
    assert result.returncode == 0, result.stderr
    features = json.loads(cli("info", "f.h5", "--json").stdout)
    assert features["model_name"] == name
    assert features["guide"] == info["guide"]
    other = tmp_path / "other.onnx"
    graph = onnx.load(bundled(".onnx", name))
    graph.doc_string = "another"
    onnx.save(graph, other)
    result = cli(*command, "--weights", other)
    assert result.returncode == 2
    assert f"to continue it, add --weights {name};" in result.stderr


def test_a_name_that_is_not_there_is_refused_with_those_that_are(cli: RunCli, songs: Path) -> None:
    result = cli("extract", songs, "-o", "f.h5", "--weights", "vit1d-huge")
    assert result.returncode == 2
    assert all(name in result.stderr for name in ("vit1d-huge", *BUNDLED))


def test_a_file_is_told_from_the_bundled_one_of_its_name(tmp_path: Path) -> None:
    assert [bundled_name(bundled(suffix, n)) for n in BUNDLED for suffix in SUFFIXES] == [
        n for n in BUNDLED for _ in SUFFIXES
    ]
    other = tmp_path / f"{BUNDLED[0]}.onnx"
    assert bundled_name(other) is None
    assert (named(BUNDLED[0]), named(other)) == (True, False)


@pytest.mark.slow
@pytest.mark.parametrize("alter", [_change_weight, _change_epsilon, _claim_to_be_the_bundled])
def test_an_altered_model_is_another_whatever_its_metadata_says(
    model: Path, alter: Callable[[onnx.ModelProto], None]
) -> None:
    before = read_info(model)
    after = read_info(_altered(model, alter))
    known = {*ONE_MODEL, *ONE_MODEL.values()}
    assert len({before.sha256, after.sha256} | known) == 2 + len(known)


@pytest.mark.slow
def test_a_run_does_not_go_on_with_altered_weights(
    cli: RunCli, songs: Path, tmp_path: Path, model: Path
) -> None:
    command = ("extract", songs, "-o", "f.h5", "--layers", "2", "--weights", model)
    assert cli(*command).returncode == 0
    with h5py.File(tmp_path / "f.h5") as file:
        assert file.attrs["model_sha256"] == sha256(model)
        assert file.attrs["model_exported_from"] == read_info(model).exported_from
    _altered(model, _change_epsilon)
    again = cli(*command)
    assert again.returncode == 2
    assert f"model_sha256 {read_info(model).sha256}" not in again.stderr.split(",")[0]
    assert "was made differently: model_sha256" in again.stderr


def test_what_can_be_read_off_the_graph_is_not_taken_from_the_metadata(model: Path) -> None:
    def lie(graph: onnx.ModelProto) -> None:
        for key, value in (("precision", "int8"), ("attention", "none")):
            graph.metadata_props.add(key=key, value=value)

    info = read_info(_altered(model, lie))
    assert (info.precision, info.attention, info.attention_layers) == ("fp32", "full", (1, 2))
    onnx.save(quantised(onnx.load(model)), model)
    assert read_info(model).precision == "int8"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ('{"mel": {"n_mels": 128}}', r"n_mels \[16\]; its config says 128"),
        ('{"mel": {"n_mels": 16}, "model": {"dim": 192}}', r"dim \[16\]; its config says 192"),
        (
            '{"mel": {"n_mels": 16}, "model": {"dim": 16, "heads": 4}}',
            r"heads \[2\]; its config says 4",
        ),
    ],
)
def test_a_config_of_another_graph_is_refused(model: Path, config: str, reason: str) -> None:
    def lie(graph: onnx.ModelProto) -> None:
        next(entry for entry in graph.metadata_props if entry.key == "config").value = config

    with pytest.raises(WeightsError, match=reason):
        read_info(_altered(model, lie))


def test_a_graph_with_another_input_is_refused(model: Path) -> None:
    def rename(graph: onnx.ModelProto) -> None:
        graph.graph.input[0].name = "audio"

    with pytest.raises(WeightsError, match="takes audio; one input, mel, is needed"):
        read_info(_altered(model, rename))


def test_onnx_runtimes_own_word_on_a_model_is_passed_on_in_one_line(
    cli: RunCli, songs: Path, model: Path
) -> None:
    def spoil(graph: onnx.ModelProto) -> None:
        graph.graph.node[-1].op_type = "NoSuchOperator"

    _altered(model, spoil)
    result = cli("extract", songs, "-o", "f.h5", "--layers", "2", "--weights", model)
    assert result.returncode == 2
    assert result.stderr.startswith(f"vit1dx: ONNX Runtime refuses {model}")
    assert "NoSuchOperator" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("precision", ["fp32", "int8", "bf16"])
def test_weights_that_are_not_finite_are_refused(
    small: Path, model: Path, value: float, precision: Precision
) -> None:
    if precision == "bf16":
        path = small
        state = load_file(path)
        state["blocks.1.norm1.weight"][3] = value
        save_file(state, path, {"config": SMALL.to_json()})
    else:
        path = _altered(model, lambda graph: _change_weight(graph, value))
    with pytest.raises(WeightsError, match=r"numbers in .*blocks\.1\.norm1\.weight .* not finite"):
        _ = Extractor(2, weights=path, precision=precision).backend


def test_retraining_in_one_process_gives_other_weights(small: Path) -> None:
    before = Extractor(2, weights=small)
    pickled = pickle.dumps(before)
    _weights(small, seed=1)
    assert read_info(small).sha256 == sha256(small) != before.weights.sha256
    with pytest.raises(WeightsError, match="is not the file it was"):
        before(song(1.0, RATE), RATE)
    with pytest.raises(WeightsError, match="is not the file it was"):
        pickle.loads(pickled)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8", "bf16"])
def test_tokens_that_are_not_finite_fail_their_file(
    cli: RunCli, songs: Path, tmp_path: Path, model: Path, precision: Precision
) -> None:
    """Finite weights, whose sums are not."""
    path = _altered(model, _inflate)
    if precision == "bf16":
        huge = {"blocks__1__mlp__fc1__bias": 3e38, "blocks__1__mlp__fc2__weight": 3e38}
        path = _weights(tmp_path / "huge.safetensors", 0, **huge)
    samples = song(1.0, RATE)
    one, two = (Extractor(layer, weights=path, precision=precision) for layer in (1, 2))
    assert np.isfinite(one(samples, RATE).sequence_tokens).all()
    with pytest.raises(TokensError, match="tokens that are not finite"):
        two(samples, RATE)
    options = ("--layers", "2", "--weights", path, "--precision", precision, "--json")
    result = cli("extract", songs, "-o", "f.h5", *options)
    assert result.returncode == 3, result.stderr
    failures = json.loads(result.stdout)["failures"]
    assert [failure["id"] for failure in failures] == ["a/x.wav", "b/x.flac"]
    assert all("not finite" in failure["reason"] for failure in failures)
    assert list(vit1dx.open(tmp_path / "f.h5")) == []


def _inflate(graph: onnx.ModelProto) -> None:
    """Have the last layer be what it was and twice the largest number."""
    node = next(node for node in graph.graph.node if "layer_02" in node.output)
    node.output[0] = "before"
    huge = numpy_helper.from_array(np.full(16, 3e38, np.float32), "huge")
    graph.graph.initializer.append(huge)
    for left, output in (("before", "once"), ("once", "layer_02")):
        graph.graph.node.append(onnx.helper.make_node("Add", [left, "huge"], [output]))


@pytest.mark.slow
def test_what_float16_cannot_hold_is_said(cli: RunCli, songs: Path, tmp_path: Path) -> None:
    path = _weights(tmp_path / "large.safetensors", blocks__1__mlp__fc2__bias=1e5)
    command = ("extract", songs, "--layers", "2", "--weights", path, "--json")
    half = cli(*command, "-o", "half.h5", "--dtype", "float16")
    assert half.returncode == 3
    for failure in json.loads(half.stdout)["failures"]:
        assert "beyond the 65504 of float16; use float32" in failure["reason"]
    assert json.loads(cli(*command, "-o", "whole.h5").stdout)["done"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("says", "trained", "stored", "warning"),
    [
        ({"trained": "true"}, True, 1, None),
        ({"trained": "false"}, False, 0, "are untrained"),
        ({}, None, -1, "do not say whether they were trained"),
    ],
)
def test_untrained_trained_and_unknown_are_three_things(
    cli: RunCli,
    songs: Path,
    tmp_path: Path,
    small: Path,
    says: dict[str, str],
    trained: bool | None,
    stored: int,
    warning: str | None,
) -> None:
    save_file(load_file(small), small, {"config": SMALL.to_json(), **says})
    assert read_info(small).trained is trained
    result = cli("extract", songs, "-o", "f.h5", "--layers", "2", "--weights", small)
    assert ("trained" in result.stderr) == (warning is not None)
    assert warning is None or warning in result.stderr
    with h5py.File(tmp_path / "f.h5") as file:
        assert file.attrs["model_trained"] == stored
    assert describe(tmp_path / "f.h5")["model_trained"] is trained
    assert describe(small)["trained"] is trained
    shown = cli("info", "f.h5").stdout + cli("info", small).stdout
    assert shown.count("unknown") == (2 if trained is None else 0)


@pytest.mark.slow
def test_an_export_of_weights_that_do_not_say_does_not_say(small: Path) -> None:
    save_file(load_file(small), small, {"config": SMALL.to_json()})
    export(small, small.with_suffix(".onnx"), [1], "none")
    assert read_info(small.with_suffix(".onnx")).trained is None


def test_int8_is_what_onnx_runtimes_own_quantisation_makes(model: Path, tmp_path: Path) -> None:
    graph = load_onnx(model)
    quantize_dynamic(
        model,
        tmp_path / "theirs.onnx",
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
    )
    ours, theirs = (
        onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        for proto in (quantised(graph), onnx.load(tmp_path / "theirs.onnx"))
    )
    mel = np.random.default_rng(0).standard_normal((3, 40, 16), np.float32)
    for found, expected in zip(*(s.run(None, {"mel": mel}) for s in (ours, theirs)), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_int8_needs_no_folder_for_temporary_files(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    track = Extractor(2, attention="class", weights=model, precision="int8")(song(1.0, RATE), RATE)
    assert track.attention is not None
    np.testing.assert_allclose(track.attention.sum(-1), 1, atol=1e-5)


def test_a_precision_asked_for_leaves_what_the_file_is(model: Path) -> None:
    extractor = Extractor(2, weights=model, precision="int8")
    assert (extractor.precision, extractor.weights.precision) == ("int8", "fp32")
    assert extractor.weights == read_info(model)


def raising(**arguments: Any) -> Extractor:
    """Called in a worker, by name."""
    raise ValueError("a reason\non two lines")


class _Loaded:
    name, version, device = "onnx", "1", "cpu"

    @property
    def backend(self) -> _Loaded:
        return self


def warning_of_something(**arguments: Any) -> _Loaded:
    """Called in a worker, by name."""
    import logging

    logging.getLogger("vit1dx").warning("running on cpu")
    return _Loaded()


@pytest.mark.slow
def test_a_workers_reason_reaches_the_run() -> None:
    spec = {
        "factory": "tests.model.test_weights:raising",
        "arguments": {},
        "dtype": "",
        "memory": 1 << 30,
    }
    reason = "cannot be loaded: ValueError: a reason on two lines$"
    with Pool() as pool, pytest.raises(BackendError, match=reason):
        pool.load(spec)


@pytest.mark.slow
def test_a_workers_warning_reaches_the_run_once(caplog: pytest.LogCaptureFixture) -> None:
    factory = "tests.model.test_weights:warning_of_something"
    with Pool() as pool:
        pool.resize(2)
        pool.load({"factory": factory, "arguments": {}, "dtype": "", "memory": 1 << 30})
        assert list(pool.run([])) == []
    assert caplog.messages.count("running on cpu") == 1


def test_a_device_that_onnx_runtime_falls_back_from_is_no_silent_fallback(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A CUDA provider that is built in, but does not load."""
    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(BackendError, match="could not start on cuda; use --device cpu"):
            load_backend(read_info(model), Request((1,)), "cuda")
        assert load_backend(read_info(model), Request((1,)), "auto").device == "cpu"
    assert caplog.messages == ["ONNX Runtime could not start on cuda: running on cpu"]


def test_the_number_of_a_graphics_processor_reaches_onnx_runtime(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[object]] = []
    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]

    class Session:
        def __init__(self, graph: bytes, options: object, providers: list[object]) -> None:
            asked.append(providers)

        def get_providers(self) -> list[str]:
            return names

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    for device, number in (("cuda", "0"), ("cuda:1", "1"), ("auto", "0")):
        backend = load_backend(read_info(model), Request((1,)), device)
        assert asked.pop() == [("CUDAExecutionProvider", {"device_id": number})]
        assert backend.device == ("cuda" if device == "auto" else device)
    load_backend(read_info(model), Request((1,)), "cpu")
    assert asked.pop() == [("CPUExecutionProvider", {})]


def test_a_graphics_processor_that_pytorch_does_not_find_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [_available(name) for name in ("auto", "cuda", "cuda:1", "cpu")] == [
        "cuda",
        "cuda",
        "cuda:1",
        "cpu",
    ]
    with pytest.raises(BackendError, match="device cuda:2 is not there for PyTorch, which finds 2"):
        _available("cuda:2")


@pytest.mark.parametrize("device", ["cuda:", "cuda:x", "cuda:-1", "tpu", "cpu:0", ""])
def test_a_device_of_no_such_name_is_refused(device: str) -> None:
    with pytest.raises(UsageError, match="choose from auto, cpu, cuda, or cuda:N"):
        Extractor("last", device=device)


@pytest.mark.parametrize("memory", [0, -1, np.nan])
def test_memory_is_more_than_none(memory: float) -> None:
    with pytest.raises(UsageError, match=r"memory .* GiB; a number above 0"):
        Options(Path("f.h5"), memory=memory)


def test_a_timeout_is_a_number() -> None:
    with pytest.raises(UsageError, match="timeout nan s; a number above 0"):
        Options(Path("f.h5"), timeout=np.nan)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_an_extractor_that_has_run_can_be_copied(
    model: Path, copied: Callable[[Extractor], Extractor]
) -> None:
    samples = song(3.0, RATE)
    extractor = Extractor([0, 2], weights=model, overlap=0.5, threads=1, precision="int8")
    expected = extractor(samples, RATE)
    again = copied(extractor)
    assert again.arguments() == extractor.arguments()
    np.testing.assert_array_equal(again(samples, RATE).sequence_tokens, expected.sequence_tokens)


def test_repr_is_what_makes_it(model: Path) -> None:
    extractor = Extractor("all", attention="class", weights=model)
    assert eval(repr(extractor)).arguments() == extractor.arguments()


def test_an_error_names_the_file(model: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"/gone\.wav: no such file"):
        Extractor(2, weights=model)(tmp_path / "gone.wav")
