"""``vit1dx report``: what the page holds, and what is refused. tests/show/test_page.py opens it."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from typer.testing import CliRunner

import vit1dx
from vit1dx.analysis import similarity
from vit1dx.cli.main import app
from vit1dx.errors import UsageError
from vit1dx.model.guide import Advice, guide_of, layer_to_compare_by
from vit1dx.show.report.collection import (
    centred,
    folders,
    nearest,
    principal_axes,
    read_labels,
    umap_axes,
)
from vit1dx.show.report.details import details, quantised
from vit1dx.show.report.write import DETAIL_BYTES, Options, choose_details

from ..conftest import RunCli
from .many import write_many

#: Names that would end a script, an attribute or a line, or turn the text around them.
HOSTILE = (
    "</script><script>window.pwned=1</script>/a.wav",
    "<img src=x onerror=window.pwned=1>/b.wav",
    "quotes \"' & {{script}} \\ \u2028 \u2029/c.wav",
    "שלום \u202e/d.wav",
)
IDS = (*HOSTILE, *(f"{folder}/{n}.wav" for folder in ("jazz", "rock") for n in range(4)))


def blocks(page: Path) -> dict[str, Any]:
    """The blocks of JSON of a page, by id."""
    found = re.findall(
        r'<script type="application/json" id="([\w-]+)">(.*?)</script>', page.read_text(), re.S
    )
    return {name: json.loads(text) for name, text in found}


def numbers(packed: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed), dtype)


@pytest.fixture(scope="module")
def feats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "feats.h5"
    write_many(path, IDS)
    return path


def report(feats: Path, output: Path, *arguments: str) -> Path:
    result = CliRunner().invoke(app, ["report", str(feats), "-o", str(output), *arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    assert result.stdout == f"{output}\n"
    return output


def test_a_page_holds_what_the_file_holds(feats: Path, tmp_path: Path) -> None:
    found = blocks(report(feats, tmp_path / "r.html"))
    whole = found["collection"]
    with vit1dx.open(feats) as features:
        ids = list(features)
        nearest = layer_to_compare_by(features.attributes, features.layers, 12)
        vectors = np.stack([features[key].read("mean_token", layer=nearest) for key in ids])
        matrix, _ = similarity.layer_similarity(features[ids[3]], 2)
    assert (whole["ids"], whole["layer"], whole["layers"]) == (ids, nearest, [1, 2])
    assert whole["duration"] == [0.8] * len(ids)
    assert whole["warnings"].count("clipping") == 2
    unit = vectors - vectors.mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = unit @ unit.T - 2 * np.eye(len(ids))
    near = numbers(whole["near"]["tracks"], "<u4").reshape(len(ids), -1)
    order = np.argsort(-cosines, axis=1)[:, : near.shape[1]]
    np.testing.assert_array_equal(near, order)
    said = numbers(whole["near"]["cosines"], "<f4").reshape(near.shape)
    np.testing.assert_allclose(said, np.take_along_axis(cosines, order, 1), atol=1e-5)
    of = found["track-3"]["similarity"]
    assert of["bins"] == len(matrix) == 25
    triangles = numbers(of["matrices"], "u1").reshape(2, -1)
    upper = matrix[np.triu_indices(25)]
    np.testing.assert_allclose(triangles[1] / 127.5 - 1, upper, atol=1 / 255 + 1e-6)


def test_names_cannot_leave_their_data(feats: Path, tmp_path: Path) -> None:
    text = report(feats, tmp_path / "r.html").read_text()
    assert "pwned=1</script>" not in text
    assert "<img" not in text
    assert text.count("<script") == len(IDS) + 2  # one a track, the collection's, and the page's
    assert not {"\u2028", "\u2029"}.intersection(text)


def test_a_page_asks_for_nothing_from_elsewhere(feats: Path, tmp_path: Path) -> None:
    text = report(feats, tmp_path / "r.html").read_text()
    assert not re.findall(r"https?://", text)
    assert "default-src 'none'" in text
    assert not re.findall(r"\b(fetch|XMLHttpRequest|WebSocket|import)\(", text)


def test_details_of_some_are_spread_over_all(feats: Path, tmp_path: Path) -> None:
    found = blocks(report(feats, tmp_path / "r.html", "--details", "3", "--layers", "2"))
    chosen = found.pop("collection")["details"]
    assert chosen == [0, 6, 11]
    assert sorted(found) == sorted(f"track-{at}" for at in chosen)
    assert found["track-6"]["layers"] == [2]


def test_details_fit_unless_more_are_asked_for() -> None:
    layers = tuple(range(1, 13))
    for count in (1, 3, 60, 5000):
        chosen, side = choose_details(count, Options(2, layers), 3)
        size = len(chosen) * 4 / 3 * 12 * side * (side + 1) / 2
        assert size <= DETAIL_BYTES
        assert len(chosen) == min(count, len(chosen)) >= min(count, 60)
    assert len(choose_details(5000, Options(2, layers, details=900), 3)[0]) == 900


def test_folders_differ_as_far_up_as_they_can() -> None:
    assert folders(["a/x/1", "a/y/2", "a/y/3"]) == ["a/x", "a/y", "a/y"]
    assert folders(["a/x/1", "b/x/2", "3"]) == ["a", "b", "."]
    assert folders(["a/1", "a/2"]) == ["a", "a"]
    assert folders([]) == []


def test_principal_axes_are_those_of_an_svd() -> None:
    vectors = centred(np.random.default_rng(0).standard_normal((50, 192)).astype(np.float32))
    places, shares = principal_axes(vectors)
    u, s, _ = np.linalg.svd(vectors, full_matrices=False)
    np.testing.assert_allclose(np.abs(places), np.abs(u[:, :2] * s[:2]), atol=1e-3)
    np.testing.assert_allclose(shares, (s**2 / (s**2).sum())[:2], atol=1e-6)


def test_one_track_and_two_alike_have_a_page(tmp_path: Path) -> None:
    near, cosines = nearest(np.zeros((1, 192), np.float32))
    assert near.shape == cosines.shape == (1, 0)
    near, cosines = nearest(np.zeros((2, 192), np.float32))
    assert near.tolist() == [[1], [0]]
    write_many(tmp_path / "one.h5", ["x.wav"])
    assert blocks(report(tmp_path / "one.h5", tmp_path / "one.html"))["collection"]["ids"]


def test_neighbours_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(1).standard_normal((70, 8)).astype(np.float32)
    whole = nearest(vectors, 5)
    monkeypatch.setattr("vit1dx.show.report.collection.AT_ONCE", 16 * 70)
    for one, other in zip(whole, nearest(vectors, 5), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_quantised_values_stay_within_half_a_step() -> None:
    values = np.linspace(-1.2, 1.2, 1001)
    restored = quantised(values, -1, 1) / 127.5 - 1
    assert np.abs(restored - np.clip(values, -1, 1)).max() <= 1 / 255 + 1e-9


def test_what_a_file_lacks_is_left_out(tmp_path: Path) -> None:
    track = vit1dx.Extractor([0, 4], attention="none")(np.sin(np.arange(32000.0) / 9), 16000)
    found = details(track, (0, 4), 64)
    assert found["attention"] is None
    assert "no attention maps" in found["onsets"]["none"]
    beside = vit1dx.Extractor([0, 1])(np.sin(np.arange(32000.0) / 9), 16000)
    found = details(beside, (0, 1), 64)
    assert (found["layers"], found["attention"]["layers"]) == ([0, 1], [1])
    assert found["onsets"]["curve"] == "layer 1, head 0, class"
    pooled = vit1dx.Extractor([0, 1], pool=0.5)(np.sin(np.arange(32000.0) / 9), 16000)
    found = details(pooled, (0, 1), 64)
    assert (found["similarity"]["bins"], found["attention"]) == (4, None)
    assert "averaged over 0.5 s" in found["onsets"]["none"]


@pytest.mark.parametrize(
    "options",
    [
        "f.h5 --layers 0",
        "f.h5 --layers 0,4 --attention none",
        "f.h5 --layers 0,1 --attention full --dtype float16 --overlap 1",
        "f/ --layers last",
    ],
)
def test_each_kind_of_features_has_a_page(
    songs: Path, tmp_path: Path, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["extract", str(songs), "-q", "-o", *options.split()])
    assert result.exit_code == 0, result.output
    found = blocks(report(tmp_path / options.split()[0], tmp_path / "r.html"))
    assert found["collection"]["ids"] == ["a/x.wav", "b/x.flac"]
    track = found["track-1"]
    assert Path(unquote(track["audio"])).resolve() == songs / "b" / "x.flac"
    has_maps = options.split()[2] != "0" and "none" not in options
    assert (track["attention"] is not None) == has_maps
    assert len(track["similarity"]["boundaries"]) == len(track["layers"])


def test_labels(tmp_path: Path) -> None:
    table = tmp_path / "x.csv"
    table.write_text("\ufefffile,year,genre\na,1990,jazz\n/music/b.mp3,,rock\n", "utf-8")
    index = {"a": "/music/a.mp3", "b": "/music/b.mp3", "c": ""}
    labels = read_labels(table, "genre", index)
    assert (labels.values, labels.missing) == (["jazz", "rock", ""], 1)
    (tmp_path / "x.tsv").write_text("id\tmood\na\tsad\n")
    assert read_labels(tmp_path / "x.tsv", None, index).name == "mood"
    for column, text, reason in (
        (None, table.read_text(), "give --color; columns: year, genre"),
        ("style", table.read_text(), "no column 'style'; columns: year, genre"),
        ("genre", "id,genre\nz,jazz\n", "knows none of the 3 tracks, by ids such as a"),
        ("genre", "id,genre\na,jazz\na,rock\n", "has a twice, as jazz and as rock"),
        ("genre", "", "is empty"),
    ):
        table.write_text(text)
        with pytest.raises(UsageError, match=reason):
            read_labels(table, column, index)


def test_labels_colour_the_page(feats: Path, tmp_path: Path) -> None:
    rows = "".join(f"{n % 2}.5,jazz/{n}.wav\n" for n in range(4))
    (tmp_path / "x.csv").write_text(
        "".join(f"{','.join(r.split(',')[::-1])}\n" for r in ("tempo,id", *rows.split()))
    )
    whole = blocks(report(feats, tmp_path / "r.html", "--labels", str(tmp_path / "x.csv")))
    label = whole["collection"]["label"]
    assert (label["name"], label["names"]) == ("tempo", ["", "0.5", "1.5"])


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ("none.h5", 5, "none.h5"),
        ("feats.h5 -o x.txt", 2, "x.txt: a name ending in .html is needed"),
        ("feats.h5 -o no/x.html", 2, "no/x.html cannot be written"),
        ("feats.h5 --layer 7", 2, "no layer 7 in feats.h5; layers 1, 2 were kept"),
        ("feats.h5 --layers 3", 2, "no layer 3 in feats.h5; layers 1, 2 were kept"),
        ("feats.h5 --color genre", 2, "--color 'genre' needs --labels"),
        ("feats.h5 --labels no.csv", 2, "no.csv cannot be read"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(
    cli: RunCli, feats: Path, tmp_path: Path, arguments: str, code: int, reason: str
) -> None:
    os.link(feats, tmp_path / "feats.h5")
    result = cli("report", *arguments.split())
    assert result.returncode == code
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["feats.h5"]


def test_umap_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UsageError, match="pip install umap-learn"):
        umap_axes(np.zeros((9, 4), np.float32))


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
@pytest.mark.slow
def test_ctrl_c_leaves_the_page_that_was_there(tmp_path: Path) -> None:
    write_many(tmp_path / "feats.h5", [f"{n % 9}/{n}.wav" for n in range(400)])
    (tmp_path / "r.html").write_text("before")
    # All details: seconds of writing after the first bytes that are seen.
    command = [sys.executable, *"-m vit1dx report feats.h5 -o r.html --details 400".split()]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background shells ignore it
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not (new := list(tmp_path.glob(".*-r.html"))) or not new[0].stat().st_size:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    assert (tmp_path / "r.html").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["feats.h5", "r.html"]


def test_the_guide_is_that_of_the_weights(feats: Path, tmp_path: Path) -> None:
    rows = blocks(report(feats, tmp_path / "r.html"))["collection"]["guide"]
    with vit1dx.open(feats) as features:
        assert [Advice(**row) for row in rows] == list(guide_of(features.attributes).values())
    assert rows[0]["task"] == "chords"
