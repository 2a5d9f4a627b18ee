"""`vit1dx merge`: tracks of several outputs in one, as they are stored."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray

import vit1dx
from vit1dx.errors import NoFilesError, StoreError, UsageError
from vit1dx.store.format import Header
from vit1dx.store.merge import merge
from vit1dx.store.place import feature_files
from vit1dx.store.writer import FeatureWriter

from ..conftest import RunCli
from ..runs import require_same
from .test_writer import ENGINES, _header, _tokens


def _put(
    writer: FeatureWriter,
    track_id: str,
    seed: int = 0,
    mtime_ns: int = 1,
    windows: int = 2,
    attention: str = "none",
    more: Mapping[str, Any] = {},
) -> None:
    with writer.track(track_id) as track:
        tokens = _tokens(windows, attention, first=seed)
        if tokens.attention is not None:
            maps = tokens.attention / tokens.attention.sum(axis=-1, keepdims=True)
            tokens = replace(tokens, arrays={**tokens.arrays, "attention": maps})
        track.add(tokens)
        track.attributes = {
            "source": f"/music/{track_id}",
            "size": 1,
            "mtime_ns": mtime_ns,
            "duration": 4.0 * windows,
            "sample_rate": 44100,
            "channels": 2,
            "warnings": ["clipping: many", "dc: some, ö"],
            **more,
        }


def _file(path: Path, *ids: str, header: Header | None = None, **put: Any) -> Path:
    """A feature file with tracks of these ids, all different."""
    with FeatureWriter(path, header or _header()) as writer:
        for track_id in ids:
            seed = sum(track_id.encode())
            _put(writer, track_id, **{"seed": seed, **put})
    return path


@pytest.mark.parametrize("attention", ["none", "class", "full"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_merged_is_as_it_was(tmp_path: Path, attention: str, dtype: str) -> None:
    """Arrays, attributes, and the names of all axes."""
    header = _header(attention, dtype)
    ids = ["a/b.mp3", "Ünicode 東京.ogg", " .dots..wav"]
    inputs = [
        _file(tmp_path / f"{n}.h5", key, header=header, attention=attention)
        for n, key in enumerate(ids)
    ]
    merged = merge(inputs, tmp_path / "all.h5")
    assert merged.is_good
    assert (merged.copied, merged.inputs, merged.failures) == (3, 3, 0)
    with h5py.File(tmp_path / "all.h5") as file:
        for path, key in zip(inputs, ids, strict=True):
            with h5py.File(path) as before:
                _require_same_group(before["tracks"][key], file["tracks"][key])
    with vit1dx.open(tmp_path / "all.h5") as features:
        assert set(features) == set(ids)
        assert features.attributes["finished"] == 1
        for path, key in zip(inputs, ids, strict=True):
            with vit1dx.open(path) as before:
                assert features.row(key) == before.row(key)


def _require_same_group(before: h5py.Group, after: h5py.Group) -> None:
    assert set(before) == set(after)
    _require_same_attributes(before, after)
    for name, data in before.items():
        np.testing.assert_array_equal(data[...], after[name][...], strict=True)
        _require_same_attributes(data, after[name])
        assert after[name].is_scale == data.is_scale
        for ours, theirs in zip(data.dims, after[name].dims, strict=True):
            assert [scale.name for scale in ours.values()] == [s.name for s in theirs.values()]
            assert all(scale.file == after.file for scale in theirs.values())


def _require_same_attributes(one: Any, other: Any) -> None:
    names = set(one.attrs) - {"DIMENSION_LIST"}
    assert names == set(other.attrs) - {"DIMENSION_LIST"}
    for name in names:
        np.testing.assert_array_equal(one.attrs[name], other.attrs[name])


@pytest.mark.parametrize("engine", ENGINES)
def test_other_readers_name_the_axes(tmp_path: Path, engine: str) -> None:
    header = _header("full")
    inputs = [
        _file(tmp_path / f"{n}.h5", f"{n}.ogg", header=header, attention="full") for n in (1, 2)
    ]
    merge(inputs, f"{tmp_path}/all/")
    with xarray.open_dataset(
        tmp_path / "all" / "00000.h5", group="tracks/2.ogg", engine=engine
    ) as track:
        assert track.attention.dims == ("layer", "window", "head", "query", "key")
        assert track.sequence_tokens.sel(layer=5).dims == ("time", "feature")


def test_compressed_arrays_stay_compressed(tmp_path: Path) -> None:
    """As h5repack may leave them: nothing is decoded."""
    path = _file(tmp_path / "a.h5", "a.mp3")
    with h5py.File(path, "r+") as file:
        track = file["tracks/a.mp3"]
        values, attributes = track["class_token"][:], dict(track["class_token"].attrs)
        del track["class_token"]
        data = track.create_dataset("class_token", data=values, chunks=True, compression="gzip")
        data.attrs["crc32"] = attributes["crc32"]
        for axis, name in enumerate(("layer", "window", "feature")):
            data.dims[axis].attach_scale(track[name] if name in track else file[name])
    assert merge([path], tmp_path / "b.h5").is_good
    with h5py.File(tmp_path / "b.h5") as file:
        data = file["tracks/a.mp3/class_token"]
        assert data.compression == "gzip"
        assert [axis[0].name for axis in data.dims] == [
            "/tracks/a.mp3/layer",
            "/tracks/a.mp3/window",
            "/feature",
        ]
        assert "REFERENCE_LIST" not in file["tracks/a.mp3/layer"].attrs


def test_axes_that_another_program_left_without_names_get_them(tmp_path: Path) -> None:
    """A plain H5Ocopy, as h5copy makes it, leaves references to nothing."""
    path = _file(tmp_path / "a.h5", "a.mp3", header=_header("class"), attention="class")
    with h5py.File(path, "r+") as file, h5py.File(tmp_path / "c.h5", "w") as other:
        file.copy("tracks/a.mp3", other, "t")
        del file["tracks/a.mp3"]
        other.copy("t", file["tracks"], "a.mp3")
    assert merge([path], tmp_path / "b.h5").is_good
    with h5py.File(tmp_path / "b.h5") as file:
        dims = file["tracks/a.mp3/attention"].dims
        assert [axis[0].name.rpartition("/")[2] for axis in dims] == [
            "layer",
            "window",
            "head",
            "key",
        ]


def test_shards_and_files_into_new_shards(tmp_path: Path) -> None:
    ids = [f"{n}.mp3" for n in range(30)]
    _file(tmp_path / "a.h5", *ids[:20], windows=8)
    merge([tmp_path / "a.h5"], f"{tmp_path}/one/", shard_size="1MB")
    _file(tmp_path / "b.h5", *ids[20:], windows=8)
    merged = merge([tmp_path / "one", tmp_path / "b.h5"], f"{tmp_path}/two/", shard_size="1MB")
    assert merged.is_good
    shards = feature_files(tmp_path / "two")
    assert len(shards) > len(feature_files(tmp_path / "one")) > 1
    assert max(file.stat().st_size for file in shards) <= 1_000_000
    merge([tmp_path / "two"], tmp_path / "whole.h5")
    merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "other.h5")
    assert require_same(tmp_path / "two", tmp_path / "whole.h5") == 30 * 7
    require_same(tmp_path / "whole.h5", tmp_path / "other.h5")


def test_of_two_tracks_of_an_id_the_newer_counts(tmp_path: Path) -> None:
    old = _file(tmp_path / "old.h5", "x.mp3", "y.mp3", mtime_ns=1, seed=1)
    new = _file(tmp_path / "new.h5", "x.mp3", mtime_ns=2, seed=2)

    def value(path: Path) -> Any:
        with vit1dx.open(path) as features:
            assert set(features) == {"x.mp3", "y.mp3"}
            return features["x.mp3"].mean_token

    with vit1dx.open(new) as features:
        newest = features["x.mp3"].mean_token
    for order in ([old, new], [new, old]):
        merged = merge(order, tmp_path / "m.h5", overwrite=True)
        assert merged.duplicates == 1
        np.testing.assert_array_equal(value(tmp_path / "m.h5"), newest)
    merge([old], tmp_path / "grows.h5")
    assert merge([old, new], tmp_path / "grows.h5").copied == 1
    np.testing.assert_array_equal(value(tmp_path / "grows.h5"), newest)
    assert merge([old], tmp_path / "grows.h5").copied == 0
    np.testing.assert_array_equal(value(tmp_path / "grows.h5"), newest)
    merge([old, new], tmp_path / "first.h5", duplicates="first")
    assert not np.array_equal(value(tmp_path / "first.h5"), newest)
    with pytest.raises(UsageError, match=r"track x\.mp3 is in .*old\.h5 and in .*new\.h5"):
        merge([old, new], tmp_path / "e.h5", duplicates="error")
    assert not (tmp_path / "e.h5").exists()


def test_segments_stay_what_they_are_and_another_one_replaces_them(tmp_path: Path) -> None:
    """Of one file, with one duration: the place alone tells them apart."""
    begin = {"segment": "0-8", "segment_start": 0.0, "segment_end": 8.0}
    later = {"segment": "2-10", "segment_start": 2.0, "segment_end": 10.0}
    _file(tmp_path / "a.h5", "x", "y", more=begin)
    with FeatureWriter(tmp_path / "a.h5") as writer:
        writer.fail("z", "no audio", 5, 1, "1-2")
    merge([tmp_path / "a.h5"], tmp_path / "m.h5")
    with vit1dx.open(tmp_path / "a.h5") as one, vit1dx.open(tmp_path / "m.h5") as other:
        assert one.index() == other.index()
        assert one.failed() == other.failed()
        assert other["x"].attributes == one["x"].attributes
        assert (other["x"].start, other.index()["x"]["segment"]) == (0.0, "0-8")
    _file(tmp_path / "a.h5", "x", more=later)
    assert merge([tmp_path / "a.h5"], tmp_path / "m.h5").copied == 1
    with vit1dx.open(tmp_path / "m.h5") as features:
        assert {key: row["segment"] for key, row in features.index().items()} == {
            "x": "2-10",
            "y": "0-8",
        }


def test_failures_come_along_and_displace_no_track(tmp_path: Path) -> None:
    def fail(path: Path, key: str, mtime_ns: int) -> None:
        with FeatureWriter(path) as writer:
            writer.fail(key, f"broken at {mtime_ns}", 5, mtime_ns)

    one = _file(tmp_path / "1.h5", "good.mp3", "changed.mp3", mtime_ns=3)
    two = _file(tmp_path / "2.h5", "other.mp3", mtime_ns=3)
    for key, when in (("good.mp3", 3), ("changed.mp3", 4), ("bad.mp3", 1), ("both.mp3", 1)):
        fail(two, key, when)
    fail(one, "both.mp3", 2)
    for order in ([one, two], [two, one]):
        merged = merge(order, tmp_path / "m.h5", overwrite=True)
        assert merged.failures == 3
        with vit1dx.open(tmp_path / "m.h5") as features:
            assert set(features) == {"good.mp3", "changed.mp3", "other.mp3"}
            assert features.failures == {
                "bad.mp3": "broken at 1",
                "both.mp3": "broken at 2",
                "changed.mp3": "broken at 4",  # its track is of the file as it was before
            }
        assert merge(order, tmp_path / "m.h5").failures == 0


def test_inputs_that_were_made_differently_are_refused(tmp_path: Path) -> None:
    a, b = (
        _file(tmp_path / f"{d}.h5", "x", header=_header(dtype=d)) for d in ("float32", "float16")
    )
    with pytest.raises(
        UsageError, match=r"config\.request\.dtype float16, not float32; merge only"
    ):
        merge([a, b], tmp_path / "m.h5")
    with pytest.raises(UsageError, match=r"float32, not float16; give another -o"):
        merge([b], a)
    with pytest.raises(UsageError, match="is an input and the output"):
        merge([a], a)
    with pytest.raises(StoreError, match="no feature file at"):
        merge([tmp_path / "none.h5"], tmp_path / "m.h5")
    with pytest.raises(UsageError, match="duplicates 'older'"):
        merge([a], tmp_path / "m.h5", duplicates="older")  # type: ignore[arg-type]
    assert sorted(os.listdir(tmp_path)) == ["float16.h5", "float32.h5"]


def test_a_selection_is_a_subset(tmp_path: Path, cli: RunCli) -> None:
    _file(tmp_path / "a.h5", "x/1.mp3", "x/2.mp3", "3.mp3")
    with FeatureWriter(tmp_path / "a.h5") as writer:
        writer.fail("bad.mp3", "no audio")
        writer.fail("other.mp3", "no audio")
    done = cli("merge", "a.h5", "-o", "b.h5", "--select", "-", stdin="x/2.mp3\n3.mp3\nx/2.mp3\n")
    assert done.returncode == 0, done.stderr
    with vit1dx.open(tmp_path / "b.h5") as features:
        assert list(features) == ["3.mp3", "x/2.mp3"]
        assert features.failures == {}
    (tmp_path / "ids.txt").write_text("x/1.mp3\nnone.mp3\nbad.mp3\n")
    done = cli("merge", "a.h5", "-o", "c.h5", "--select", "ids.txt", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["missing"] == {"none.mp3": "", "bad.mp3": "no audio"}
    shown = cli("merge", "a.h5", "-o", "c.h5", "--select", "ids.txt")
    assert "missing: none.mp3: in no input" in shown.stdout
    with pytest.raises(NoFilesError, match="nothing to merge"):
        merge([tmp_path / "a.h5"], tmp_path / "d.h5", select=["none.mp3"])


def test_what_is_damaged_is_named_and_left_out(tmp_path: Path) -> None:
    path = _file(tmp_path / "a.h5", "good.mp3", "gone.mp3", "wrong.mp3")
    with h5py.File(path, "r+") as file:
        del file["tracks/gone.mp3"]
        file["tracks/wrong.mp3/class_token"][0, 0, 0] += 1
    merged = merge([path], tmp_path / "m.h5")
    assert not merged.is_good
    assert [key for key, _ in merged.unread] == ["gone.mp3"]
    assert merged.report is not None
    assert [key for key, _ in merged.report.problems] == ["wrong.mp3"]
    with vit1dx.open(tmp_path / "m.h5") as features:
        assert set(features) == {"good.mp3", "wrong.mp3"}
        assert not features.attributes["finished"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``a.h5`` and ``b.h5``, 150 tracks in all, and ``whole.h5``."""
    folder = tmp_path_factory.mktemp("inputs")
    ids = [f"{n:03}.mp3" for n in range(150)]
    _file(folder / "a.h5", *ids[:75], windows=10)
    _file(folder / "b.h5", *ids[75:], windows=10)
    merge([folder / "a.h5", folder / "b.h5"], folder / "whole.h5")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("output", "limit"), [("m.h5", None), ("m/", "5MB"), ("m/", "12MB")])
def test_a_merge_that_is_killed_continues(
    inputs: Path, tmp_path: Path, output: str, limit: str | None
) -> None:
    """At whatever instant; what it had copied, by track or as files, is not copied again."""
    place = f"{tmp_path}/{output}"
    size = ["--shard-size", limit] if limit else []
    command = [sys.executable, "-m", "vit1dx", "merge", "a.h5", "b.h5", "-o", place, "-q", *size]
    process = subprocess.Popen(command, cwd=inputs)
    begin = time.monotonic()
    while not _copied(Path(place)) and process.poll() is None and time.monotonic() < begin + 60:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    copied = _copied(Path(place))
    merged = merge([inputs / "a.h5", inputs / "b.h5"], place, shard_size=limit)
    assert merged.is_good
    assert merged.copied + merged.already == 150
    assert merged.already == copied
    require_same(place, inputs / "whole.h5")
    assert os.listdir(tmp_path) == [output.rstrip("/")]


def _copied(place: Path) -> int:
    try:
        with vit1dx.open(place) as features:
            return len(features)
    except (StoreError, OSError):
        return 0


def test_an_unfinished_input_is_said(tmp_path: Path, cli: RunCli) -> None:
    path = _file(tmp_path / "a.h5", "x.mp3")
    with h5py.File(path, "r+") as file:
        file.attrs["finished"] = np.int8(0)
    done = cli("merge", "a.h5", "-o", "m.h5")
    assert done.returncode == 0
    assert "unfinished: a.h5: the run that wrote it did not come to its end" in done.stdout
    assert not vit1dx.open(tmp_path / "m.h5").attributes["finished"]


def test_different_backends_are_all_recorded(tmp_path: Path) -> None:
    paths = [_file(tmp_path / f"{n}.h5", f"{n}.mp3") for n in (1, 2)]
    with h5py.File(paths[1], "r+") as file:
        file.attrs["backend"] = "torch"
    merge(paths, tmp_path / "m.h5")
    assert vit1dx.open(tmp_path / "m.h5").attributes["backend"] == "onnx, torch"
