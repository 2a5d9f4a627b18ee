"""A track is read by the same names, whether it is in memory or in a file."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vit1dx
from vit1dx import tokens
from vit1dx.errors import UsageError
from vit1dx.tokens import CLOCKS, Track, join

from .store.test_writer import _header, _tokens, _write

LAYERS = (2, 5)


def _tracks(folder: Path, attention: str, layers: tuple[int, ...] = LAYERS) -> Iterator[Track]:
    """One track, in memory and in a file."""
    batches = [
        _tokens(windows, attention, first, layers=layers) for windows, first in ((3, 0), (1, 3))
    ]
    yield join(batches, 1.5)
    _write(folder / "f.h5", {"x.wav": batches}, _header(attention, layers=layers))
    with vit1dx.open(folder / "f.h5") as features:
        yield features["x.wav"]


@pytest.mark.parametrize("layers", [LAYERS, (0, 5)])
@pytest.mark.parametrize("attention", ["none", "class", "full"])
def test_every_part_is_that_part_of_the_whole(
    tmp_path: Path, attention: str, layers: tuple[int, ...]
) -> None:
    for track in _tracks(tmp_path, attention, layers):
        assert (track.layers, track.duration, track.warnings) == (layers, 1.5, ())
        for name, clock in CLOCKS.items():
            whole = getattr(track, name)
            if whole is None:
                assert (name, attention) == ("attention", "none")
                continue
            np.testing.assert_array_equal(track.read(name), whole)
            parts: list[tuple[dict[str, Any], Any]] = [({}, whole)]
            rows = track.attended_layers if name == "attention" else layers
            if name != clock:
                parts += [({"layer": layer}, whole[row]) for row, layer in enumerate(rows)]
            for given, part in parts:
                np.testing.assert_array_equal(track.read(name, **given), part)
                if clock is None:
                    continue
                instants = getattr(track, clock)
                for start, stop in ((1.0, 8.0), (None, 4.0), (4.0, None), (9.0, 2.0), (99, 100)):
                    kept = (instants >= (start or 0)) & (instants < (stop or np.inf))
                    expected = part[..., kept, :] if name == "sequence_tokens" else None
                    if expected is None:
                        axis = 0 if "layer" in given or name == clock else 1
                        expected = np.compress(kept, part, axis)
                    found = track.read(name, **given, start=start, stop=stop)
                    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("tokens", {}), "no array 'tokens'; there are class_token, .*, window_start"),
        (("layer", {}), "no array 'layer'"),
        (("class_token", {"layer": 3}), r"no layer 3; layers \[2, 5\] were kept"),
        (("time", {"layer": 2}), "time is the same for all layers; leave out layer"),
        (("mean_token", {"stop": 2.0}), "mean_token is one a track; leave out start and stop"),
        (("attention", {"layer": 2}), "no attention was kept; extract with --attention class"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_line(
    tmp_path: Path, arguments: tuple[str, dict[str, Any]], reason: str
) -> None:
    name, given = arguments
    for track in _tracks(tmp_path, "none"):
        assert track.attention is None
        with pytest.raises(UsageError, match=rf"\A{reason}[^\n]*\Z"):
            track.read(name, **given)


def test_layer_0_has_no_attention_to_read(tmp_path: Path) -> None:
    for track in _tracks(tmp_path, "class", (0, 5)):
        with pytest.raises(UsageError, match=r"\Alayer 0 has no attention maps"):
            track.read("attention", layer=0)


def test_tracks_and_features_say_what_they_are(tmp_path: Path) -> None:
    memory, stored = map(repr, _tracks(tmp_path, "none"))
    assert memory == "MemoryTrack(layers=(2, 5), duration=1.50)"
    assert stored == "StoredTrack('x.wav', layers=(2, 5))"
    features = vit1dx.open(tmp_path / "f.h5")
    features.close()
    assert repr(features) == f"FeatureFile('{tmp_path / 'f.h5'}', layers=(2, 5))"


def test_examples_run() -> None:
    assert doctest.testmod(tokens).attempted > 3
    assert doctest.testmod(tokens).failed == 0
