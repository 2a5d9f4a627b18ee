"""A feature file of many short tracks, made without music: each folder's are alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import vit1dx
from vit1dx.model.backend import BackendInfo
from vit1dx.store.format import Header
from vit1dx.store.writer import FeatureWriter
from vit1dx.tokens import Tokens

FRAMES = 25


def write_many(path: Path, ids: Sequence[str], layers: str = "1,2") -> None:
    """Write a feature file with these tracks, of 0.8 s each."""
    extractor = vit1dx.Extractor(layers)
    header = Header(extractor.weights, extractor.config, extractor.request)
    header = replace(header, backend=BackendInfo("none", "0", "cpu"))
    rng = np.random.default_rng(0)
    kept = extractor.request.layers
    centres: dict[str, np.ndarray] = {}
    with FeatureWriter(path, header) as writer:
        for number, track_id in enumerate(ids):
            centre = centres.setdefault(track_id.partition("/")[0], rng.standard_normal(192))
            own = centre + 0.2 * rng.standard_normal((len(kept), 1, 192))
            frames = own + 0.1 * rng.standard_normal((len(kept), FRAMES, 192))
            maps = rng.random((len(kept), 1, 3, FRAMES + 1), np.float32)
            with writer.track(track_id) as track:
                track.add(
                    Tokens.of(
                        layers=kept,
                        class_token=own.astype(np.float32),
                        sequence_tokens=frames.astype(np.float32),
                        time=np.arange(FRAMES) * 0.032,
                        window_start=np.zeros(1),
                        attention=maps / maps.sum(-1, keepdims=True),
                    )
                )
                track.attributes = {
                    "source": f"/nowhere/{number}.wav",
                    "size": 1,
                    "mtime_ns": 0,
                    "duration": 0.8,
                    "sample_rate": 44_100,
                    "channels": 2,
                    "warnings": ["clipping: many samples"] if number % 7 == 0 else [],
                }
