"""`vit1dx search`: what sounds most like a track, or like other music."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

import vit1dx
from vit1dx.model.guide import SIMILARITY, bundled_digest, guide_for

from ..conftest import RunCli
from ..store.filed import tokens, write
from ..synth import song


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of four tracks, two of which are of one piece."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "music").mkdir()
    for name, seed, gain in (("a", 0, 1.0), ("louder", 0, 1.01), ("b", 1, 1.0), ("c", 2, 1.0)):
        samples = song(4, seed=seed) * gain * 0.5
        soundfile.write(folder / "music" / f"{name}.wav", samples, 44100)
    vit1dx.extract(folder / "music", folder / "f.h5", layers=[2, 4], overlap=0.512)
    return folder / "f.h5"


def test_a_track(cli: RunCli, path: Path) -> None:
    done = cli("search", path, "a.wav", "--layer", "4", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["query"], found["layer"]) == ("a.wav", 4)
    ids = [each["id"] for each in found["results"]]
    assert ids[0] == "louder.wav"
    assert sorted(ids) == ["b.wav", "c.wav", "louder.wav"]
    with vit1dx.open(path) as features:
        matrix, names = features.matrix(4)
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    for each in found["results"]:
        expected = unit[names.index("a.wav")] @ unit[names.index(each["id"])]
        assert each["similarity"] == pytest.approx(expected, abs=1e-6)


def test_a_file_is_extracted_as_the_features_were(cli: RunCli, path: Path, tmp_path: Path) -> None:
    shutil.copy(path.parent / "music" / "b.wav", tmp_path / "other.wav")
    done = cli("search", path, "other.wav", "-n", "2")
    assert done.returncode == 0, done.stderr
    with vit1dx.open(path) as features:
        aim = guide_for(bundled_digest())[SIMILARITY].layer
        nearest = min(features.layers, key=lambda layer: abs(layer - aim))
    assert done.stderr == f"layer {nearest}\n"
    lines = done.stdout.splitlines()
    assert (len(lines), lines[0]) == (2, "1.0000  b.wav")


def test_what_cannot_be_compared(cli: RunCli, path: Path, tmp_path: Path) -> None:
    done = cli("search", path, "none.wav")
    assert done.returncode == 2
    assert "none.wav is neither a track of" in done.stderr
    done = cli("search", path, "a.wav", "--layer", "8")
    assert "no layer 8 in" in done.stderr
    foreign = write(tmp_path / "g.h5", {"x": tokens(0)})
    music = path.parent / "music" / "a.wav"
    done = cli("search", foreign, music)
    assert done.returncode == 2
    assert "was made with tiny (abc)" in done.stderr
    assert "layer 2" in done.stderr  # the nearest to the middle of six
    assert json.loads(cli("search", foreign, "x", "--json").stdout)["results"] == []
