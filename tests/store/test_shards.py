"""A folder of shards: one output, of files that each keep to a limit and can be read alone."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile
import xarray

import vit1dx
from vit1dx._types import Array
from vit1dx.errors import StoreError, UsageError, WriteError
from vit1dx.extractor import Extractor
from vit1dx.run.estimate import grown_size
from vit1dx.run.pool import Pool
from vit1dx.run.run import Options, extract_all
from vit1dx.run.sources import collect
from vit1dx.store import folder
from vit1dx.store import track as buffer
from vit1dx.store.place import feature_files, parse_bytes, shard_limit
from vit1dx.store.repair import repair
from vit1dx.store.shards import FolderWriter
from vit1dx.store.verify import verify
from vit1dx.store.writer import FeatureWriter
from vit1dx.tokens import Tokens

from ..conftest import RunCli
from ..runs import require_same, short_tracks
from ..store.test_writer import ENGINES, _header, _tokens
from ..synth import song

LIMIT = 1_000_000
#: A track of three windows takes about 43 KB.
WINDOWS = 3


def _writer(tmp_path: Path, limit: int = LIMIT, **options: Any) -> FolderWriter:
    (tmp_path / "f").mkdir(exist_ok=True)
    return FolderWriter(tmp_path / "f", _header(), limit, **options)


def _put(writer: FolderWriter, track_id: str, seed: int, windows: int = WINDOWS) -> None:
    for _ in _grow(writer, track_id, [_tokens(windows, first=seed)], seed):
        pass


def _grow(
    writer: FolderWriter, track_id: str, batches: list[Tokens], seed: int = 0, size: int = 0
) -> Iterator[None]:
    """Write a track, batch by batch; `size` is what is expected where it grows on disk."""
    track = buffer.TokenBuffer(_Sink(writer, track_id, size), "float32")
    track.attributes = {
        "source": track_id,
        "size": seed,
        "mtime_ns": seed,
        "duration": 10.0,
        "sample_rate": 44100,
        "channels": 1,
    }
    for batch in batches:
        track.add(batch)
        yield
    track.finish()


class _Sink:
    """A place for a track, sought when its size is known, as a run does it."""

    def __init__(self, writer: FolderWriter, track_id: str, size: int) -> None:
        self._writer, self._id, self._size = writer, track_id, size
        self._track: Any = None

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return np.empty(shape, dtype)

    def keep(self, array: Array) -> Array:
        return array

    def append(self, parts: buffer.Parts) -> None:
        self._track = self._track or self._writer.begin(self._id, self._size)
        self._track.append(parts)

    def finish(self, parts: buffer.Parts, totals: buffer.Totals) -> None:
        track = self._track or self._writer.begin(self._id, buffer.size_of(parts) + 4000)
        track.finish(parts, totals)


def _sizes(path: Path) -> list[int]:
    return [file.stat().st_size for file in feature_files(path)]


def _require_tokens(track: vit1dx.Track, expected: Tokens) -> None:
    np.testing.assert_array_equal(
        track.read("sequence_tokens", layer=5), expected.sequence_tokens[1]
    )


def test_shards_are_filled_to_their_limit_and_read_as_one(tmp_path: Path) -> None:
    ids = [f"{seed % 3}/{seed}.wav" for seed in range(60)]
    with _writer(tmp_path) as writer:
        for seed, track_id in enumerate(ids):
            _put(writer, track_id, seed)
    sizes = _sizes(tmp_path / "f")
    assert len(sizes) == 4
    assert min(sizes[:-1]) > LIMIT / 2
    assert max(sizes) <= LIMIT
    with vit1dx.open(tmp_path / "f") as features:
        assert list(features) == sorted(ids)
        assert len(features) == 60
        assert features.layers == (2, 5)
        assert features.attributes["model_sha256"] == "abc"
        assert features.config["request"]["attention"] == "none"
        assert features.index()[ids[7]]["size"] == 7
        for seed, track_id in enumerate(ids):
            _require_tokens(features[track_id], _tokens(WINDOWS, first=seed))
        assert "0/61.wav" not in features


def test_each_shard_is_a_feature_file(tmp_path: Path) -> None:
    with _writer(tmp_path) as writer:
        for seed in range(40):
            _put(writer, f"{seed}.wav", seed)
    for number, path in enumerate(feature_files(tmp_path / "f")):
        assert not verify(path).problems
        with vit1dx.open(path) as features:
            assert features.attributes["shard"] == number
            assert features.attributes["finished"] == 1
            some = next(iter(features))
        for engine in ENGINES:
            with xarray.open_dataset(path, group=f"tracks/{some}", engine=engine) as data:
                assert data["sequence_tokens"].dims == ("layer", "time", "feature")


@pytest.mark.slow
def test_later_shards_override_earlier_ones(tmp_path: Path) -> None:
    def all_of(features: Any) -> Any:
        return features.index().keys(), features.failures

    everything = {f"{seed}.wav" for seed in range(30)}
    with _writer(tmp_path) as writer:
        for seed in range(30):
            _put(writer, f"{seed}.wav", seed)
        writer.fail("bad.wav", "it never was", 1, 1)
    with _writer(tmp_path) as writer:
        for seed in range(30, 60):  # two shards later
            _put(writer, f"{seed - 30}.wav", seed)
        writer.fail("3.wav", "it went", 7, 8)
        _put(writer, "bad.wav", 99)
    with vit1dx.open(tmp_path / "f") as features:
        assert all_of(features) == ({*everything, "bad.wav"}, {"3.wav": "it went"})
        _require_tokens(features["3.wav"], _tokens(WINDOWS, first=33))
        assert features.failed()["3.wav"]["mtime_ns"] == 8
        _require_tokens(features["4.wav"], _tokens(WINDOWS, first=34))
    with _writer(tmp_path) as writer:
        _put(writer, "3.wav", 5)
    with vit1dx.open(tmp_path / "f") as features:
        assert all_of(features) == ({*everything, "bad.wav"}, {})
    before = sum(_sizes(tmp_path / "f"))
    assert verify(tmp_path / "f").tracks == 31
    report = repair(tmp_path / "f")
    assert (report.problems, len(report.sound)) == ([], 31)
    assert sum(_sizes(tmp_path / "f")) < before * 0.6
    rows = [len(vit1dx.open(path)) for path in feature_files(tmp_path / "f")]
    assert sum(rows) == 31
    with vit1dx.open(tmp_path / "f") as features:
        _require_tokens(features["4.wav"], _tokens(WINDOWS, first=34))


@pytest.mark.parametrize("seed", range(4))
def test_tracks_that_grow_side_by_side_keep_to_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Tracks that grow, break off, or come as a whole, three at a time, in any order."""
    monkeypatch.setattr(buffer, "HELD_BYTES", 100_000)
    header, chance, limit = _header(), random.Random(seed), 6_000_000
    batches = [_tokens(WINDOWS, first=first) for first in range(14)]
    seconds = len(batches) * WINDOWS * 4.0
    size = grown_size(seconds, header.config, header.request, header.dtype)
    todo = [f"{number}.wav" for number in range(30)]
    growing: dict[str, Iterator[None]] = {}
    with _writer(tmp_path, limit) as writer:
        while todo or growing:
            if todo and len(growing) < 3:
                track_id = todo.pop()
                if chance.random() < 0.2:
                    _put(writer, track_id, 0)
                    continue
                growing[track_id] = _grow(writer, track_id, batches, size=size)
            track_id = chance.choice(list(growing))
            if chance.random() < 0.02:
                del growing[track_id]
                writer.fail(track_id, "it broke off")
            elif next(growing[track_id], "end") == "end":
                del growing[track_id]
            writer.commit_if_due()
    assert len(_sizes(tmp_path / "f")) > 3
    assert max(_sizes(tmp_path / "f")) <= limit
    assert not verify(tmp_path / "f").problems
    expected = np.concatenate([batch.arrays["sequence_tokens"][1] for batch in batches])
    with vit1dx.open(tmp_path / "f") as features:
        assert len(features) + len(features.failures) == 30
        assert len(features.failures) > 1
        for track in features.values():
            tokens = track.read("sequence_tokens", layer=5)
            np.testing.assert_array_equal(tokens, expected[: len(tokens)])
            assert len(tokens) in (WINDOWS * 125, len(expected))


def test_a_track_above_the_limit_has_a_shard_of_its_own(tmp_path: Path) -> None:
    with _writer(tmp_path) as writer:
        for seed, windows in enumerate((1, 100, 1, 1)):
            _put(writer, f"{seed}.wav", seed, windows)
    tracks = [list(vit1dx.open(path)) for path in feature_files(tmp_path / "f")]
    assert tracks == [["0.wav"], ["1.wav"], ["2.wav", "3.wav"]]


def test_many_failures_keep_to_the_limit(tmp_path: Path) -> None:
    with _writer(tmp_path) as writer:
        for number in range(3000):
            writer.fail(f"{number}.wav", "why " * 200)
            if number % 50 == 0:
                writer.commit_if_due()
    assert len(_sizes(tmp_path / "f")) > 2
    assert max(_sizes(tmp_path / "f")) <= LIMIT
    assert len(vit1dx.open(tmp_path / "f").failures) == 3000


@pytest.mark.slow
def test_few_shards_are_open_at_a_time(tmp_path: Path) -> None:
    with _writer(tmp_path) as writer:
        for seed in range(30):
            _put(writer, f"{seed}.wav", seed, 50)
    before = h5py.h5f.get_obj_count(types=h5py.h5f.OBJ_FILE)
    with vit1dx.open(tmp_path / "f") as features:
        assert len(feature_files(tmp_path / "f")) > 2 * folder.OPEN_SHARDS
        tracks = list(features.values())
        random.Random(0).shuffle(tracks)
        for track in tracks:
            _require_tokens(track, _tokens(50, first=int(track.id[:-4])))
            count = h5py.h5f.get_obj_count(types=h5py.h5f.OBJ_FILE)
            assert count - before <= folder.OPEN_SHARDS
    with pytest.raises(StoreError, match="was closed"):
        _ = tracks[0].time


def test_overwrite_replaces_all_shards(tmp_path: Path) -> None:
    for count, options in ((60, {}), (1, {"overwrite": True})):
        with _writer(tmp_path, **options) as writer:
            for seed in range(count):
                _put(writer, f"{seed}.wav", seed)
    assert os.listdir(tmp_path / "f") == ["00000.h5"]
    assert list(vit1dx.open(tmp_path / "f")) == ["0.wav"]


def test_a_shard_that_cannot_be_made_ends_the_run_with_all_that_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(WriteError, match=r"^[^\n]*00001\.h5 cannot be written: No space[^\n]*kept"):  # noqa: SIM117
        with _writer(tmp_path) as writer:
            monkeypatch.setattr(vit1dx.store.writer, "create", full)
            for seed in range(60):
                _put(writer, f"{seed}.wav", seed)
                writer.commit_if_due()
    monkeypatch.undo()
    assert len(vit1dx.open(tmp_path / "f")) >= 0
    with _writer(tmp_path) as writer:
        _put(writer, "then.wav", 0)
    assert "then.wav" in vit1dx.open(tmp_path / "f")


def test_a_folder_of_other_feature_files_is_refused(tmp_path: Path) -> None:
    with _writer(tmp_path) as writer:
        for seed in range(60):
            _put(writer, f"{seed}.wav", seed)
    shutil.copytree(tmp_path / "f", tmp_path / "g")
    with h5py.File(tmp_path / "f" / "00002.h5", "r+") as file:
        file.attrs["model_sha256"] = "other"
    FeatureWriter(tmp_path / "g" / "00003.h5", _header(), overwrite=True).close()
    (tmp_path / "empty").mkdir()
    for name, reason in (
        ("f", "00002.h5 was made differently from 00000.h5"),
        ("g", "00003.h5 was made as one file, and is no shard"),
        ("empty", "no feature files in"),
    ):
        with pytest.raises(StoreError, match=reason):
            vit1dx.open(tmp_path / name).index()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16GiB", 16 << 30),
        ("500MB", 500_000_000),
        ("1.5 tb", 1_500_000_000_000),
        ("2000kb", 2_000_000),
        ("1000000B", 1_000_000),
        ("5", "a unit"),
        ("many GB", "a unit"),
        ("1.2.3MB", "a unit"),
        ("-4GB", "a unit"),
        ("10kB", "1MB or more"),
        ("999999B", "1MB or more"),
    ],
)
def test_sizes_of_shards(text: str, size: int | str) -> None:
    if isinstance(size, int):
        assert parse_bytes(text) == size
    else:
        with pytest.raises(UsageError, match=size):
            parse_bytes(text)


def test_what_is_a_folder(tmp_path: Path) -> None:
    assert shard_limit(str(tmp_path), None) == 16 << 30
    assert shard_limit("nowhere/", "2MB") == 2_000_000
    assert shard_limit("nowhere.h5", None) is None
    assert shard_limit("nowhere/x.HDF5", None) is None
    for name in ("nowhere", "-", "x.npz", "x.h5.gz", "song.wav", ".h5"):
        with pytest.raises(UsageError, match=r"a name that ends in \.h5 or \.hdf5, or in '/'"):
            shard_limit(name, None)
    with pytest.raises(UsageError, match=r"--shard-size 1MB with one file, f\.h5"):
        shard_limit("f.h5", "1MB")


def make(**arguments: Any) -> Extractor:
    """Called in a worker, by name: it hands tracks on in small pieces."""
    buffer.HELD_BYTES = 100_000
    return Extractor(**arguments)


@pytest.mark.slow
def test_a_run_with_tracks_that_grow_keeps_to_the_limit(tmp_path: Path) -> None:
    music, limit = tmp_path / "music", 4_000_000
    music.mkdir()
    for number in range(12):
        samples = song(10.0 + 2 * (number % 4), 16000, seed=number)
        soundfile.write(music / f"{number}.flac", samples, 16000)
    soundfile.write(music / "long.flac", song(200.0, 16000), 16000)
    soundfile.write(music / "short.flac", song(1.0, 16000), 16000)
    (music / "bad.flac").write_text("no music")
    (tmp_path / "f").mkdir()
    options = Options(
        tmp_path / "f", limit, workers=3, quiet=True, factory="tests.store.test_shards:make"
    )
    with Pool() as pool:
        summary = extract_all(collect([str(music)]), Extractor("4"), options, pool)
    assert (summary.done, [key for key, _ in summary.failures]) == (14, ["bad.flac"])
    ((warned, warning),) = summary.warnings
    assert (warned, warning.code) == ("long.flac", "shard")
    assert "more than the 4.0 MB of a shard" in warning.text
    alone = [path for path in feature_files(tmp_path / "f") if "long.flac" in vit1dx.open(path)]
    assert list(vit1dx.open(alone[0])) == ["long.flac"]
    others = [path for path in feature_files(tmp_path / "f") if path not in alone]
    assert len(others) > 2
    assert max(path.stat().st_size for path in others) <= limit
    assert not verify(tmp_path / "f").problems
    with Pool() as pool:
        one = Options(tmp_path / "one.h5", quiet=True)
        extract_all(collect([str(music)]), Extractor("4"), one, pool)
    require_same(tmp_path / "f", tmp_path / "one.h5")


class TestCommands:
    """The command line, with an output of several shards."""

    ARGUMENTS = ("extract", "music", "-o", "f/", "--layers", "1", "--json", "--shard-size")

    def _run(self, cli: RunCli, *arguments: str, size: str = "1MB", code: int = 0) -> Any:
        result = cli(*self.ARGUMENTS, size, *arguments)
        assert result.returncode == code, result.stderr
        return json.loads(result.stdout)

    @pytest.fixture
    def done(self, cli: RunCli, tmp_path: Path) -> Path:
        """An output of several shards."""
        short_tracks(tmp_path, 60, seconds=1.0)
        assert self._run(cli)["done"] == 60
        assert len(feature_files(tmp_path / "f")) > 2
        return tmp_path / "f"

    def test_what_is_done_is_not_done_again(self, cli: RunCli, done: Path, tmp_path: Path) -> None:
        files = {path: path.read_bytes() for path in feature_files(done)}
        assert self._run(cli)["already"] == 60
        assert {path: path.read_bytes() for path in feature_files(done)} == files
        music = tmp_path / "music" / "0"
        soundfile.write(music / "1.wav", song(2.0), 44100)
        (music / "2.wav").unlink()
        (music / "3.wav").write_text("no music")
        soundfile.write(music / "new.wav", song(1.0), 44100)
        summary = self._run(cli, code=1, size="1.5MB")
        assert (summary["done"], summary["already"], summary["changed"]) == (2, 57, 2)
        assert (summary["gone"], summary["failed"]) == (["0/2.wav"], 1)
        closed = feature_files(done)[: len(files) - 1]
        assert all(path.read_bytes() == files[path] for path in closed)
        assert summary["outdated"] == ["0/3.wav"]
        summary = self._run(cli, code=1)
        assert (summary["done"], summary["already"], summary["failed"]) == (0, 59, 1)
        assert summary["outdated"] == ["0/3.wav"]
        with vit1dx.open(done) as features:
            assert set(features.failures) == {"0/3.wav"}
            assert features["0/1.wav"].duration == 2.0
            assert len(features) == 61  # those of 2.wav and 3.wav are kept
            assert features.attributes["finished"] == 1
        assert sorted(os.listdir(done)) == [path.name for path in feature_files(done)]

    @pytest.mark.slow
    def test_damage_is_found_cut_out_and_done_again(
        self, cli: RunCli, done: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(done, tmp_path / "whole")
        damaged = feature_files(done)[1]
        with h5py.File(damaged, "r+") as file:
            track_id = "0/" + next(iter(file["tracks/0"]))
            file["tracks"][track_id]["time"][0] = 7
        last = feature_files(done)[-1]
        os.truncate(last, last.stat().st_size // 2)
        result = cli("verify", "f", "--json")
        assert result.returncode == 1
        report = json.loads(result.stdout)
        problems = [(problem["id"], problem["problem"]) for problem in report["problems"]]
        assert (track_id, "time does not match its checksum") in problems
        assert any(text.startswith(f"{last.name}: was cut, from") for _, text in problems)
        assert cli("repair", "f").returncode == 1
        result = cli("verify", "f")
        assert (result.returncode, result.stdout[:2]) == (0, "f:")
        assert self._run(cli)["done"] == 60 - report["sound"]
        require_same(done, tmp_path / "whole")

    @pytest.mark.slow
    def test_a_shard_that_is_no_feature_file_any_more_costs_its_tracks(
        self, cli: RunCli, done: Path, tmp_path: Path
    ) -> None:
        first = feature_files(done)[0]
        with vit1dx.open(first) as features:
            lost = len(features)
        first.write_bytes(bytes(1000))
        for command in ("verify", "repair"):
            result = cli(command, "f/")
            assert result.returncode == 1
            assert "f: 00000.h5: " in result.stdout
            assert f"f: {60 - lost} of {60 - lost} tracks" in result.stdout
        assert "move it away, and 'extract' computes what is missing" in result.stdout
        first.unlink()
        assert self._run(cli)["done"] == lost

    @pytest.mark.slow
    def test_info(self, cli: RunCli, done: Path) -> None:
        about = json.loads(cli("info", "f", "--json").stdout)
        assert (about["kind"], about["tracks"], about["failures"]) == ("features", 60, 0)
        assert about["shards"] == len(feature_files(done))
        assert about["bytes"] == sum(_sizes(done))

    @pytest.mark.slow
    def test_overwrite(self, cli: RunCli, done: Path) -> None:
        assert self._run(cli, "--overlap", "0.5", "--overwrite")["done"] == 60
        assert vit1dx.open(done).config["window"]["overlap"] == 16

    @pytest.mark.slow
    def test_what_does_not_go_together_is_refused_in_one_line(
        self, cli: RunCli, done: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "one.h5").write_bytes(b"")
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "notes.txt").touch()
        before = {path: path.read_bytes() for path in feature_files(done)}
        for output, said in (
            (["one.h5/"], "one.h5 is a file, not a folder of shards"),
            (["f/00001.h5"], "f/00001.h5 is a shard of a folder; give the folder, f/"),
            (["f/00001.h5", "--overwrite"], "f/00001.h5 is a shard"),
            (["other"], "other holds files other than shards, such as notes.txt"),
            (["f", "--layers", "2"], "request.layers [1] there, [2] asked for"),
            (["one.h5", "--shard-size", "1MB"], "--shard-size 1MB with one file, one.h5"),
            (["f", "--shard-size", "1"], "size '1'; give a number with a unit"),
            (["no/f/"], "no folder no to write f into"),
        ):
            result = cli("extract", "music", "--layers", "1", "-o", *output)
            assert result.returncode == (5 if output == ["no/f/"] else 2), output
            assert said in result.stderr
            assert result.stderr.count("\n") == 1
        assert cli("repair", "f/00001.h5").returncode == 2
        assert {path: path.read_bytes() for path in feature_files(done)} == before

    @pytest.mark.slow
    def test_a_second_run_on_a_folder_is_refused(self, cli: RunCli, done: Path) -> None:
        holder = {"pid": 1, "host": "elsewhere", "boot": "x", "started": 1}
        (done / "lock").write_text(json.dumps(holder))
        for command in ((*self.ARGUMENTS, "1MB"), ("repair", "f")):
            result = cli(*command)
            assert result.returncode == 4
            assert "process 1 on elsewhere; if it is gone, remove f/lock" in result.stderr
