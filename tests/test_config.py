"""Configs and requests: read back as written, and refused with what would be accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vit1dx.config import Config, MelConfig, ModelConfig, WindowConfig
from vit1dx.errors import UsageError, WeightsError
from vit1dx.model.request import Request, parse_layers, usual_attention
from vit1dx.model.vit import load
from vit1dx.model.weights import read_info

MODEL = ModelConfig()


def test_config_is_read_as_it_was_written() -> None:
    config = Config(MelConfig(n_mels=64), ModelConfig(depth=2), WindowConfig(50, 5))
    assert Config.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not JSON", "not JSON"),
        ("[]", "known are mel, model, window"),
        ('{"mel": {"hops": 1}}', "known are .*hop_length"),
        ('{"mel": {"n_mels": "many"}}', "mel.n_mels is 'many'; a int is needed"),
        ('{"mel": {"n_mels": true}}', "n_mels is True"),
        ('{"mel": {"n_mels": 0}}', "n_mels is 0; it must be above 0"),
        ('{"mel": {"f_max": 9000.0}}', "between 0 and 8000"),
        ('{"model": {"dim": 193}}', "multiple of 2"),
        ('{"window": {"frames": 10, "overlap": 5}}', "from 0 to 4"),
        ('{"mel": {"mean": NaN}}', "mel.mean is nan; a float is needed"),
        ('{"mel": {"mean": -Infinity}}', "mel.mean is -inf"),
        ('{"mel": {"mean": 1' + "0" * 400 + "}}", "mel.mean is 10000"),
        ('{"model": {"mlp_ratio": 1e-9}}', "hidden is 0; it must be above 0"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_config_that_cannot_be_used_is_refused(text: str, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason):
        Config.from_json(text)


def test_frame_grid() -> None:
    mel = MelConfig()
    assert mel.frame_rate == 31.25
    assert [mel.n_frames(n) for n in (1, 511, 512, 64000)] == [1, 1, 2, 126]


@pytest.mark.parametrize(
    ("spec", "layers"),
    [
        ("all", tuple(range(1, 13))),
        ("last", (12,)),
        ("8,4", (4, 8)),
        ("0", (0,)),
        ("1-3,3,12", (1, 2, 3, 12)),
        (" All ", tuple(range(1, 13))),
        (5, (5,)),
        ([8, 4, 8], (4, 8)),
        (np.int64(4), (4,)),
        (np.array(4), (4,)),
        (np.array([8, 4], np.uint8), (4, 8)),
        (range(3), (0, 1, 2)),
        (iter([2]), (2,)),
        (["4", "8"], (4, 8)),
        (["4,8", 2], (2, 4, 8)),
        (["all"], tuple(range(1, 13))),
        (["last", 0], (0, 12)),
    ],
)
def test_layers(spec: Any, layers: tuple[int, ...]) -> None:
    assert parse_layers(spec, MODEL) == layers


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("13", "layer 13; this model has layers 0 to 12"),
        ("1-99999999999", "layer 13"),
        ("-1", "'all', 'last', or numbers"),
        ("four", "'all', 'last', or numbers"),
        ("8-4", "backwards"),
        ("", "'all', 'last', or numbers"),
        ([], "no layer"),
        ([4.5], "layer 4.5; give 'all', 'last', or whole numbers"),
        ([4.0], "layer 4.0"),
        (np.array([4.0]), r"layer .*4\.0"),
        ([True], "layer True"),
        ([np.True_], "layer .*True"),
        (False, "layer False"),
        (None, "layer None"),
        (b"4", "layer b'4'"),
        ([[4]], r"layer \[4\]"),
        ([np.int64(13)], "layer 13; this model has"),
    ],
)
def test_layers_that_are_not_there(spec: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_layers(spec, MODEL)


def test_layer_0_has_no_attention() -> None:
    assert Request((0, 4)).attention_layers == ()
    assert Request((0, 4), "full").attention_layers == (4,)
    with pytest.raises(UsageError, match="attention full of layer 0 alone"):
        Request((0,), "full")


def test_the_usual_attention() -> None:
    """Class rows, where there are any."""
    assert usual_attention((0, 4), range(1, 13)) == "class"
    assert usual_attention((0,), range(1, 13)) == "none"
    assert usual_attention((4, 8), ()) == "none"  # a model exported without


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    for name, data, reason in [
        ("a.safetensors", b"\xff" * 100, "not a safetensors file"),
        ("b.safetensors", (5).to_bytes(8, "little") + b"hello", "not a safetensors file"),
        ("c.safetensors", (2).to_bytes(8, "little") + b"{}", "no vit1dx config"),
        ("n.safetensors", (10**6).to_bytes(8, "little") + b"[" * 10**6, "not a safetensors file"),
        ("d.onnx", b"hello, world", "not an ONNX model"),
        ("e.onnx", b"", "no vit1dx config"),
        ("f.pt", b"", "ending in .onnx or .safetensors"),
    ]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(WeightsError, match=reason):
            read_info(tmp_path / name)
    with pytest.raises(WeightsError, match="no weights at"):
        read_info(tmp_path / "none.onnx")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            {"mel": {"n_fft": 10**12}},
            "n_fft is 1000000000000; it must be above 0 and at most 65536",
        ),
        ({"model": {"depth": 10**6}}, "depth is 1000000"),
        ({"window": {"frames": 10**9}}, "frames is 1000000000"),
        ({"model": {"depth": 200, "dim": 9600}}, "too small to hold the weights of its config"),
    ],
)
def test_configs_that_would_take_all_memory(
    tmp_path: Path, config: dict[str, Any], reason: str
) -> None:
    header = json.dumps({"__metadata__": {"config": json.dumps(config)}}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(WeightsError, match=reason):
        load(path)


def test_config_of_other_weights_is_kept(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"config": '{"mel": {"n_mels": 64}}', "trained": "true"}})
    data = len(header).to_bytes(8, "little") + header.encode()
    (tmp_path / "w.safetensors").write_bytes(data)
    info = read_info(tmp_path / "w.safetensors")
    assert info.config.mel.n_mels == 64
    assert info.trained
    assert info.name == "w"
