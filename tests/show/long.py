"""A feature file of a long track, made without music: its tokens go through four sections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import vit1dx
from vit1dx.model.backend import BackendInfo
from vit1dx.model.request import Attention
from vit1dx.store.format import Header
from vit1dx.store.writer import FeatureWriter
from vit1dx.tokens import Tokens

FRAMES = 125


def write_long(path: Path, hours: float, layers: str, attention: Attention, dtype: str) -> None:
    """Write a feature file with one track, ``long.wav``."""
    extractor = vit1dx.Extractor(layers, attention=attention)
    header = Header(extractor.weights, extractor.config, extractor.request, dtype)
    header = replace(header, backend=BackendInfo("none", "0", "cpu"))
    windows = round(hours * 3600 / 4)
    with FeatureWriter(path, header) as writer, writer.track("long.wav") as track:
        for tokens in _tokens(extractor, windows):
            track.add(tokens)
        track.attributes = {
            "source": "/nowhere/long.wav",
            "size": 1,
            "mtime_ns": 0,
            "duration": windows * 4.0,
            "sample_rate": 44_100,
            "channels": 2,
        }


def _tokens(extractor: vit1dx.Extractor, windows: int) -> Iterator[Tokens]:
    rng = np.random.default_rng(0)
    layers = extractor.request.layers
    sections = rng.standard_normal((4, 192)).astype(np.float32)
    noise = rng.standard_normal((len(layers), FRAMES, 192)).astype(np.float32)
    rows = {"none": (), "class": (1,), "full": (FRAMES + 1,)}[extractor.request.attention]
    maps = rng.random((len(layers), 1, 3, *rows, FRAMES + 1), np.float32)
    maps /= maps.sum(-1, keepdims=True)
    if rows == (1,):
        maps = maps[:, :, :, 0]
    for window in range(windows):
        frames = np.arange(window * FRAMES, (window + 1) * FRAMES)
        arrays = {
            "class_token": noise[:, :1],
            "sequence_tokens": sections[window * 4 // windows] + noise,
            "time": frames * 0.032,
            "window_start": frames[:1] * 0.032,
            "attention": maps,
        }
        yield Tokens.of(layers, **{name: arrays[name] for name in extractor.request.arrays})
