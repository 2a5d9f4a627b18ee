"""Annotation files in their forms, and what is wrong with some."""

from __future__ import annotations

import json
from pathlib import Path

import jams
import numpy as np
import pytest

from vit1dx.errors import UsageError
from vit1dx.probe.annotations import read_file, read_folder


def _file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


CHORDS = [(0.0, 1.5, "C:maj"), (1.5, 4.0, "A:min7(9,11)/b3")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.lab", "0.0 1.5 C:maj\n1.5\t4.0\tA:min7(9,11)/b3\n\n# the end\n"),
        ("a.txt", "0.0,1.5,C:maj\n1.5,4.0,A:min7(9,11)/b3\n"),
        ("a.csv", 'start,end,label\n0.0,1.5,C:maj\n1.5,4.0,"A:min7(9,11)/b3"\n'),
        ("a.csv", '0.0,1.5,C:maj\n1.5,4.0,"A:min7(9,11)/b3"\n'),
        ("a.csv", "chord;end;start\nC:maj;1.5;0.0\nA:min7(9,11)/b3;4.0;1.5\n"),
    ],
)
def test_spans(name: str, text: str, tmp_path: Path) -> None:
    found = read_file(_file(tmp_path, name, text), "chords")
    assert list(zip(found.start, found.end, found.labels, strict=True)) == CHORDS


@pytest.mark.parametrize(
    ("name", "text", "downbeats"),
    [
        ("a.beats", "0.5 1\n1.0 2\n1.5 1\n", [0.5, 1.5]),
        ("a.beats", "0.5\t1.1\n1.0\t1.2\n1.5\t2.1\n", [0.5, 1.5]),
        ("a.csv", "time,position\n0.5,1\n1.5,1\n1.0,4\n", [0.5, 1.5]),
        ("a.txt", "0.5 1.0\n1.0 2.0\n1.5 3.0\n", [0.5]),
    ],
)
def test_beats_and_downbeats(name: str, text: str, downbeats: list[float], tmp_path: Path) -> None:
    path = _file(tmp_path, name, text)
    assert read_file(path, "beats").start.tolist() == [0.5, 1.0, 1.5]
    assert read_file(path, "downbeats").start.tolist() == downbeats


@pytest.mark.parametrize(
    ("name", "task", "text", "message"),
    [
        ("a.lab", "chords", "0 1 C\n1 x C\n", "line 2 has 'x' where a time"),
        ("a.lab", "chords", "0 1\n", "line 1 is '0 1'; start, end and label needed"),
        ("a.lab", "chords", "2 1 C\n", "ends at 1.0 s, before it starts"),
        ("a.beats", "beats", "0.5\nnan\n", "line 2 has 'nan'"),
        ("a.beats", "beats", "hello world\n", "a time is needed"),
        ("a.beats", "downbeats", "0.5\n", "downbeats need a position"),
        ("a.jams", "beats", "{", "a.jams"),
        ("a.jams", "beats", '{"annotations": []}', "no annotation in the namespaces beat"),
    ],
)
def test_what_is_wrong_is_named(
    name: str, task: str, text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as error:
        read_file(_file(tmp_path, name, text), task)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_jams_as_its_library_writes_it(tmp_path: Path) -> None:
    jam = jams.JAMS()
    jam.file_metadata.duration = 4.0
    chords = jams.Annotation("chord")
    for start, end, label in CHORDS:
        chords.append(time=start, duration=end - start, value=label.split("(")[0])
    beats = jams.Annotation("beat")
    for number, time in enumerate((0.5, 1.0, 1.5)):
        beats.append(time=time, duration=0.0, value=1 + number % 2)
    jam.annotations.extend([chords, beats])
    jam.save(str(tmp_path / "a.jams"))
    found = read_file(tmp_path / "a.jams", "chords")
    assert found.labels == ("C:maj", "A:min7")
    np.testing.assert_allclose(found.end, [1.5, 4.0])
    assert read_file(tmp_path / "a.jams", "downbeats").start.tolist() == [0.5, 1.5]
    columns = {"annotations": [{"namespace": "onset", "data": {"time": [2, 1], "value": [0, 0]}}]}
    path = _file(tmp_path, "b.jams", json.dumps(columns))
    assert read_file(path, "onsets").start.tolist() == [1, 2]


def test_a_folder_by_its_tracks(tmp_path: Path) -> None:
    for name in ("x/1.lab", "x/2.lab", "3.lab", "x/.hidden.lab"):
        _file(tmp_path, name, "0 1 C:maj\n")
    _file(tmp_path, "x/2.csv", "nothing that is read, as there is a .lab\n")
    _file(tmp_path, "4.lab", "0 x C:maj\n")
    found = read_folder(tmp_path, "chords", ["x/1.mp3", "x/2.wav", "4.mp3", "5.mp3"])
    assert set(found.tracks) == {"x/1.mp3", "x/2.wav"}
    assert found.matches.missing == ["3"]
    (reason,) = found.unread.values()
    assert "4.lab: line 1" in reason


def test_two_annotations_of_one_track_are_refused(tmp_path: Path) -> None:
    for name in ("one/1.lab", "1.lab"):
        _file(tmp_path, name, "0 1 C:maj\n")
    with pytest.raises(UsageError, match=r"are all annotations of track '1\.mp3'"):
        read_folder(tmp_path, "chords", ["1.mp3"])
