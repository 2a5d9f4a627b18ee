"""Excerpts as tracks: what they hold, by which time, and what becomes of rows that cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import vit1dx
from vit1dx.audio import decode
from vit1dx.doors.rows import rows_of
from vit1dx.errors import UsageError
from vit1dx.run.segments import collect_segments
from vit1dx.run.sources import Segment
from vit1dx.store.matrix import token_step
from vit1dx.store.verify import verify

from ..synth import song

RATE = 16000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("excerpts")
    for name, seconds in (("x.wav", 30.0), ("y.wav", 12.5)):
        soundfile.write(folder / name, song(seconds, RATE), RATE)
    return folder


def _rows(folder: Path, text: str, name: str = "s.csv", **options: Any) -> dict[str, Any]:
    (folder / name).write_bytes(text.encode())
    return {s.id: s for s in collect_segments(folder / name, **options)}


def test_segments_are_the_file_s_own_frames_and_tokens(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (tmp_path / "s.csv").write_text(
        "start,end,path\n4,12,x.wav\n10.01,15.5,x.wav\n0,30,x.wav\n8,,x.wav\n2,40,y.wav\n"
    )
    four_seconds = "vit1d-tiny"  # its windows
    made = vit1dx.extract(
        (),
        f"{tmp_path}/f/",
        segments=tmp_path / "s.csv",
        layers=[4, 8],
        workers=2,
        weights=four_seconds,
    )
    assert (made.files, made.done, made.failures) == (5, 5, [])
    whole = vit1dx.Extractor([4, 8], tokens="sequence", weights=four_seconds)("x.wav")
    with vit1dx.open(tmp_path / "f") as features:
        assert set(features) == {
            "x.wav#4-12",
            "x.wav#10.01-15.5",
            "x.wav#0-30",
            "x.wav#8-",
            "y.wav#2-40",
        }
        # Where windows lie as in the whole, tokens are the whole's.
        for key, frames in (("x.wav#4-12", slice(125, 375)), ("x.wav#0-30", slice(None, 938))):
            track = features[key]
            np.testing.assert_allclose(
                track.sequence_tokens, whole.sequence_tokens[:, frames], atol=1e-5
            )
            np.testing.assert_array_equal(track.time, whole.time[frames])
        track = features["x.wav#10.01-15.5"]
        np.testing.assert_array_equal(track.time, whole.time[313:485])  # 10.016 to 15.488 s
        np.testing.assert_allclose(track.window_start, whole.time[[313, 360]])
        assert track.start == 10.01
        assert track.duration == pytest.approx(5.49)
        assert track.read("sequence_tokens", start=11.0, stop=12.0).shape[1] == 31
        assert features["x.wav#8-"].time[-1] == whole.time[-1]
        late = features["y.wav#2-40"]
        assert late.duration == pytest.approx(10.5)
        assert [warning.code for warning in late.warnings] == ["truncated"]
        assert late.attributes["segment_end"] == 40
    assert verify(tmp_path / "f").problems == []


def test_a_file_is_decoded_once_for_all_its_segments_and_no_further_than_they_go(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vit1dx.run.excerpts import Excerpts
    from vit1dx.store.track import TokenBuffer

    class Sink:
        def empty(self, shape: Any, dtype: Any) -> Any:
            return np.empty(shape, dtype)

        def keep(self, array: Any) -> Any:
            return array

        def append(self, parts: Any) -> None: ...
        def finish(self, parts: Any, totals: Any) -> None: ...

    opened = []
    usual = decode.AudioFile

    def counted(path: Path) -> decode.AudioFile:
        opened.append(usual(path))
        return opened[-1]

    monkeypatch.setattr(decode, "AudioFile", counted)
    extractor = vit1dx.Extractor("last", tokens="mean", threads=1)
    spans = [(0.0, 5.0), (2.0, 3.0), (2.5, 8.0)]
    with Excerpts(extractor, folder / "x.wav", spans, "float32") as excerpts:
        for number in range(3):
            excerpts.extract(number, TokenBuffer(Sink(), "float32"), lambda seconds: None)
    assert len(opened) == 1
    assert 8 <= opened[0].duration < 20  # blocks are of 8 s


@pytest.mark.parametrize("pool", [None, 1.0])
def test_bins_begin_where_the_segment_does(
    pool: float | None, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (tmp_path / "s.jsonl").write_text('{"path": "x.wav", "start": 4.5, "end": 7, "id": "a/b"}\n')
    vit1dx.extract(
        (),
        tmp_path / "f.h5",
        segments=tmp_path / "s.jsonl",
        layers=8,
        pool=pool,
        tokens="class,sequence",
    )
    with vit1dx.open(tmp_path / "f.h5") as features:
        time = features["a/b"].time
        (frames,), (windows,) = (rows_of(features, what, [8]) for what in ("sequence", "class"))
        assert token_step(features) == (pool or 0.032)
        assert (windows.start.tolist(), windows.end.tolist()) == ([4.512], [7.0])
        if pool:
            np.testing.assert_allclose(time, [5.0, 6.0, 6.754])
            spans = [[4.5, 5.5, 6.5], [5.5, 6.5, 7.0]]
            np.testing.assert_allclose([frames.start, frames.end], spans)
            with pytest.raises(UsageError, match="of --pool do not give it"):
                features.matrix(8)
        else:
            np.testing.assert_allclose(time[[0, -1]], [4.512, 6.976])
            np.testing.assert_allclose(frames.start[:2], [4.5, 4.528])
            np.testing.assert_allclose(frames.end[[0, -1]], [4.528, 6.992])
            (means,) = rows_of(features, "mean", [8])
            assert (means.start.tolist(), means.end.tolist()) == ([4.5], [7.0])


def test_a_row_that_cannot_be_used_is_a_failure_of_its_own(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    table = "\ufeffPATH, Start ,end,mood,id\r\n"
    rows = [
        ('"x.wav",0,2,"sad, slow",ok', None),
        ("x.wav,0,2,again,ok", None),  # the same once more
        ("x.wav,5,4,,backwards", "end 4 s is not behind start 5 s"),
        ("x.wav,-1,4,,early", "start '-1'; seconds, 0 or more, are needed"),
        ("x.wav,a,4,,word", "start 'a'; seconds"),
        ("x.wav,100,104,,late", "the segment starts at 100 s, and the audio ends at 30 s"),
        ("x.wav,1.001,1.002,,short", "no frame from 1.001 to 1.002 s"),
        ("none.wav,0,1,,gone", "no such file"),
        (",0,1,,nowhere", "no path"),
        ("x.wav,3,4,,ok/inside", "would lie inside track ok"),
    ]
    (tmp_path / "s.csv").write_text(table + "\r\n".join(row for row, _ in rows))
    options: dict[str, Any] = {"segments": tmp_path / "s.csv", "layers": 4, "tokens": "mean"}
    made = vit1dx.extract((), tmp_path / "f.h5", **options)
    assert (made.done, len(made.failures)) == (1, 8)
    failures = dict(made.failures)
    for row, reason in rows:
        assert reason is None or reason in failures[row.rsplit(",", 1)[1]]
    again = vit1dx.extract((), tmp_path / "f.h5", **options)
    assert (again.done, again.already, len(again.failures)) == (0, 1, 8)
    # What is corrected or moved is done again, under the same id.
    (tmp_path / "s.csv").write_text("path,start,end,id\nx.wav,4,5,backwards\nx.wav,1,2,ok\n")
    fixed = vit1dx.extract((), tmp_path / "f.h5", **options, checksum=True)
    assert (fixed.done, fixed.changed, fixed.failures) == (2, 1, [])
    done = vit1dx.extract((), tmp_path / "f.h5", **options)
    assert (done.done, done.already) == (0, 2)


def test_ids_and_paths_follow_the_rules_of_lists(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    found = _rows(folder, "path,start,end\nx.wav,0.50,2e1\ny.wav,,\n")
    assert list(found) == ["x.wav#0.5-20", "y.wav#0-"]
    assert found["x.wav#0.5-20"].segment == Segment(0.5, 20.0)
    text = f"path,start,end\n{folder}/x.wav,1,2\n"
    assert list(_rows(folder, text, root=folder.parent)) == [f"{folder.name}/x.wav#1-2"]
    assert _rows(folder, text, exclude=["x.*"]) == {}
    (problem,) = _rows(folder, text, root="/elsewhere").values()
    assert "is not below --root /elsewhere" in (problem.problem or "")
    lines = '{"PATH": "x.wav", "start": "1", "end": null}\n\n[1]\n{"path":\n'
    (folder / "s.jsonl").write_text(lines)
    sources = collect_segments("s.jsonl")
    assert [s.id for s in sources] == ["x.wav#1-", "s.jsonl:3", "s.jsonl:4"]
    assert [bool(s.problem) for s in sources] == [False, True, True]
    (folder / "u.csv").write_bytes("path,start,end\nx.wav,1,2\n".encode("utf-16"))
    assert [s.id for s in collect_segments("u.csv")] == ["x.wav#1-2"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path;start;end\n", "no column path, start, end.*here it is path;start;end"),
        ("", "here it is empty"),
        ("file,start,end\n", "no column path;"),
    ],
)
def test_a_table_without_its_columns_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(vit1dx.UsageError, match=reason):
        collect_segments(tmp_path / "s.csv")


def test_what_is_no_table_of_segments_is_refused(tmp_path: Path) -> None:
    with pytest.raises(vit1dx.UsageError, match="No such file"):
        vit1dx.extract((), tmp_path / "f.h5", segments=tmp_path / "none.csv")
    with pytest.raises(vit1dx.UsageError, match="leave out paths"):
        vit1dx.extract("music", tmp_path / "f.h5", segments=tmp_path / "s.csv")


def test_a_dry_run_counts_segments(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (tmp_path / "s.csv").write_text("path,start,end\nx.wav,1,2\nx.wav,20,\n")
    told = vit1dx.extract((), tmp_path / "f.h5", segments=tmp_path / "s.csv", dry_run=True)
    assert told.forecast is not None
    assert (told.forecast.todo, told.forecast.workers) == (2, 1)
    assert told.forecast.audio_seconds == pytest.approx(11, abs=0.1)
    assert json.loads(json.dumps(told.to_dict()))["dry_run"]["todo"] == 2
