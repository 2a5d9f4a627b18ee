"""ViT-1D in PyTorch against the same network written out in NumPy, and against timm's names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from vit1dx._types import Array
from vit1dx.config import Config, MelConfig, ModelConfig
from vit1dx.errors import WeightsError
from vit1dx.model.vit import ViT1D, load, save

SMALL = Config(mel=MelConfig(n_mels=16), model=ModelConfig(depth=3, dim=24, heads=2))


def _small(seed: int = 0) -> ViT1D:
    torch.manual_seed(seed)
    model = ViT1D(SMALL).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases of trained weights are not 1 and 0
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def _norm(x: Array, weight: Array, bias: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * weight + bias


def _forward(
    weights: Mapping[str, Array], model: ModelConfig, mel: Array
) -> tuple[list[Array], list[Array]]:
    """One window, (time, n_mels), through ViT-1D: layers and attention maps."""

    def linear(name: str, x: Array) -> Array:
        return x @ weights[name + ".weight"].T + weights[name + ".bias"]

    def norm(name: str, x: Array) -> Array:
        return _norm(x, weights[name + ".weight"], weights[name + ".bias"])

    half = model.dim // 2
    angle = np.outer(np.arange(len(mel)), 10000.0 ** (-np.arange(half) / half))
    positions = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    x = np.concatenate([weights["cls_token"][0], linear("patch_embed.proj", mel) + positions])
    layers, maps = [x], []
    size = model.dim // model.heads
    gelu = np.vectorize(lambda value: value * 0.5 * (1 + math.erf(value / math.sqrt(2))))
    for block in (f"blocks.{index}." for index in range(model.depth)):
        qkv = linear(block + "attn.qkv", norm(block + "norm1", x))
        q, k, v = qkv.reshape(len(x), 3, model.heads, size).transpose(1, 2, 0, 3)
        scores = np.exp(q @ k.transpose(0, 2, 1) / math.sqrt(size))
        attention = scores / scores.sum(-1, keepdims=True)
        heads = (attention @ v).transpose(1, 0, 2).reshape(len(x), model.dim)
        x = x + linear(block + "attn.proj", heads)
        x = x + linear(block + "mlp.fc2", gelu(linear(block + "mlp.fc1", norm(block + "norm2", x))))
        layers.append(x)
        maps.append(attention)
    return layers, maps


@pytest.mark.parametrize("time", [1, 2, 60])
@pytest.mark.parametrize("attentions", [(), (1, 2, 3)])
def test_layers_and_attention_are_those_of_numpy(time: int, attentions: tuple[int, ...]) -> None:
    model = _small()
    weights = {key: value.double().numpy() for key, value in model.state_dict().items()}
    mel = np.random.default_rng(0).standard_normal((2, time, 16))
    with torch.inference_mode():
        tokens, maps = model(torch.from_numpy(mel).float(), range(4), attentions)
    assert sorted(maps) == list(attentions)
    for index in range(2):
        layers, attention = _forward(weights, SMALL.model, mel[index])
        for layer, expected in enumerate(layers):
            np.testing.assert_allclose(tokens[layer][index], expected, atol=2e-5)
        for layer in attentions:
            np.testing.assert_allclose(maps[layer][index], attention[layer - 1], atol=1e-5)


def test_names_are_timms_and_there_are_5_4_million_parameters() -> None:
    model = ViT1D()
    names = set(model.state_dict())
    parts = ["norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"]
    blocks = {f"blocks.{block}.{part}" for block in range(12) for part in parts}
    modules = blocks | {"patch_embed.proj", "norm"}
    assert names == {f"{m}.{p}" for m in modules for p in ("weight", "bias")} | {"cls_token"}
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(5.4e6, rel=0.01)


def test_nothing_past_the_deepest_layer_is_computed() -> None:
    model, ran = _small(), []
    for index, block in enumerate(model.blocks, start=1):
        block.register_forward_hook(lambda *_, index=index: ran.append(index))
    model(torch.zeros(1, 5, 16), [1], [2])
    assert ran == [1, 2]


def test_a_token_depends_on_its_position() -> None:
    tokens, _ = _small()(torch.zeros(1, 30, 16), [0])
    frames = tokens[0][0, 1:]
    assert torch.cdist(frames, frames).fill_diagonal_(1).min() > 0.05


def test_weights_are_read_as_they_were_written(tmp_path: Path) -> None:
    model = _small()
    save(model, tmp_path / "w.safetensors", "small", trained=True)
    again = load(tmp_path / "w.safetensors")
    assert again.config == SMALL
    for key, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value, rtol=0, atol=0)


def test_timms_convolution_over_patches_is_taken(tmp_path: Path) -> None:
    model = _small()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    key = "patch_embed.proj.weight"
    state[key] = state[key].reshape(24, 1, 16, 1)
    save_file(state, tmp_path / "timm.safetensors", {"config": SMALL.to_json()})
    mel = torch.randn(1, 7, 16)
    expected, _ = model(mel, [3])
    found, _ = load(tmp_path / "timm.safetensors")(mel, [3])
    torch.testing.assert_close(found[3], expected[3])


def test_weights_that_do_not_fit_their_config_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save(_small(), path, "small", trained=False)
    state = load_file(path)
    del state["norm.bias"]
    save_file(state, path, {"config": SMALL.to_json()})
    with pytest.raises(WeightsError, match=r"norm\.bias"):
        load(path)
