"""What verify finds, whichever way an array lies in its file and is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from vit1dx.store import soundness, track, values
from vit1dx.store.verify import verify
from vit1dx.store.writer import FeatureWriter

from .test_writer import LAYERS, _header, _tokens

WINDOWS = 40


@pytest.fixture(params=["contiguous", "chunks", "compressed"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of one track, with attention."""
    if request.param == "chunks":
        monkeypatch.setattr(track, "HELD_BYTES", 100_000)
        monkeypatch.setattr(track, "CHUNK_BYTES", 20_000)
    path = tmp_path / "f.h5"
    with FeatureWriter(path, _header("class")) as writer, writer.track("x.wav") as buffer:
        for first in range(0, WINDOWS, 10):
            tokens = _tokens(10, "class", first)
            tokens.arrays["attention"] /= tokens.arrays["attention"].sum(-1, keepdims=True)
            buffer.add(tokens)
        buffer.attributes = dict.fromkeys(soundness.ATTRIBUTES, 1) | {"source": "x"}
        del buffer.attributes["complete"]
    if request.param == "compressed":
        _compress(path, "sequence_tokens", "attention")
    return path


def _compress(path: Path, *names: str) -> None:
    with h5py.File(path, "r+") as file:
        group = file["tracks/x.wav"]
        for name in names:
            array, sums = group[name][...], group[name].attrs["crc32"]
            del group[name]
            group.create_dataset(name, data=array, chunks=True, compression=1).attrs["crc32"] = sums


@pytest.mark.parametrize("passed", [0, 1 << 40], ids=["by threads", "at once"])
def test_damage_anywhere_is_found(path: Path, passed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "PASSED_BYTES", passed)
    monkeypatch.setattr(values, "BLOCK_BYTES", 5_000)
    assert verify(path).problems == []
    with h5py.File(path, "r+") as file:
        tokens = file["tracks/x.wav/sequence_tokens"]
        shape = tokens.shape
    for place in ((0, 0, 0), (1, 2500, 3), tuple(n - 1 for n in shape)):
        before = _set(path, "sequence_tokens", place, 7.0)
        assert verify(path).problems == [
            ("x.wav", "sequence_tokens does not match its checksum")
        ], place
        _set(path, "sequence_tokens", place, before)
    assert verify(path).is_good
    _set(path, "sequence_tokens", (len(LAYERS) - 1, 17, 0), np.nan)
    _set(path, "attention", (1, WINDOWS - 1, 2, 5), 3.0)
    assert verify(path).problems == [
        ("x.wav", "sequence_tokens does not match its checksum"),
        ("x.wav", "sequence_tokens holds values that are not finite"),
        ("x.wav", "attention does not match its checksum"),
        ("x.wav", "attention has rows that do not sum to 1"),
    ]


def _set(path: Path, name: str, place: tuple[int, ...], value: Any) -> Any:
    with h5py.File(path, "r+") as file:
        data = file["tracks/x.wav"][name]
        before = data[place]
        data[place] = value
        return before
