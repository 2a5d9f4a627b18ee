"""A folder of shards that several processes write at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import vit1dx
from vit1dx.errors import LockedError
from vit1dx.store.place import feature_files, locked_shards
from vit1dx.store.repair import repair
from vit1dx.store.shards import FolderWriter
from vit1dx.store.shared import SharedFolderWriter, recover_output
from vit1dx.store.verify import verify

from .test_shards import LIMIT, _put
from .test_writer import _header


def _shared(folder: Path, claimed: list[Path] | None = None) -> SharedFolderWriter:
    folder.mkdir(exist_ok=True)
    taken = claimed if claimed is not None else []
    return SharedFolderWriter(folder, _header(), LIMIT, taken.append)


def _die_writing(folder: Path, track_id: str) -> None:
    """Have a process commit a track, and end as by a kill."""
    child = os.fork()
    if not child:
        writer = _shared(folder)
        _put(writer, track_id, seed=3)
        writer.commit()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_two_writers_have_shards_of_their_own(tmp_path: Path) -> None:
    folder, claimed = tmp_path / "f", list[Path]()
    one, other = _shared(folder, claimed), _shared(folder, claimed)
    for seed in range(1, 61):  # more than a shard of each takes
        _put(one if seed % 2 else other, str(seed), seed)
    assert locked_shards(folder) == sorted(one.open_shards + other.open_shards)
    one.close()
    other.close()
    assert sorted(claimed) == feature_files(folder)
    assert len(claimed) > 3
    assert not locked_shards(folder)
    assert len(verify(folder).sound) == 60
    with vit1dx.open(folder) as features:
        assert features.attributes["finished"] == 0  # which only the run knows


def test_a_number_is_taken_once_though_its_shard_is_not_there_yet(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "00000.h5.lock").touch()
    (tmp_path / "f" / "00001.h5.lock").touch()
    with _shared(tmp_path / "f") as writer:
        assert [path.name for path in writer.open_shards] == ["00002.h5"]


def test_what_a_dead_writer_committed_is_there_and_its_lock_goes(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    _die_writing(folder, "a")
    assert [path.name for path in locked_shards(folder)] == ["00000.h5"]
    with vit1dx.open(folder) as features:
        assert list(features) == ["a"]
    (folder / "00007.h5.lock").touch()  # of one that died before its shard was there
    assert recover_output(folder) == []
    assert [path.name for path in folder.iterdir()] == ["00000.h5"]
    with FolderWriter(folder, _header(), LIMIT) as writer:
        _put(writer, "b", seed=4)
    assert [path.name for path in feature_files(folder)] == ["00000.h5"]
    assert sorted(verify(folder).sound) == ["a", "b"]


def test_a_shard_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    with _shared(folder) as living:
        _put(living, "a", seed=1)
        living.commit()
        assert [path.name for path in recover_output(folder)] == ["00000.h5"]
        with FolderWriter(folder, _header(), LIMIT) as writer:
            _put(writer, "b", seed=2)
        with pytest.raises(LockedError, match=r"00000\.h5 is being written"):
            repair(folder)
        _put(living, "c", seed=3)
    assert sorted(verify(folder).sound) == ["a", "b", "c"]
    assert [path.name for path in feature_files(folder)] == ["00000.h5", "00001.h5"]
