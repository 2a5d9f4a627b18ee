"""Notes: their files, their frames against an oracle, and the command from end to end."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import jams
import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from vit1dx.errors import UsageError
from vit1dx.probe.annotations import Annotation, read_file
from vit1dx.probe.notes import LOGITS, note_rows, note_task

from ..conftest import RunCli
from .planted import FRAMES, KNOWING, RATE, SECONDS, write_features

GRID = np.arange(100) / RATE
NOTES = [(0.0, 0.5, "60"), (0.25, 1.0, "64")]


def _notes(rows: list[tuple[float, float, str]]) -> Annotation:
    start, end, pitch = zip(*rows, strict=True)
    return Annotation(np.array(start), np.array(end), pitch)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.notes", "0.0 0.5 60\n0.25 1.0 64 90\n"),
        ("a.csv", "start,end,pitch\n0.0,0.5,60\n0.25,1.0,63.7\n"),
        ("a.csv", "pitch,velocity,onset,offset\n60,90,0.0,0.5\n64,80,0.25,1.0\n"),
        ("a.txt", "OnsetTime\tOffsetTime\tMidiPitch\n0.0\t0.5\t60\n0.25\t1.0\t64\n"),  # MAPS
    ],
)
def test_files(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    found = read_file(tmp_path / name, "notes")
    assert list(zip(found.start, found.end, found.labels, strict=True)) == NOTES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1 C4\n", "line 1 has 'C4' where a pitch is needed, a MIDI number of 0 to 127"),
        ("0 1 60\n0 1 128\n", "line 2 has '128'"),
        ("0 1\n", "line 1 is '0 1'; start, end and pitch needed"),
    ],
)
def test_what_is_no_note(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.notes").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_file(tmp_path / "a.notes", "notes")


@pytest.mark.parametrize(("space", "values"), [("note_midi", (60.2, 64)), ("note_hz", (262, 330))])
def test_jams_of_a_string_each(space: str, values: tuple[float, float], tmp_path: Path) -> None:
    """As GuitarSet has them: an annotation a string."""
    whole = jams.JAMS(file_metadata=jams.FileMetadata(duration=2.0))
    for (start, end, _), value in zip(NOTES, values, strict=True):
        string = jams.Annotation(space, duration=2.0)
        string.append(time=start, duration=end - start, value=value)
        whole.annotations.append(string)
    other = jams.Annotation("pitch_hz", duration=2.0)
    other.append(time=0.0, duration=2.0, value=100.0)
    whole.annotations.append(other)
    whole.save(str(tmp_path / "a.jams"))
    found = read_file(tmp_path / "a.jams", "notes")
    assert list(zip(found.start, found.end, found.labels, strict=True)) == NOTES


def test_frames_and_scores_are_those_of_scikit_learn() -> None:
    known = _notes([*NOTES, (2.0, 2.01, "100")])
    task = note_task([known, _notes([(0.0, 1.0, "60")])])
    assert task.classes == ("60", "64", "100")
    roll = task.target(known, GRID)
    assert np.flatnonzero(roll[:, 0]).tolist() == [*range(16)]  # 0.5 s is outside, 15 / RATE inside
    assert np.flatnonzero(roll[:, 1]).tolist() == [*range(8, 32)]
    logits = np.random.default_rng(0).normal(2 * roll - 1, 1.5)
    tally = task.tally(1)
    for part in (slice(0, 50), slice(50, None)):
        tally.add(known, GRID[part], logits[part])
    for least in (LOGITS[0], 0.0, LOGITS[-1]):
        scores = tally.scores(least)
        for name, oracle in zip(scores, (f1_score, precision_score, recall_score), strict=True):
            assert scores[name] == pytest.approx(oracle(roll, logits >= least, average="micro"))
    assert tally.choice is not None
    best = max(LOGITS, key=lambda least: f1_score(roll, logits >= least, average="micro"))
    assert tally.scores(tally.choice) == tally.scores(best)


def test_rows_are_stretches_of_frames() -> None:
    logits = np.full((100, 2), -1.0)
    logits[10:20, 0] = logits[15:40, 1] = logits[99, 0] = 1.0
    rows = list(note_rows(GRID, logits, ("60", "64"), 0.5))
    edges = [(9.5, 19.5, "60"), (14.5, 39.5, "64"), (98.5, 99.5, "60")]
    assert [(round(a * RATE, 6), round(b * RATE, 6), pitch) for a, b, pitch in rows] == edges


@pytest.mark.slow
def test_from_a_folder_to_predictions(cli: RunCli, tmp_path: Path) -> None:
    """And seeds with a column of splits: each draws anew, so there is a deviation."""
    rng = np.random.default_rng(0)
    truth = {}
    for number in range(8):
        known = rng.integers(2, size=(10, 3)).repeat(FRAMES // 10, axis=0)
        truth[f"{number}.mp3"] = known.astype(np.float32)
        rows = note_rows(np.arange(FRAMES) / RATE, known, ("48", "60", "72"), 1.0)
        text = "".join(f"{start:.4f} {end:.4f} {pitch}\n" for start, end, pitch in rows)
        (tmp_path / f"{number}.notes").write_text(text)
    write_features(tmp_path / "f.h5", truth, noise=0.1)
    splits = "".join(f"{n},{'train' if n < 6 else 'test'}\n" for n in range(8))
    (tmp_path / "splits.csv").write_text("track,split\n" + splits)
    split = ("--split-column", "split", "--metadata", "splits.csv", "--seeds", "3")
    common = ("--baselines", "majority", "--workers", "1", "--frames", "400")
    result = cli("probe", "f.h5", ".", *split, *common, "--format", "json", "--save", "n.npz")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["task"] == "notes"  # by the ending of the files
    assert found["about"]["divisions"] == 3
    assert "split by 'split', 3 seeds from 0" in found["about"]["caption"]
    lines = {line["name"]: line["scores"]["F of frames"] for line in found["lines"]}
    assert lines[f"layer {KNOWING}, sequence"]["mean"] > 0.97
    assert lines["layer 2, sequence"]["deviation"] > 0

    assert cli("predict", "f.h5", "n.npz", "-o", "out").returncode == 0
    (tmp_path / "again").mkdir()
    predicted = read_file(tmp_path / "out" / "7.notes", "notes")
    expected = read_file(tmp_path / "7.notes", "notes")
    task, time = note_task([expected]), np.arange(FRAMES) / RATE
    agreement = task.target(predicted, time) == task.target(expected, time)
    assert agreement.mean() > 0.98
    table = cli("predict", "f.h5", "n.npz").stdout.splitlines()
    predictions = list(csv.DictReader(table))
    assert table[0] == "track,start,end,pitch"
    assert all(0 <= float(row["start"]) < float(row["end"]) <= SECONDS for row in predictions)
