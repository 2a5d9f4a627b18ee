"""What a file is: every command judges it alike, and none asks to destroy what is sound."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

import vit1dx
from vit1dx.errors import ForeignFileError, StoreError
from vit1dx.store.existing import require_extendable
from vit1dx.store.repair import repair
from vit1dx.store.shards import FolderWriter
from vit1dx.store.verify import verify
from vit1dx.store.writer import FeatureWriter

from ..conftest import RunCli
from ..store.test_shards import _put
from ..store.test_writer import _header, _tokens, _write

TRACKS = {"a/x.wav": [_tokens(1)], "y.wav": [_tokens(2, first=1)]}


def _copied(libver: str) -> Callable[[Path, Path], None]:
    def copy(path: Path, new: Path) -> None:
        with h5py.File(path) as old, h5py.File(new, "w", libver=libver) as file:
            file.attrs.update(old.attrs)
            for name in old:
                old.copy(name, file)

    return copy


def _fixed(path: Path, new: Path) -> None:
    """As `vit1dx` writes it, but for a table that cannot grow."""
    shutil.copy(path, new)
    with h5py.File(new, "r+") as file:
        sizes = file["index/size"][:]
        del file["index/size"]
        file["index/size"] = sizes


def _repacked(path: Path, new: Path) -> None:
    if shutil.which("h5repack") is None:
        pytest.skip("no h5repack")
    subprocess.run(["h5repack", path, new], check=True)


REWRITERS = {
    "h5py": _copied("earliest"),
    "h5py, latest": _copied("latest"),
    "fixed tables": _fixed,
    "h5repack": _repacked,
}


@pytest.mark.parametrize("program", REWRITERS)
def test_a_file_that_another_program_wrote_anew_is_good(tmp_path: Path, program: str) -> None:
    path = tmp_path / "f.h5"
    _write(tmp_path / "first.h5", TRACKS, _header())
    REWRITERS[program](tmp_path / "first.h5", path)
    before = path.read_bytes()
    with vit1dx.open(path) as features:
        assert list(features) == list(TRACKS)
    report = verify(path)
    assert (report.problems, report.sound) == ([], list(TRACKS))
    with pytest.raises(StoreError, match=r"can be read, but not extended.*vit1dx repair") as said:
        FeatureWriter(path, _header())
    assert "overwrite" not in str(said.value)
    assert path.read_bytes() == before
    assert repair(path).problems == []
    with FeatureWriter(path) as writer, writer.track("z.wav") as track:
        track.add(_tokens(1))
    assert list(vit1dx.open(path)) == [*TRACKS, "z.wav"]


@pytest.mark.slow
def test_commands_agree_on_a_file_written_anew(cli: RunCli, songs: Path, tmp_path: Path) -> None:
    shutil.copytree(songs, tmp_path / "music")
    extract = ("extract", "music", "--layers", "1", "-o", "f.h5", "-q")
    assert cli(*extract).returncode == 0
    (tmp_path / "f.h5").rename(tmp_path / "first.h5")
    REWRITERS["h5py"](tmp_path / "first.h5", tmp_path / "f.h5")
    for command in (("info", "f.h5"), ("verify", "f.h5"), extract):
        assert cli(*command).returncode == 0, command
    shutil.copy(tmp_path / "music" / "a" / "x.wav", tmp_path / "music" / "new.wav")
    result = cli(*extract)
    assert (result.returncode, result.stderr.count("\n")) == (5, 1)
    assert "run 'vit1dx repair' on it first" in result.stderr
    assert cli("repair", "f.h5").returncode == 0
    assert cli(*extract).returncode == 0
    assert len(vit1dx.open(tmp_path / "f.h5")) == 3


@pytest.mark.slow
@pytest.mark.parametrize("content", ["text", "empty", "other HDF5", "folder of text"])
def test_no_command_touches_a_file_of_another_kind(
    cli: RunCli, songs: Path, tmp_path: Path, content: str
) -> None:
    path = tmp_path / ("f/00000.h5" if content.startswith("folder") else "f.h5")
    path.parent.mkdir(exist_ok=True)
    if content == "other HDF5":
        with h5py.File(path, "w") as file:
            file["data"] = [1, 2]
    else:
        path.write_bytes(b"" if content == "empty" else b"notes")
    beside = path.with_name(path.name + ".journal")
    beside.write_text("mine")
    before = path.read_bytes()
    output = str(path.parent) if content.startswith("folder") else str(path)
    extract = ("extract", str(songs), "--layers", "1", "-o", output)
    for command in (("info", output), ("verify", output), ("repair", output), extract):
        result = cli(*command)
        assert result.returncode in (1, 5), command
        words = result.stdout + result.stderr
        assert "overwrite" not in words
        assert "remove" not in words
        assert (path.read_bytes(), beside.read_text()) == (before, "mine")
    result = cli(*extract, "--overwrite")
    assert result.returncode == (0 if content == "empty" else 5)
    assert (path.read_bytes() == before) == (content != "empty")


def test_a_file_with_several_names_is_not_changed_by_one(tmp_path: Path) -> None:
    _write(tmp_path / "f.h5", TRACKS, _header())
    os.link(tmp_path / "f.h5", tmp_path / "backup.h5")
    with pytest.raises(StoreError, match=r"has 2 names \(hard links\)"):
        FeatureWriter(tmp_path / "f.h5", _header())
    repair(tmp_path / "f.h5")
    require_extendable(tmp_path / "f.h5")
    assert list(vit1dx.open(tmp_path / "backup.h5")) == list(TRACKS)


def test_a_folder_goes_on_behind_a_shard_that_was_written_anew(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with FolderWriter(tmp_path / "f", _header(), 1_000_000) as writer:
        _put(writer, "x.wav", 1)
    shard = tmp_path / "f" / "00000.h5"
    shard.rename(tmp_path / "old.h5")
    REWRITERS["h5py"](tmp_path / "old.h5", shard)
    before = shard.read_bytes()
    with FolderWriter(tmp_path / "f", _header(), 1_000_000) as writer:
        _put(writer, "y.wav", 2)
    assert shard.read_bytes() == before
    assert list(vit1dx.open(tmp_path / "f")) == ["x.wav", "y.wav"]
    assert not verify(tmp_path / "f").problems


def test_single_files_are_no_shards_for_any_command(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with FolderWriter(tmp_path / "f", _header(), 1_000_000) as writer:
        _put(writer, "x.wav", 1)
    stranger = tmp_path / "f" / "00001.h5"
    _write(stranger, TRACKS, _header())
    before = stranger.read_bytes()
    with pytest.raises(StoreError, match="was made as one file, and is no shard"):
        vit1dx.open(tmp_path / "f")
    for check in (verify, repair):
        report = check(tmp_path / "f")
        assert "00001.h5: was made as one file" in report.problems[0][1]
        assert report.sound == ["x.wav"]
        assert stranger.read_bytes() == before


def test_overwriting_a_folder_removes_nothing_if_one_file_is_of_another_kind(
    tmp_path: Path,
) -> None:
    (tmp_path / "f").mkdir()
    FolderWriter(tmp_path / "f", _header(), 1_000_000).close()
    (tmp_path / "f" / "00001.h5").write_text("notes")
    with pytest.raises(ForeignFileError, match=r"00001\.h5 .*--overwrite replaces nothing else"):
        FolderWriter(tmp_path / "f", _header(), 1_000_000, overwrite=True)
    assert sorted(os.listdir(tmp_path / "f")) == ["00000.h5", "00001.h5"]


@pytest.mark.parametrize("loss", ["table", "row"])
def test_repair_keeps_tracks_that_the_index_has_lost(tmp_path: Path, loss: str) -> None:
    path = tmp_path / "f.h5"
    _write(path, TRACKS, _header())
    with h5py.File(path, "r+") as file:
        if loss == "table":
            del file["index"]
        else:
            for column in file["index"].values():
                column.resize(1, axis=0)
    assert [text for key, text in verify(path).problems if key] == ["is not in the index"] * (
        2 if loss == "table" else 1
    )
    repair(path)
    assert not verify(path).problems
    with vit1dx.open(path) as features:
        assert list(features) == list(TRACKS)
        assert features.index()["y.wav"]["size"] == 123


@pytest.mark.slow
@pytest.mark.parametrize("name", ["f.h5", "link.h5", "./f.h5", "F.h5"])
def test_an_output_that_is_among_the_files_to_read_is_refused(
    cli: RunCli, songs: Path, tmp_path: Path, name: str
) -> None:
    assert cli("extract", songs, "--layers", "1", "-o", "f.h5").returncode == 0
    (tmp_path / "link.h5").symlink_to("f.h5")
    (tmp_path / "song.wav").symlink_to("f.h5")
    before = (tmp_path / "f.h5").read_bytes()
    output = "f.h5" if name == "F.h5" else name
    source = "song.wav" if name == "F.h5" else "f.h5"
    result = cli("extract", source, "--layers", "1", "-o", output, "--overwrite")
    assert (result.returncode, "is among the files to read" in result.stderr) == (2, True)
    assert (tmp_path / "f.h5").read_bytes() == before


@pytest.mark.parametrize("name", ["song.wav", "x.npz", "x", "-"])
def test_an_output_that_would_be_no_hdf5_is_refused(
    cli: RunCli, songs: Path, tmp_path: Path, name: str
) -> None:
    shutil.copy(songs / "a" / "x.wav", tmp_path / "song.wav")
    before = (tmp_path / "song.wav").read_bytes()
    result = cli("extract", "song.wav", "--layers", "1", "-o", name, "--overwrite")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "give a name that ends in .h5 or .hdf5" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"song.wav"}
    assert (tmp_path / "song.wav").read_bytes() == before
