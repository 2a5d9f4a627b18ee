"""`vit1dx probe` and `predict` as they are run, on features whose answer is known."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import h5py
import mir_eval
import numpy as np
import pytest

from ..conftest import RunCli
from .planted import DEAF, FRAMES, KNOWING, RATE, SECONDS, one_of, write_features

COMMON = ("--baselines", "majority", "--workers", "1")


def _genres(folder: Path) -> None:
    """36 tracks of three genres and 18 artists."""
    names = ("folk", "jazz", "rock")
    truth, lines = {}, ["path,genre,artist,tempo\n"]
    for number in range(36):
        genre = number % 3
        track = f"{genre}/{number}.mp3"
        truth[track] = one_of(genre, 3)
        lines.append(f"/data/{track},{names[genre]},artist {number % 18},{100 + genre}\n")
    write_features(folder / "f.h5", truth)
    (folder / "genres.csv").write_text("".join(lines))


def _scores(text: str) -> dict[str, float]:
    found = json.loads(text)
    own = found["measures"][0]
    return {line["name"]: line["scores"][own]["mean"] for line in found["lines"]}


def test_classes_from_a_table_to_predictions(cli: RunCli, tmp_path: Path) -> None:
    _genres(tmp_path)
    options = ("--group-by", "artist", "--folds", "3", *COMMON, "--save", "genres.npz")
    result = cli("probe", "f.h5", "genres.csv", *options, "--format", "json", "-o", "scores.json")
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    found = json.loads((tmp_path / "scores.json").read_text())
    scores = _scores((tmp_path / "scores.json").read_text())
    for tokens in ("class", "mean", "class+mean"):
        assert scores[f"layer {KNOWING}, {tokens}"] == 1
        assert scores[f"layer {DEAF}, {tokens}"] < 0.8
    assert scores["majority"] == pytest.approx(1 / 3)
    assert found["chosen"]["scores"]["accuracy"] == {"mean": 1.0, "deviation": 0.0}
    assert found["about"]["groups"] == 18
    assert f"layer {KNOWING}" in result.stderr

    predicted = cli("predict", "f.h5", "genres.npz", "-o", "predicted.csv")
    assert predicted.returncode == 0, predicted.stderr
    with (tmp_path / "genres.csv").open() as file:
        expected = {Path(r["path"]).name: r["genre"] for r in csv.DictReader(file)}
    with (tmp_path / "predicted.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {Path(row["track"]).name: row["label"] for row in rows} == expected
    assert all(0.5 < float(row["probability"]) <= 1 for row in rows)

    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file.attrs["precision"] = "int8"
    for arguments in (
        ("probe", "f.h5", "genres.csv", "-o", "genres.csv"),
        ("predict", "f.h5", "genres.npz", "-o", "genres.npz"),
        ("report", "f.h5", "--labels", "genres.csv", "-o", "genres.csv"),
    ):
        kept = (tmp_path / arguments[-1]).read_bytes()
        refused = cli(*arguments)
        assert refused.returncode == 2
        assert f"output {arguments[-1]} is read too" in refused.stderr
        assert (tmp_path / arguments[-1]).read_bytes() == kept

    refused = cli("predict", "f.h5", "genres.npz")
    assert refused.returncode == 2
    assert refused.stderr == "vit1dx: f.h5 is of precision int8; the probe was fitted on fp32\n"


@pytest.mark.slow
def test_chords_from_a_folder_to_labels_over_time(cli: RunCli, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    chords, truth = ("C:maj", "F:min7", "N"), {}
    (tmp_path / "chords").mkdir()
    for number in range(8):
        classes = rng.integers(3, size=8).repeat(FRAMES // 8 + 1)[:FRAMES]
        truth[f"pop/{number}.mp3"] = np.eye(3, dtype=np.float32)[classes]
        edges = (np.flatnonzero(np.diff(classes)) + 0.5) / RATE
        edges = np.concatenate([[0], edges, [SECONDS]])
        labels = classes[np.concatenate([[0], np.flatnonzero(np.diff(classes)) + 1])]
        lines = zip(edges[:-1], edges[1:], (chords[c] for c in labels), strict=True)
        text = "".join(f"{start} {end} {label}\n" for start, end, label in lines)
        (tmp_path / "chords" / f"{number}.lab").write_text(text)
    write_features(tmp_path / "f.h5", truth, noise=0.1)
    result = cli("probe", "f.h5", "chords", "--task", "chords", *COMMON, "--save", "c.npz")
    assert result.returncode == 0, result.stderr
    rows = {row.split("  ")[1]: row for row in result.stdout.splitlines() if "±" in row}
    assert float(rows[f"layer {KNOWING}, sequence"].split()[3]) > 98
    assert "8 tracks, 5 folds" in result.stderr

    predicted = cli("predict", "f.h5", "c.npz", "-o", "out")
    assert predicted.returncode == 0, predicted.stderr
    intervals, labels = mir_eval.io.load_labeled_intervals(str(tmp_path / "out/pop/3.lab"))
    true, true_labels = mir_eval.io.load_labeled_intervals(str(tmp_path / "chords/3.lab"))
    assert mir_eval.chord.evaluate(true, true_labels, intervals, labels)["majmin"] > 0.98
    kept = (tmp_path / "chords/3.lab").read_text()
    (tmp_path / "chords" / "pop").mkdir()
    (tmp_path / "chords" / "pop" / "3.lab").write_text(kept)
    refused = cli("predict", "f.h5", "c.npz", "-o", "chords")
    assert refused.returncode == 2
    assert "chords/pop/3.lab exist; --overwrite replaces them, or give another -o" in refused.stderr
    assert (tmp_path / "chords/pop/3.lab").read_text() == kept
    assert cli("predict", "f.h5", "c.npz", "-o", "out", "--overwrite").returncode == 0
    table = cli("predict", "f.h5", "c.npz").stdout.splitlines()
    assert table[0] == "track,start,end,label"
    assert len([row for row in table if row.startswith("pop/3.mp3,")]) == len(labels)


@pytest.mark.slow
def test_beats_from_a_folder_and_a_picture(cli: RunCli, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    rng = np.random.default_rng(0)
    truth = {}
    for number in range(6):
        times = np.arange(rng.uniform(0.2, 0.6), SECONDS - 0.2, 0.5)
        frames = np.zeros((FRAMES, 1), np.float32)
        frames[np.round(times * RATE).astype(int)] = 3
        truth[f"{number}.mp3"] = frames
        (tmp_path / f"{number}.beats").write_text("".join(f"{t:.4f}\n" for t in times))
    write_features(tmp_path / "f.h5", truth)
    options = ("--folds", "3", *COMMON, "--plot", "beats.png", "--save", "b.npz")
    result = cli("probe", "f.h5", ".", "--format", "csv", *options)
    assert result.returncode == 0, result.stderr
    rows = {row["features"]: row for row in csv.DictReader(result.stdout.splitlines())}
    assert float(rows[f"layer {KNOWING}, sequence"]["F"]) > 0.98
    assert float(rows[f"layer {DEAF}, sequence"]["F"]) < 0.6
    assert (tmp_path / "beats.png").read_bytes().startswith(b"\x89PNG")
    assert cli("predict", "f.h5", "b.npz", "-o", "out").returncode == 0
    found = mir_eval.io.load_events(str(tmp_path / "out/3.beats"))
    assert mir_eval.beat.f_measure(mir_eval.io.load_events(str(tmp_path / "3.beats")), found) > 0.98


def _run_without(tmp_path: Path, broken: str) -> subprocess.CompletedProcess[str]:
    script = (
        f"import sys\n{broken}\n"
        "from vit1dx.cli.main import main\n"
        "sys.argv = ['vit1dx', 'probe', 'f.h5', 'labels.csv']\n"
        "main()\n"
    )
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)


def test_without_the_extra_the_error_names_it(tmp_path: Path) -> None:
    done = _run_without(tmp_path, "sys.modules['sklearn'] = None")
    assert done.returncode == 2
    assert "pip install 'vit1dx[probe]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_else_cannot_be_imported_is_shown_as_it_is(tmp_path: Path) -> None:
    done = _run_without(tmp_path, "sys.modules['vit1dx.probe.whole'] = None")
    assert done.returncode == 1
    assert "import of vit1dx.probe.whole halted" in done.stderr
    assert "pip install" not in done.stderr


@pytest.mark.parametrize(
    ("option", "ending"), [("-o", "json"), ("--plot", "png"), ("--save", "npz")]
)
def test_a_place_that_cannot_be_written_is_refused_before_anything(
    cli: RunCli, tmp_path: Path, option: str, ending: str
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    (tmp_path / f"folder.{ending}").mkdir()
    for place, reason in (
        (f"none/x.{ending}", "there is no folder none"),
        (f"folder.{ending}", "is a folder; the name of a file is needed"),
    ):
        refused = cli("probe", "features-that-are-not-there.h5", "labels.csv", option, place)
        assert refused.returncode == 2
        assert refused.stderr.startswith(f"vit1dx: {place}")
        assert reason in refused.stderr
