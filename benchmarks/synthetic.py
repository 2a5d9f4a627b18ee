"""Features of noise, for what does not look at values."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np

from vit1dx._types import Array
from vit1dx.extractor import Extractor
from vit1dx.model.backend import BackendInfo
from vit1dx.store.format import Header
from vit1dx.store.writer import FeatureWriter
from vit1dx.tokens import Tokens

#: Of a window, and of a token.
FRAMES, FEATURES = 125, 192
#: Windows that are written at once.
AT_ONCE = 16


def header_of(layers: str, tokens: str = "all") -> Header:
    """The header of a file without attention."""
    extractor = Extractor(layers, tokens=tokens, attention="none")
    of = extractor.weights, extractor.config, extractor.request
    return Header(*of, backend=BackendInfo("onnx", "synthetic", "cpu"))


@lru_cache(8)
def _noise(layers: int, windows: int, seed: int) -> tuple[Array, Array]:
    """Sequence and class tokens."""
    rng, shape = np.random.default_rng(seed), (layers, windows * FRAMES, FEATURES)
    sequence = rng.standard_normal(shape, dtype=np.float32)
    return sequence, rng.standard_normal((layers, windows, FEATURES), dtype=np.float32)


def put(writer: FeatureWriter, track_id: str, windows: int, header: Header) -> None:
    """Write a track of some windows, with those arrays that a file of this header keeps."""
    layers = len(header.request.layers)
    with writer.track(track_id) as track:
        for first in range(0, windows, AT_ONCE):
            count = min(AT_ONCE, windows - first)
            sequence, classes = _noise(layers, count, len(track_id))
            time = (first * FRAMES + np.arange(count * FRAMES)) * 0.032
            tokens = Tokens.of(
                layers=header.request.layers,
                class_token=classes,
                sequence_tokens=sequence,
                time=time,
                window_start=time[::FRAMES],
            )
            kept = {
                name: tokens.arrays[name] for name in header.request.arrays if name in tokens.arrays
            }
            track.add(dataclasses.replace(tokens, arrays=kept))
        track.attributes = {
            "source": f"/music/{track_id}",
            "size": 1,
            "mtime_ns": 1,
            "duration": windows * 4.0,
            "sample_rate": 44100,
            "channels": 2,
        }
