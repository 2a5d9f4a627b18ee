"""Feature files that become shards as they are, where a merge takes all of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import vit1dx
from vit1dx.store.lock import OutputLock
from vit1dx.store.merge import merge
from vit1dx.store.place import feature_files
from vit1dx.store.writer import FeatureWriter

from ..runs import require_same, with_small_files
from .test_merge import _file, _put

LIMIT = "3MB"


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    """Two files of 2.3 MB, with a failure in the first, and one of 0.4 MB between them."""
    large = [
        _file(tmp_path / f"{name}.h5", *(f"{name}/{n}.mp3" for n in range(20)), windows=8)
        for name in "ab"
    ]
    with FeatureWriter(large[0]) as writer:
        writer.fail("a/bad.mp3", "no audio", 5, 1)
    small = _file(tmp_path / "c.h5", *(f"c/{n}.mp3" for n in range(3)), windows=8)
    return [large[0], small, large[1]]


def _ids(folder: Path) -> list[set[str]]:
    """What is in each shard."""
    found = []
    for path in feature_files(folder):
        with h5py.File(path) as file:
            found.append(set(file["index/id"].asstr()[:]))
    return found


def test_what_is_large_enough_becomes_a_shard_and_the_rest_follows(
    inputs: list[Path], tmp_path: Path
) -> None:
    merged = merge(inputs, f"{tmp_path}/m/", shard_size=LIMIT)
    assert merged.is_good
    assert merged.report is not None
    assert (merged.copied, merged.failures, merged.report.tracks) == (43, 1, 43)
    a, small, b = (set(vit1dx.open(path)) for path in inputs)
    assert _ids(tmp_path / "m") == [a, b | small]
    merge(inputs, tmp_path / "by-track.h5")
    require_same(tmp_path / "m", tmp_path / "by-track.h5")
    with vit1dx.open(tmp_path / "m") as one, vit1dx.open(tmp_path / "by-track.h5") as other:
        assert dict(one.index()) == dict(other.index())
        assert one.failed() == other.failed() != {}
        ours, theirs = dict(one.attributes), dict(other.attributes)
        assert ours.pop("created") >= theirs.pop("created")[:10]
        assert ours == theirs
        for kind in ("mean", "class"):
            found, named = one.matrix(2, kind)
            expected, ids = other.matrix(2, kind)
            assert named == ids
            np.testing.assert_array_equal(found, expected)
    again = merge(inputs, f"{tmp_path}/m/", shard_size=LIMIT)
    assert (again.copied, again.already, again.failures) == (0, 43, 0)


def test_a_part_is_no_part_any_more(inputs: list[Path], tmp_path: Path) -> None:
    for path in inputs:
        with h5py.File(path, "r+", libver=("v108", "v108")) as file:
            file.attrs["shares"] = "how it was shared out"
            file.attrs["shard"] = 7
    merge(inputs, f"{tmp_path}/m/", shard_size=LIMIT)
    for number, path in enumerate(feature_files(tmp_path / "m")):
        with h5py.File(path) as file:
            assert "shares" not in file.attrs
            assert file.attrs["shard"] == number


def test_it_can_be_extended_and_replaced(inputs: list[Path], tmp_path: Path) -> None:
    merge(inputs[:1], f"{tmp_path}/m/", shard_size=LIMIT)
    merged = merge(inputs, f"{tmp_path}/m/", shard_size=LIMIT)
    assert (merged.copied, merged.already, merged.is_good) == (23, 20, True)
    newer = _file(tmp_path / "newer.h5", "b/3.mp3", *map(str, range(20)), windows=8, mtime_ns=2)
    merged = merge([*inputs, newer], f"{tmp_path}/m/", shard_size=LIMIT)
    assert (merged.copied, merged.is_good) == (21, True)
    with vit1dx.open(tmp_path / "m") as found, vit1dx.open(newer) as expected:
        np.testing.assert_array_equal(found["b/3.mp3"].mean_token, expected["b/3.mp3"].mean_token)
    merged = merge(inputs[2:], f"{tmp_path}/m/", shard_size=LIMIT, overwrite=True)
    assert merged.is_good
    require_same(tmp_path / "m", inputs[2])


@pytest.mark.parametrize("order", [1, -1])
def test_of_a_file_that_lost_a_track_to_another_the_rest_is_taken(
    inputs: list[Path], tmp_path: Path, order: int
) -> None:
    newer = _file(tmp_path / "newer.h5", "b/3.mp3", mtime_ns=2, seed=99)
    merged = merge([*inputs, newer][::order], f"{tmp_path}/m/", shard_size=LIMIT)
    assert (merged.copied, merged.duplicates, merged.is_good) == (43, 1, True)
    assert sum(map(len, _ids(tmp_path / "m"))) == 43
    with vit1dx.open(tmp_path / "m") as found, vit1dx.open(newer) as expected:
        np.testing.assert_array_equal(found["b/3.mp3"].mean_token, expected["b/3.mp3"].mean_token)


def test_a_failure_that_another_input_made_good_does_not_come_along(
    inputs: list[Path], tmp_path: Path
) -> None:
    good = _file(tmp_path / "good.h5", "a/bad.mp3")
    merged = merge([*inputs, good], f"{tmp_path}/m/", shard_size=LIMIT)
    assert (merged.copied, merged.failures, merged.is_good) == (44, 0, True)
    with vit1dx.open(tmp_path / "m") as features:
        assert not features.failed()
        assert "a/bad.mp3" in features


def test_of_a_damaged_file_the_sound_tracks_are_taken(inputs: list[Path], tmp_path: Path) -> None:
    with h5py.File(inputs[0], "r+") as file:
        del file["tracks/a/4.mp3"]
    merged = merge(inputs, f"{tmp_path}/m/", shard_size=LIMIT)
    assert [key for key, _ in merged.unread] == ["a/4.mp3"]
    assert merged.copied == 42
    assert merged.report is not None
    assert merged.report.is_good
    assert not [name for name in os.listdir(tmp_path / "m") if ".new" in name]


def test_a_file_at_work_is_read_at_a_commit(inputs: list[Path], tmp_path: Path) -> None:
    with OutputLock(inputs[2]), FeatureWriter(inputs[2]) as writer:
        _put(writer, "b/later.mp3")
        merged = merge(inputs, f"{tmp_path}/m/", shard_size=LIMIT)
    assert (merged.copied, merged.is_good) == (43, True)
    merged = merge(inputs, f"{tmp_path}/m/", shard_size=LIMIT)
    assert (merged.copied, merged.is_good) == (1, True)


def test_a_full_disk_keeps_what_was_finished(inputs: list[Path], tmp_path: Path) -> None:
    """Of files, here: no file may grow beyond 2 MB."""
    command = [sys.executable, "-m", "vit1dx", "merge", *map(str, inputs), "-o", "m/"]
    merged = with_small_files([*command, "--shard-size", LIMIT], tmp_path, 2 << 20)
    assert merged.returncode == 1
    assert merged.stderr.startswith("vit1dx: m/00000.h5 cannot be written: File too large;")
    assert merged.stderr.count("\n") == 1
    assert sorted(os.listdir(tmp_path / "m")) in ([], ["00000.h5"])
    assert merge(inputs, f"{tmp_path}/m/", shard_size=LIMIT).is_good
    merge(inputs, tmp_path / "by-track.h5")
    require_same(tmp_path / "m", tmp_path / "by-track.h5")
