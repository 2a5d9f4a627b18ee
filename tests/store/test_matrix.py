"""Many tracks as one array: the same numbers as track by track, in whatever way they are kept."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

import vit1dx
from vit1dx.errors import StoreError, TrackError, UsageError
from vit1dx.model.request import DType
from vit1dx.store import frames as frames_module
from vit1dx.store.matrix import VectorKind
from vit1dx.store.place import feature_files
from vit1dx.store.repair import repair
from vit1dx.store.verify import verify
from vit1dx.store.writer import FeatureWriter
from vit1dx.tokens import Tokens

from .filed import DIM, header, put, tokens, write

IDS = ("b/y.mp3", "a/ x.mp3", "a.mp3", "ü/é.flac", "z")


def _tracks(seed: int = 0) -> dict[str, Tokens]:
    return {key: tokens(seed + n, windows=1 + n) for n, key in enumerate(IDS)}


def _mean(of: Tokens, row: int) -> np.ndarray:
    return np.concatenate([of.arrays["class_token"][row], of.arrays["sequence_tokens"][row]]).mean(
        axis=0
    )


def _require_means(path: Path, tracks: dict[str, Tokens], tolerance: float = 1e-6) -> None:
    with vit1dx.open(path) as features:
        for row, layer in enumerate((2, 5)):
            array, ids = features.matrix(layer)
            assert ids == sorted(tracks)
            assert (array.dtype, array.shape) == (np.float32, (len(tracks), DIM))
            expected = [_mean(tracks[key], row) for key in ids]
            np.testing.assert_allclose(array, expected, atol=tolerance)


@pytest.mark.parametrize("limit", [None, 500_000])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_mean_tokens_of_all_tracks(tmp_path: Path, dtype: DType, limit: int | None) -> None:
    tracks = {f"{n % 7}/{n}": tokens(n) for n in range(100)}
    path = write(tmp_path / "f.h5", tracks, dtype, limit)
    assert len(feature_files(path)) > 1 or not limit
    _require_means(path, tracks, 1e-6 if dtype == "float32" else 2e-3)


def test_the_class_tokens_mean(tmp_path: Path) -> None:
    path = write(tmp_path / "f.h5", _tracks())
    with vit1dx.open(path) as features:
        array, ids = features.matrix(5, kind="class")
    expected = [_tracks()[key].arrays["class_token"][1].mean(axis=0) for key in ids]
    np.testing.assert_allclose(array, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["mean", "class"])
def test_ids_choose_and_order(tmp_path: Path, kind: VectorKind) -> None:
    path = write(tmp_path / "f.h5", _tracks())
    with vit1dx.open(path) as features:
        whole, ids = features.matrix(2, kind)
        some = ["z", "a.mp3", "z"]
        array, named = features.matrix(2, kind, iter(some))
        assert named == some
        np.testing.assert_array_equal(array, whole[[ids.index(key) for key in some]])
        array, named = features.matrix(2, kind, [])
        assert (array.shape, named) == ((0, DIM), [])
        with pytest.raises(TrackError, match=r"no track 'nö' in .*f\.h5"):
            features.matrix(2, kind, ["z", "nö"])


@pytest.mark.parametrize("limit", [None, 800_000])
def test_what_is_not_there_is_named(tmp_path: Path, limit: int | None) -> None:
    path = write(tmp_path / "f", _tracks(), limit=limit)
    with vit1dx.open(path) as features:
        for read in (features.matrix, features.frames, lambda *a, **k: [*features.iter_frames(*a)]):
            with pytest.raises(UsageError, match=r"no layer 3 in .*layers 2, 5 were kept"):
                read(3)
        for wrong in ("a", "a\0b", "b/y.mp3/time", ""):
            with pytest.raises(TrackError, match="no track"):
                features.frames(2, ids=[wrong])
            with pytest.raises(TrackError, match="no track"):
                features.matrix(2, ids=[wrong])
            with pytest.raises(TrackError, match="no track"):
                features.matrix(2, kind="class", ids=[wrong])
        with pytest.raises(UsageError, match="kind 'max'; mean or class"):
            features.matrix(2, kind="max")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="ids is 'z'; a list"):
            features.matrix(2, ids="z")


def test_a_track_that_was_replaced_has_its_new_mean(tmp_path: Path) -> None:
    path = write(tmp_path / "f.h5", _tracks())
    with FeatureWriter(path) as writer:
        put(writer, "a.mp3", tokens(77))
        put(writer, "new", tokens(78))
    _require_means(path, {**_tracks(), "a.mp3": tokens(77), "new": tokens(78)})


def test_a_run_still_writing_can_be_read(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "f.h5", header()) as writer:
        put(writer, "a", tokens(1))
        writer.commit()
        put(writer, "b", tokens(2))
        _require_means(tmp_path / "f.h5", {"a": tokens(1)})
        with vit1dx.open(tmp_path / "f.h5") as features:
            assert len(features.matrix(5)[0]) == 1
            writer.commit()
            assert features.matrix(5)[1] == ["a", "b"]
    _require_means(tmp_path / "f.h5", {"a": tokens(1), "b": tokens(2)})


def test_a_file_of_an_earlier_version_is_read_and_continued(tmp_path: Path) -> None:
    """One without the table, whose later tracks have it."""
    path = write(tmp_path / "f.h5", _tracks())
    with h5py.File(path, "r+", libver=("v108", "v108")) as file:
        del file["index/mean_token"]
    _require_means(path, _tracks())
    with FeatureWriter(path) as writer:
        put(writer, "new", tokens(78))
    with h5py.File(path) as file:
        assert np.isnan(file["index/mean_token"][:, 0, 0]).tolist() == [True] * 5 + [False]
    _require_means(path, {**_tracks(), "new": tokens(78)})
    assert not verify(path).problems
    repair(path)
    with h5py.File(path) as file:
        assert not np.isnan(file["index/mean_token"][:]).any()
    _require_means(path, {**_tracks(), "new": tokens(78)})


@pytest.mark.parametrize("absent", [["mean_token"], ["mean_token", "class_token"]])
def test_a_mean_that_was_not_kept_is_computed(tmp_path: Path, absent: list[str]) -> None:
    path = write(tmp_path / "f.h5", _tracks())
    with h5py.File(path, "r+") as file:
        del file["index/mean_token"]
        for track in IDS:
            for name in absent:
                del file["tracks"][track][name]
    if len(absent) == 1:
        _require_means(path, _tracks())
        return
    with vit1dx.open(path) as features:
        array, ids = features.matrix(5)
        expected = [_tracks()[key].arrays["sequence_tokens"][1].mean(axis=0) for key in ids]
        np.testing.assert_allclose(array, expected, atol=1e-6)
        with pytest.raises(UsageError, match=r"'a.mp3' has no class tokens"):
            features.matrix(5, kind="class")
    with h5py.File(path, "r+") as file:
        del file["tracks/z/sequence_tokens"]
    with vit1dx.open(path) as features:
        with pytest.raises(UsageError, match="'z' has neither"):
            features.matrix(5)
        with pytest.raises(UsageError, match="'z' has no sequence tokens"):
            features.frames(5)


def test_verify_finds_a_mean_that_is_not_the_tracks(tmp_path: Path) -> None:
    path = write(tmp_path / "f.h5", _tracks())
    with h5py.File(path, "r+") as file:
        place = file["index/id"].asstr()[:].tolist().index("z")
        file["index/mean_token"][place, 1, 3] += 1
    assert verify(path).problems == [("z", "mean_token differs from its row in the index")]
    repair(path)
    assert not verify(path).problems
    _require_means(path, _tracks())


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_the_matrix_has_named_axes(tmp_path: Path, engine: str) -> None:
    path = write(tmp_path / "f.h5", _tracks())
    with xarray.open_dataset(path, group="index", engine=engine) as index:
        assert index.mean_token.dims == ("id", "layer", "feature")
        found = index.mean_token.sel(id="z")[1].to_numpy()
    np.testing.assert_allclose(found, _mean(_tracks()["z"], 1), atol=1e-6)


def _expected_frames(every: int, first: float, stop: float) -> tuple[np.ndarray, ...]:
    parts, owners, times = [], [], []
    for place, key in enumerate(sorted(IDS)):
        of = _tracks()[key]
        chosen = np.flatnonzero((of.arrays["time"] >= first) & (of.arrays["time"] < stop))[::every]
        parts.append(of.arrays["sequence_tokens"][1, chosen])
        owners += [place] * len(chosen)
        times.append(of.arrays["time"][chosen])
    return np.concatenate(parts), np.array(owners), np.concatenate(times)


@pytest.mark.parametrize("limit", [None, 300_000])
@pytest.mark.parametrize("every", [1, 2, 17])
@pytest.mark.parametrize("seconds", [None, 0.2, (0.1, 0.5), (9.0, 10.0)])
def test_frames_of_all_tracks(
    tmp_path: Path,
    every: int,
    seconds: float | tuple[float, float] | None,
    limit: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frames_module, "FRAMES", 7)  # several blocks a track
    path = write(tmp_path / "f.h5", _tracks(), limit=limit)
    first, stop = seconds if isinstance(seconds, tuple) else (0.0, seconds or np.inf)
    expected = _expected_frames(every, first, stop)
    with vit1dx.open(path) as features:
        found = features.frames(5, every, seconds=seconds)
        mapped = features.frames(5, every, seconds=seconds, out=tmp_path / "x.npy")
        blocks = list(features.iter_frames(5, every, sorted(IDS), seconds))
    for values in (found, mapped):
        for ours, theirs in zip(values, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert [values.dtype for values in found] == [np.float32, np.int32, np.float64]
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), expected[0])
    assert max((len(block) for _, block, _ in blocks), default=0) <= 7
    places = [sorted(IDS).index(key) for key, block, _ in blocks for _ in block]
    assert places == expected[1].tolist()
    if blocks:
        np.testing.assert_array_equal(np.concatenate([b for _, b, _ in blocks]), expected[0])
        np.testing.assert_array_equal(np.concatenate([t for *_, t in blocks]), expected[2])


def test_frames_that_cannot_be(tmp_path: Path) -> None:
    path = write(tmp_path / "f.h5", _tracks())
    (tmp_path / "x.npy").write_bytes(b"mine")
    with vit1dx.open(path) as features:
        for every in (0, -1, 1.5):
            with pytest.raises(UsageError, match="a whole number from 1 on"):
                features.frames(5, every)  # type: ignore[arg-type]
        for seconds in (0.0, (2.0, 1.0), float("nan")):
            with pytest.raises(UsageError, match="some time, or a start and a later stop"):
                features.frames(5, seconds=seconds)
        with pytest.raises(UsageError, match=r"x\.npy exists"):
            features.frames(5, out=tmp_path / "x.npy")
        with pytest.raises(UsageError, match="more than once"):
            features.frames(5, ids=["z", "z"])
        with pytest.raises(StoreError, match=r"nowhere/x\.npy cannot be written: No such file"):
            features.frames(5, out=tmp_path / "nowhere" / "x.npy")
    assert (tmp_path / "x.npy").read_bytes() == b"mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.h5", "x.npy"]
