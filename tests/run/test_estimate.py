"""What is expected of files before they are decoded, and what is done where that is not known."""

from __future__ import annotations

import json
import shutil
import struct
from collections import namedtuple
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import soundfile

import vit1dx
from vit1dx.errors import SpaceError
from vit1dx.extractor import Extractor
from vit1dx.run.estimate import (
    PROBED_FILES,
    Durations,
    Size,
    estimate_seconds,
    most_seconds,
    require_space,
)
from vit1dx.run.pool import Pool
from vit1dx.run.results import Summary
from vit1dx.run.room import LEFT_FREE, NoRoom, Room
from vit1dx.run.run import Options, extract_all
from vit1dx.run.sources import Source, collect
from vit1dx.store.verify import verify

from ..conftest import RunCli
from ..synth import song

RATE = 16000


def _source(name: str, size: int = 1_000_000, problem: str | None = None) -> Source:
    return Source(name, Path(name), size, problem=problem)


def _estimate(sources: Sequence[Source], declared: Mapping[str, float]) -> Durations:
    return estimate_seconds(sources, lambda probed: {s.id: declared[s.id] for s in probed})


@pytest.mark.parametrize("declared", [2**63 / 44100, 4e12, 1e4, float("inf")])
@pytest.mark.parametrize("ending", ["flac", "mp3", "webm", "wav"])
def test_what_a_file_cannot_hold_is_no_duration(ending: str, declared: float) -> None:
    bad, good = _source(f"bad.{ending}"), _source(f"good.{ending}")
    found = _estimate([bad, good], {bad.id: declared, good.id: 60.0})
    assert found.seconds == {bad.id: most_seconds(bad), good.id: 60.0}
    assert found.sound == {good.id: 60.0}
    ((named, warning),) = found.warnings()
    assert (named, warning.code) == (bad.id, "length")
    assert f"{declared:.4g} s" in warning.text


@pytest.mark.parametrize("declared", [float("nan"), -1.0, 0.0])
def test_what_is_no_duration_at_all_is_a_guess_by_the_ending(declared: float) -> None:
    sources = [_source("odd.ogg", 3_000_000), _source("good.ogg")]
    found = _estimate(sources, {"odd.ogg": declared, "good.ogg": 60.0})
    assert found.seconds == pytest.approx({"odd.ogg": 180.0, "good.ogg": 60.0})
    assert (found.guessed, found.impossible) == ({"odd.ogg"}, {})


def test_real_music_is_within_what_its_file_can_hold(tmp_path: Path) -> None:
    """Also what encoders make smallest: mp3 at 8 kbit/s, and the slowest ADPCM."""
    samples = song(10.0, 8000)
    made: dict[str, dict[str, Any]] = {
        "a.mp3": {"bitrate_mode": "CONSTANT", "compression_level": 0.999},
        "b.wav": {"subtype": "IMA_ADPCM"},
        "c.wav": {"subtype": "GSM610"},
        "d.ogg": {"compression_level": 1.0},
        "e.opus": {"format": "OGG", "subtype": "OPUS", "compression_level": 1.0},
        "f.flac": {},
    }
    for name, options in made.items():
        soundfile.write(tmp_path / name, samples, 8000, **options)
    sources = collect([str(tmp_path)])
    assert len(sources) == 6
    for source in sources:
        assert most_seconds(source) > 10.0, source.id


def test_the_others_of_an_ending_follow_from_those_that_were_read() -> None:
    sources = [_source(f"{n}.mp3", 1000 * (n + 1)) for n in range(2 * PROBED_FILES)]
    asked: list[Source] = []

    def probe(probed: Sequence[Source]) -> dict[str, float]:
        asked.extend(probed)
        return {source.id: source.size / 16000 for source in probed}

    found = estimate_seconds(sources, probe)
    assert len(asked) == PROBED_FILES
    assert found.seconds == pytest.approx({s.id: s.size / 16000 for s in sources})
    assert not found.guessed


def test_where_no_header_says_it_is_a_guess_that_the_others_do_not_bear() -> None:
    """A film's bytes are pictures, whatever an audio file of its ending may be."""
    sources = [_source("film.mkv", 4 << 30), _source("song.mp3", 1_600_000)]
    found = _estimate(sources, {"song.mp3": 100.0, "film.mkv": 0.0})
    assert found.sound == {"song.mp3": 100.0}
    assert 3600 < found.seconds["film.mkv"] < 12 * 3600


def test_what_cannot_be_used_is_not_opened_and_takes_no_time() -> None:
    sources = [_source("pipe.wav", 0), _source("link.wav", problem="out of the folder")]
    found = estimate_seconds(sources, lambda probed: {s.id: 1.0 for s in probed})
    assert found == Durations({"pipe.wav": 0.0, "link.wav": 0.0}, set(), {})


def test_a_refusal_names_the_file_that_most_is_for(tmp_path: Path) -> None:
    size = Size(1 << 62, 0)
    with pytest.raises(SpaceError, match=r"most of it for long\.flac of 10 h"):
        require_space(tmp_path / "f.h5", size, {"long.flac": 36000.0, "b.flac": 60.0})
    with pytest.raises(SpaceError, match=r"attention 0 B\) and"):
        require_space(tmp_path / "f.h5", size, {"a.flac": 60.0, "b.flac": 60.0})


def _lying_flac(path: Path) -> None:
    """A FLAC file whose header declares 2**36 - 1 samples."""
    soundfile.write(path, song(3.0), 44100)
    data = bytearray(path.read_bytes())
    data[21] |= 15
    data[22:26] = b"\xff" * 4
    path.write_bytes(data)


def _lying_mp3(path: Path) -> None:
    """An mp3 whose Xing header counts 2**31 - 1 frames."""
    soundfile.write(path, song(3.0), 44100)
    data = bytearray(path.read_bytes())
    at = max(data.find(b"Xing"), data.find(b"Info"))
    assert at > 0
    data[at + 8 : at + 12] = struct.pack(">I", 0x7FFFFFFF)
    path.write_bytes(data)


@pytest.mark.slow
def test_one_header_that_lies_does_not_stop_the_others(cli: RunCli, tmp_path: Path) -> None:
    music = tmp_path / "music"
    music.mkdir()
    _lying_flac(music / "bad.flac")
    _lying_mp3(music / "bad.mp3")
    soundfile.write(music / "good.wav", song(3.0), 44100)
    result = cli("extract", "music", "-o", "f.h5", "--json")
    summary = json.loads(result.stdout)
    assert "good.wav" in vit1dx.open(tmp_path / "f.h5")
    lengths = {w["id"] for w in summary["warnings"] if w["code"] == "length"}
    assert lengths == {"bad.flac", "bad.mp3"}
    assert summary["warning_counts"]["length"] == 2
    assert "files of unknown length: 2;" in result.stderr
    assert "warning: bad.flac: its header declares" in result.stderr


Usage = namedtuple("Usage", "total used free")


def test_room_is_watched_only_where_something_was_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, LEFT_FREE + 100))
    Room(tmp_path / "f.h5", []).require("a.wav", 1 << 40)
    room = Room(tmp_path / "f.h5", ["b.mkv", "a.mkv"])
    room.require("a.wav", 100)
    with pytest.raises(NoRoom, match=r"for a\.wav .* the length of 2 files, such as a\.mkv"):
        room.require("a.wav", 101)


def _run(music: Path, output: Path) -> Summary:
    with Pool() as pool:
        options = Options(output, workers=1, quiet=True)
        return extract_all(collect([str(music)]), Extractor(1), options, pool)


def test_a_run_ends_with_what_it_finished_where_the_room_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    music = tmp_path / "music"
    music.mkdir()
    for number in range(4):
        soundfile.write(music / f"{number}.wav", song(2.0, RATE), RATE)
    _lying_flac(music / "bad.flac")
    asked: list[object] = []

    def usage(path: object) -> Usage:
        asked.append(path)
        return Usage(0, 0, 1 << 40 if len(asked) <= 3 else LEFT_FREE)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    summary = _run(music, tmp_path / "f.h5")
    assert "no room left" in str(summary.stopped)
    assert "bad.flac" in str(summary.stopped)
    assert 0 < summary.done < 4
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert len(features) == summary.done
        assert not features.attributes["finished"]
    assert not verify(tmp_path / "f.h5").problems
    monkeypatch.undo()
    again = _run(music, tmp_path / "f.h5")
    assert (again.already, again.stopped) == (summary.done, None)


@pytest.mark.parametrize("memory", ["inf", "1e11"])
def test_memory_without_a_limit(cli: RunCli, songs: Path, memory: str) -> None:
    result = cli("extract", songs / "a", "-o", "f.h5", "--layers", "1", "--memory", memory)
    assert result.returncode == 0, result.stderr
