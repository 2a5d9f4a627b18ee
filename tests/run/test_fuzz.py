"""From any bytes to tokens: they are finite and on the grid, or there is an `AudioError`."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vit1dx import Extractor
from vit1dx.config import Config
from vit1dx.errors import AudioError
from vit1dx.model.vit import ViT1D, save

from ..synth import song

FORMATS = {"wav": {}, "flac": {}, "mp3": {}, "ogg": {"format": "OGG", "subtype": "OPUS"}}
HEADER = 128  # bytes at the start, where an edit does most

Edit = tuple[bool, float, bytes]  # in the header?, where (a share of it), what is put there


@functools.cache
def original(suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x.{suffix}"
        soundfile.write(path, song(0.5, 48_000), 48_000, **FORMATS[suffix])
        return path.read_bytes()


@functools.cache
def extractor() -> Extractor:
    """A small model: it is the way to it that is tried."""
    torch.manual_seed(0)
    config = replace(Config(), model=replace(Config().model, depth=1))
    with tempfile.TemporaryDirectory() as folder:
        save(ViT1D(config), Path(folder) / "small.safetensors", "small", trained=False)
        made = Extractor(weights=Path(folder) / "small.safetensors")
        assert made.backend.name == "torch"
        return made


def edited(data: bytes, edits: list[Edit], kept: float) -> bytes:
    changed = bytearray(data)
    for in_header, share, content in edits:
        at = int(share * (HEADER if in_header else len(changed)))
        changed[at : at + len(content)] = content
    return bytes(changed[: round(kept * len(changed))])


edits = st.lists(
    st.tuples(st.booleans(), st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)),
    max_size=12,
)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(suffix=st.sampled_from(sorted(FORMATS)), edits=edits, kept=st.floats(0, 1))
def test_damaged_audio(suffix: str, edits: list[Edit], kept: float) -> None:
    attempt(suffix, edited(original(suffix), edits, kept))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(suffix=st.sampled_from(sorted(FORMATS)), data=st.binary(max_size=300))
def test_no_audio_at_all(suffix: str, data: bytes) -> None:
    attempt(suffix, data)


def attempt(suffix: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x.{suffix}"
        path.write_bytes(data)
        try:
            track = extractor()(path)
        except AudioError:
            return
    assert np.isfinite(track.sequence_tokens).all()
    assert track.sequence_tokens.shape[1] == len(track.time) >= 1
    np.testing.assert_allclose(track.time, np.arange(len(track.time)) * 512 / 16_000)
