"""What a run would do: said, and not done."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import vit1dx

from ..conftest import RunCli


def test_a_dry_run_writes_nothing_and_tells_what_the_run_then_writes(
    songs: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_text("no music")
    told = vit1dx.extract(
        [songs, tmp_path], tmp_path / "f.h5", layers="4,8", root="/", dry_run=True
    )
    assert [path.name for path in tmp_path.iterdir()] == ["bad.wav"]
    assert told.forecast is not None
    assert (told.files, told.done, told.forecast.todo) == (3, 0, 3)
    assert told.forecast.guessed == 1
    assert told.forecast.speed is not None
    assert told.forecast.seconds is not None
    done = vit1dx.extract([songs, tmp_path], tmp_path / "f.h5", layers="4,8", root="/")
    assert abs(done.output_bytes - told.forecast.size.total) < 300_000  # tables
    before = (tmp_path / "f.h5").read_bytes()
    again = vit1dx.extract(
        [songs, tmp_path], tmp_path / "f.h5", layers="4,8", root="/", dry_run=True
    )
    assert (again.already, len(again.failures)) == (2, 1)
    assert again.forecast is not None
    assert (again.forecast.todo, again.forecast.seconds) == (0, None)
    assert (tmp_path / "f.h5").read_bytes() == before


def test_what_the_run_would_refuse_a_dry_run_refuses(songs: Path, tmp_path: Path) -> None:
    vit1dx.extract(songs, tmp_path / "f.h5", layers="4")
    with pytest.raises(vit1dx.UsageError, match="made differently"):
        vit1dx.extract(songs, tmp_path / "f.h5", layers="8", dry_run=True)
    with pytest.raises(vit1dx.StoreError, match="no folder"):
        vit1dx.extract(songs, tmp_path / "no" / "f.h5", dry_run=True)


def test_the_command_prints_it(cli: RunCli, songs: Path, tmp_path: Path) -> None:
    done = cli("extract", songs, "-o", "f/", "--dry-run")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("to do: 2 of 2 files (0 done before, 0 failed before), about 11")
    assert lines[-1] == "nothing was written"
    told = json.loads(cli("extract", songs, "-o", "f/", "--dry-run", "--json").stdout)
    assert told["dry_run"]["todo"] == 2
    assert list(tmp_path.iterdir()) == []


def test_of_a_part_it_tells_what_the_part_would_do(songs: Path, tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    for number in range(6):
        shutil.copy(next(songs.rglob("*.wav")), tmp_path / "music" / f"{number}.wav")

    def told(part: str, output: str = "f/", **options: Any) -> vit1dx.Summary:
        return vit1dx.extract(
            tmp_path / "music", f"{tmp_path}/{output}", layers=4, part=part, workers=1, **options
        )

    first, second = (told(f"{k}/2", dry_run=True) for k in (1, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["music"]
    assert first.forecast is not None
    assert second.forecast is not None
    assert first.files + second.files == first.forecast.todo + second.forecast.todo == 6
    assert first.forecast.free_bytes
    assert told("1/2").done == first.forecast.todo
    kept = sorted(path for path in tmp_path.rglob("*"))
    again, other = (told(f"{k}/2", dry_run=True) for k in (1, 2))
    assert again.forecast is not None
    assert (again.already, again.forecast.todo) == (first.forecast.todo, 0)
    assert other.forecast == replace(
        second.forecast,
        speed=other.forecast and other.forecast.speed,
        free_bytes=other.forecast and other.forecast.free_bytes,
    )
    assert sorted(path for path in tmp_path.rglob("*")) == kept
    with pytest.raises(vit1dx.UsageError, match="parts of 2, and --part 1/3 was asked for"):
        told("1/3", dry_run=True)
    with pytest.raises(vit1dx.StoreError, match="no folder"):
        told("1/2", "no/f/", dry_run=True)
    with pytest.raises(vit1dx.UsageError, match="is a file, not a folder"):
        told("1/2", "music/0.wav/", dry_run=True)
    with pytest.raises(vit1dx.UsageError, match=r"--dry-run with --scheduler s\.json"):
        vit1dx.extract(songs, f"{tmp_path}/f/", scheduler="s.json", dry_run=True)
