"""Weights kept as float16 are the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vit1dx.config import Config, ModelConfig
from vit1dx.model.vit import ViT1D, load, save
from vit1dx.model.weights import read_info, read_safetensors_metadata
from weights.recipe.halve import halve


@pytest.mark.parametrize("trained", [True, False])
def test_what_is_kept_and_what_is_said(tmp_path: Path, trained: bool) -> None:
    model = ViT1D(Config(model=ModelConfig(depth=2, dim=48, heads=2)))
    save(model, tmp_path / "w.safetensors", "first", trained=trained, seed="3")
    halve(tmp_path / "w.safetensors", tmp_path / "h.safetensors", "second")
    info, before = read_info(tmp_path / "h.safetensors"), read_info(tmp_path / "w.safetensors")
    assert (info.name, info.trained, info.config) == ("second", trained, before.config)
    assert read_safetensors_metadata(tmp_path / "h.safetensors")["seed"] == "3"
    kept = load(tmp_path / "h.safetensors").state_dict()
    for name, values in model.state_dict().items():
        torch.testing.assert_close(kept[name], values, rtol=2**-11, atol=1e-7)
