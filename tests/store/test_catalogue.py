"""One index over the shards of a folder: it says what they say, whatever has happened to them."""

from __future__ import annotations

import os
import pickle
import shutil
import sqlite3
from pathlib import Path

import pytest

import vit1dx
from vit1dx.store import catalogue
from vit1dx.store.place import CATALOGUE_NAME, feature_files, shard_path
from vit1dx.store.reader import FeatureFile
from vit1dx.store.shards import Shard

from .test_merge import _put
from .test_writer import _header

SHARDS = 10


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of shards."""
    folder = tmp_path_factory.mktemp("shards")
    for number in range(SHARDS):
        _shard(folder, number, "same.mp3", f"{number}/{number}.mp3")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shards that count as written long ago."""
    monkeypatch.setattr(catalogue, "SETTLED", 0.0)
    return Path(shutil.copytree(made, tmp_path / "f"))


def _shard(folder: Path, number: int, *ids: str, failed: str = "") -> None:
    with Shard(shard_path(folder, number), _header()) as shard:
        for track_id in ids:
            _put(shard, track_id, seed=number, mtime_ns=number)
        if failed:
            shard.fail(failed, f"as of {number}")


def _looked(folder: Path) -> tuple[list[str], dict[str, str], dict[str, int]]:
    """What the folder holds, as read."""
    with vit1dx.open(folder) as features:
        ids = list(features)
        assert len(features) == len(ids)
        assert set(features.index()) == set(ids)
        assert [features.row(key) for key in ids] == [features.index()[key] for key in ids]
        return ids, features.failures, {key: features[key].attributes["mtime_ns"] for key in ids}


def _true(folder: Path) -> tuple[list[str], dict[str, str], dict[str, int]]:
    """The same, shard by shard."""
    ids: set[str] = set()
    failures: dict[str, str] = {}
    times = {}
    for path in feature_files(folder):
        with FeatureFile(path) as shard:
            for key in shard:
                failures.pop(key, None)
                ids.add(key)
                times[key] = shard[key].attributes["mtime_ns"]
            failures.update(shard.failures)
    return sorted(ids), failures, dict(sorted(times.items()))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the shards that were opened."""
    names: list[str] = []
    before = FeatureFile.__init__

    def noted(self: FeatureFile, path: Path, damaged: bool = False) -> None:
        names.append(Path(path).name)
        before(self, path, damaged)

    monkeypatch.setattr(FeatureFile, "__init__", noted)
    return names


def test_later_only_the_shards_that_are_read_are_opened(folder: Path, opened: list[str]) -> None:
    assert _looked(folder) == _true(folder)
    assert (folder / CATALOGUE_NAME).is_file()
    opened.clear()
    with vit1dx.open(folder) as features:
        assert opened == ["00000.h5"]
        assert len(features) == SHARDS + 1
        assert features["7/7.mp3"].attributes["mtime_ns"] == 7
        assert features["same.mp3"].attributes["mtime_ns"] == SHARDS - 1
        assert opened == ["00000.h5", "00007.h5", "00009.h5"]
        assert "none.mp3" not in features
        copy = pickle.loads(pickle.dumps(features))
        assert list(copy) == list(features)


def _change(folder: Path) -> None:
    _shard(folder, 5, "new.mp3", "3/3.mp3", failed="0/0.mp3")


def _remove(folder: Path) -> None:
    shard_path(folder, SHARDS - 1).unlink()


def _append(folder: Path) -> None:
    for number in range(SHARDS, SHARDS + catalogue.MANY_SHARDS + 1):
        _shard(folder, number, f"more/{number}.mp3", failed="1/1.mp3")


def _replace(folder: Path) -> None:
    shard_path(folder, 3).unlink()
    _shard(folder, 3, "other.mp3")


def _damage(folder: Path) -> None:
    (folder / CATALOGUE_NAME).write_bytes(b"SQLite format 3\0 and so on" * 99)


def _cut(folder: Path) -> None:
    data = (folder / CATALOGUE_NAME).read_bytes()
    (folder / CATALOGUE_NAME).write_bytes(data[: len(data) // 2])


def _spoil(folder: Path) -> None:
    """All but its beginning, which has the tables' names."""
    data = bytearray((folder / CATALOGUE_NAME).read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 4096] = b"\xa5" * 4096
    (folder / CATALOGUE_NAME).write_bytes(data)


def _other_version(folder: Path) -> None:
    with sqlite3.connect(folder / CATALOGUE_NAME) as file:
        file.execute("ALTER TABLE tracks DROP COLUMN warnings")


@pytest.mark.parametrize(
    "happens", [_change, _remove, _append, _replace, _damage, _cut, _spoil, _other_version]
)
def test_what_has_changed_shows(folder: Path, happens: object) -> None:
    _looked(folder)
    assert callable(happens)
    happens(folder)
    assert _looked(folder) == _true(folder)
    assert _looked(folder) == _true(folder)
    assert os.listdir(folder).count(CATALOGUE_NAME) == 1
    assert not [name for name in os.listdir(folder) if name.startswith(".")]


def test_tracks_are_listed_some_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "ROWS", 5)
    assert _looked(folder) == _true(folder)


def test_a_folder_that_may_not_be_written_to_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "replace", refuse)
    assert _looked(folder) == _true(folder)
    assert not (folder / CATALOGUE_NAME).exists()


def test_a_few_shards_need_no_index(tmp_path: Path) -> None:
    for number in range(3):
        _shard(tmp_path, number, f"{number}.mp3")
    assert _looked(tmp_path) == _true(tmp_path)
    assert not (tmp_path / CATALOGUE_NAME).exists()


def test_a_shard_that_is_being_written_is_read_itself(folder: Path) -> None:
    (folder / "lock").touch()
    _looked(folder)
    assert not (folder / CATALOGUE_NAME).exists()
    (folder / "lock").unlink()
    with Shard(shard_path(folder, SHARDS - 1), _header()) as shard:
        _put(shard, "growing.mp3")
        shard.commit()
        assert "growing.mp3" in vit1dx.open(folder)
    assert "growing.mp3" in vit1dx.open(folder)
