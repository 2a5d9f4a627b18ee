"""The layer guide is for the bundled weights alone, and says what was measured of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vit1dx.analysis.onsets import OnsetCurve
from vit1dx.model.guide import SIMILARITY, bundled_digest, guide_for, guide_of, onset_curves
from vit1dx.model.weights import BUNDLED, bundled, read_info

from ..conftest import RunCli


@pytest.mark.parametrize("name", BUNDLED)
def test_it_is_for_bundled_weights_and_what_was_exported_from_them(name: str) -> None:
    info = read_info(bundled(".onnx", name))
    assert (info.sha256 == bundled_digest()) == (name == BUNDLED[0])
    advice = guide_for(info.sha256)
    assert {"chords", "beats", "key", SIMILARITY} <= advice.keys()
    assert guide_for("0" * 64, info.sha256) == advice  # as int8 models have it
    assert guide_of({"model_sha256": info.sha256}) == advice
    assert all(1 <= row.layer <= info.config.model.depth for row in advice.values())


@pytest.mark.parametrize("name", BUNDLED)
def test_curves_of_onsets_are_of_heads_that_are_there(name: str) -> None:
    info = read_info(bundled(".onnx", name))
    curves = [OnsetCurve(**curve) for curve in onset_curves(info.sha256)]
    assert curves
    model = info.config.model
    assert all(c.layer in range(1, model.depth + 1) and c.head < model.heads for c in curves)
    readings = [curve.reading == "class" for curve in curves]
    assert readings == sorted(readings)  # those that need the whole map first
    assert onset_curves("0" * 64) == onset_curves(bundled_digest())


def test_there_is_none_for_others() -> None:
    assert guide_for("0" * 64, "", None) == {}
    assert guide_of({"model_sha256": "0" * 64}) == {}


def test_info_shows_it(cli: RunCli) -> None:
    shown = cli("info").stdout
    advice = guide_for(bundled_digest())
    line = next(line for line in shown.splitlines() if line.startswith("guide.chords"))
    assert str(advice["chords"]) in line
    values = json.loads(cli("info", "--json").stdout)
    assert values["guide"]["beats"]["layer"] == advice["beats"].layer


def test_info_says_where_there_is_none(cli: RunCli, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(bundled(".safetensors").read_bytes() + b"\0")
    result = cli("info", other)
    assert "none for these weights" in result.stdout, result.stderr
