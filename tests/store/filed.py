"""Small feature files for tests of what reads many tracks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vit1dx._types import Array
from vit1dx.config import Config, ModelConfig
from vit1dx.model.backend import BackendInfo
from vit1dx.model.request import DType, Request
from vit1dx.model.weights import WeightsInfo
from vit1dx.store.format import Header
from vit1dx.store.shards import FolderWriter
from vit1dx.store.track import TokenBuffer
from vit1dx.store.writer import FeatureWriter, Output
from vit1dx.tokens import Tokens

LAYERS, DIM = (2, 5), 12


def header(dtype: DType = "float32") -> Header:
    """Of a file of layers 2 and 5, of 12 features."""
    config = Config(model=ModelConfig(depth=6, dim=DIM, heads=3))
    weights = WeightsInfo(Path("w"), config, "tiny", True, "abc", "fp32", LAYERS, "full", LAYERS)
    return Header(weights, config, Request(LAYERS, "none"), dtype, BackendInfo("onnx", "1", "cpu"))


def tokens(seed: int, windows: int = 2, frames: int = 5) -> Tokens:
    """Tokens of some short windows, all different."""
    generator = np.random.default_rng(seed)
    count = windows * frames
    arrays: dict[str, Array] = {
        "class_token": generator.standard_normal((2, windows, DIM), np.float32),
        "sequence_tokens": generator.standard_normal((2, count, DIM), np.float32),
        "time": np.arange(count) / 31.25,
        "window_start": np.arange(windows) * frames / 31.25,
    }
    return Tokens.of(LAYERS, **arrays)


def put(output: Output, track_id: str, of: Tokens, dtype: DType = "float32") -> None:
    """Write a track."""
    buffer = TokenBuffer(output.begin(track_id, 4000), dtype)
    buffer.add(of)
    buffer.attributes = {
        "source": f"/music/{track_id}",
        "size": 1,
        "mtime_ns": 2,
        "duration": len(of.arrays["time"]) / 31.25,
        "sample_rate": 44100,
        "channels": 1,
    }
    buffer.finish()


def write(
    path: Path, tracks: Mapping[str, Tokens], dtype: DType = "float32", limit: int | None = None
) -> Path:
    """Write a file; or with a limit of bytes, a folder of shards."""
    if limit:
        path.mkdir()
    of = header(dtype)
    with FolderWriter(path, of, limit) if limit else FeatureWriter(path, of) as output:
        for track_id, each in tracks.items():
            put(output, track_id, each, dtype)
            output.commit_if_due()
    return path
