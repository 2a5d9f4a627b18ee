"""Long lists, in several forms: read a piece at a time, and begun at once."""

from __future__ import annotations

import json
import random
import shutil
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import soundfile

import vit1dx
from vit1dx.errors import UsageError
from vit1dx.run import lists, stream
from vit1dx.run.lists import Entry, FileList

from ..conftest import RunCli
from ..runs import require_same, short_tracks
from ..synth import song

ENTRIES = [Entry("a b.wav", "first"), Entry("ü/東京.flac"), Entry('x,"y".mp3', "a/2")]


def _write(path: Path, entries: list[Entry]) -> Path:
    rows = [{"path": path, "id": key} for path, key in entries]
    if path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix in (".jsonl", ".ndjson"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n", "utf-8")
    else:
        import csv

        with path.open("w", encoding="utf-8", newline="") as file:
            columns = ["id", "artist", "path"]
            table = csv.DictWriter(
                file, columns, delimiter="\t" if path.suffix == ".tsv" else ",", restval="?"
            )
            table.writeheader()
            table.writerows(rows)
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "ndjson", "parquet"])
def test_tables_give_paths_and_ids(tmp_path: Path, ending: str) -> None:
    listed = FileList(_write(tmp_path / f"list.{ending}", ENTRIES))
    assert list(listed) == ENTRIES
    assert list(listed) == ENTRIES  # it is read again
    assert listed.is_short


@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\0"])
def test_text_of_several_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, separator: bytes
) -> None:
    monkeypatch.setattr(lists, "BLOCK", 7)
    names = [f"{'x' * (n % 11 + 1)}{n}.wav" for n in range(50)]
    (tmp_path / "list.txt").write_bytes(separator.join(map(str.encode, names)))
    if separator == b"\0":
        monkeypatch.setattr(lists, "BLOCK", 20)
    assert [entry.path for entry in FileList(tmp_path / "list.txt")] == names


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "file,id\nx,1\n", r"has no column 'path'; its columns are \['file', 'id'\]"),
        ("a.csv", "", "has no column 'path'"),
        ("a.csv", "id,path\nx,y.mp3\nz\n", "line 3 has the path None"),
        ("a.jsonl", '{"path": "x"}\n{"path": 3}\n', "line 2 has the path 3"),
        ("a.jsonl", '{"path": "x"}\n[1]\n', r"line 2 is \[1\]; an object"),
        ("a.jsonl", '{"path": "x"\n', "line 1 is not JSON"),
        ("a.parquet", "PAR1", "list of files .*a.parquet"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, name: str, text: str, message: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        list(FileList(tmp_path / name))
    with pytest.raises(UsageError, match="No such file"):
        FileList(tmp_path / "none.csv")


def test_parquet_without_pyarrow_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").touch()
    with pytest.raises(UsageError, match=r"pip install 'vit1dx\[tables\]'"):
        list(FileList(tmp_path / "a.parquet"))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of more than three entries are long, and done a few at a time."""
    monkeypatch.setattr(lists, "SHORT", 3)
    monkeypatch.setattr(stream, "FIRST_BATCH", 2)
    monkeypatch.setattr(stream, "LARGEST_BATCH", 4)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("output", ["f.h5", "f/"])
def test_a_long_list_is_done_as_a_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    short_tracks(tmp_path, 9)
    names = sorted(f"music/0/{n}.wav" for n in range(9))
    Path("bad.wav").write_bytes(b"no audio")
    Path("list.txt").write_text("\n".join([*names, "bad.wav", "none.wav", "music/0/8.wav"]))

    def run(**options: Any) -> vit1dx.Summary:
        return vit1dx.extract([], output, files_from="list.txt", layers=[4], workers=1, **options)

    done = run(exclude=["7.wav"])
    # What stands twice in it is met again, and done by then.
    assert (done.files, done.done, done.already, len(done.failures)) == (11, 8, 1, 2)
    again = run()
    assert (again.files, again.done, again.already, len(again.failures)) == (12, 1, 9, 2)
    assert vit1dx.open(output).attributes["finished"] == 1
    vit1dx.extract(names, "whole.h5", layers=[4], workers=1, root=".")
    assert require_same(Path(output), Path("whole.h5")) > 9
    shutil.copy("music/0/1.wav", "music/0/2.wav")
    assert run(retry_failed=True).changed == 1
    with vit1dx.open(output) as features:
        assert set(features.failures) == {"bad.wav", "none.wav"}


@pytest.mark.usefixtures("short")
def test_a_long_list_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    short_tracks(tmp_path, 9)
    entries = [Entry(f"music/0/{n}.wav", f"song-{n}") for n in range(9)]
    _write(Path("list.csv"), entries)
    random.Random(3).shuffle(entries)
    _write(Path("other.jsonl"), entries)
    for number, name in ((1, "list.csv"), (2, "other.jsonl"), (3, "list.csv")):
        vit1dx.extract([], "f/", files_from=name, layers=[4], workers=1, part=f"{number}/3")
    with vit1dx.open("f") as features:
        assert str(features.parts) == "3 parts; all finished"
        assert list(features) == [f"song-{n}" for n in range(9)]


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a/1.wav,x", "a/2.wav,y", "a/3.wav,z", "a/4.wav,x"], "1.wav and .*4.wav would both be"),
        (["a/1.wav,x", "a/2.wav,y", "a/3.wav,x/3", "a/4.wav,w"], "3.wav would lie inside track x"),
    ],
)
def test_ids_that_cannot_stand_together_are_found_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.csv").write_text("\n".join(["path,id", *lines]))
    with pytest.raises(UsageError, match=message):
        vit1dx.extract([], "f.h5", files_from="list.csv", layers=[4])
    assert not Path("f.h5").exists()


def test_a_long_list_takes_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """27 bytes a line, and a batch, as measured; with room."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stream, "LARGEST_BATCH", 500)
    monkeypatch.setattr(lists, "BLOCK", 10_000)
    count = 20_000
    lines = (f"some/folder/{n // 100}/with/a/long/name/{n}.wav\n" for n in range(count))
    Path("list.txt").write_text("".join(lines))
    Path("one.txt").write_text("a.wav\n")
    list(stream.stream(FileList("one.txt")))  # imports what is needed
    tracemalloc.start()
    listed = FileList("list.txt")
    stream.require_names(listed, None)
    assert sum(len(batch) for batch in stream.stream(listed)) == count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


def test_standard_input_may_be_a_long_list(cli: RunCli, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", song(1), 44100)
    done = cli("extract", "--files-from", "-", "-o", "f.h5", "--layers", "4", "-q", stdin="a.wav\n")
    assert done.returncode == 0, done.stderr
    assert list(vit1dx.open(tmp_path / "f.h5")) == ["a.wav"]
