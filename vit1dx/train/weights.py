"""Weights files: an encoder's parameters as safetensors, with what they are in the metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..config import Config
from ..errors import WeightsError
from ..model import ViT1D


def save_weights(path: Path, encoder: ViT1D, name: str, training: dict[str, Any]) -> None:
    """Write an encoder, whole or not at all.

    Parameters
    ----------
    path : path
    encoder : ViT1D
    name : str
        What the weights are called.
    training : dict
        How they were trained, plain values.
    """
    metadata = {
        "config": encoder.config.to_json(),
        "name": name,
        "trained": "true",
        "training": json.dumps(training),
    }
    tensors = {
        key: value.detach().cpu().float().contiguous().clone()
        for key, value in encoder.state_dict().items()
    }
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")
    save_file(tensors, unfinished, metadata=metadata)
    os.replace(unfinished, path)


def load_encoder(path: Path) -> ViT1D:
    """Read an encoder.

    Raises
    ------
    WeightsError
        If the file cannot be read, or is no encoder of the config that it carries.
    """
    tensors, metadata = _read(path)
    if "config" not in metadata:
        raise WeightsError(f"{path}: no config in its metadata, which weights of vit1dx have")
    encoder = ViT1D(Config.from_json(metadata["config"]))
    try:
        encoder.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path}: not the parameters of its config: {reason}") from None
    return encoder


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: no safetensors file: {error}") from None
