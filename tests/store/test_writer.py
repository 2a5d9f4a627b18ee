"""The feature file: what was put in comes out, by h5py, by both of xarray's engines, by vit1dx."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray

import vit1dx
from vit1dx.config import Config, ModelConfig
from vit1dx.errors import AudioError, ForeignFileError, StoreError, Vit1dxError
from vit1dx.model.backend import BackendInfo
from vit1dx.model.request import Request
from vit1dx.model.weights import WeightsInfo
from vit1dx.store import track as buffer
from vit1dx.store.format import Header
from vit1dx.store.lock import lock_path
from vit1dx.store.verify import verify
from vit1dx.store.writer import FeatureWriter
from vit1dx.tokens import Tokens, Track, attended, join

from ..conftest import RunCli

LAYERS, DIM, HEADS, FRAMES = (2, 5), 12, 3, 125
ENGINES = ("netcdf4", "h5netcdf")


def _header(
    attention: str = "none", dtype: str = "float32", layers: tuple[int, ...] = LAYERS
) -> Header:
    config = Config(model=ModelConfig(depth=6, dim=DIM, heads=HEADS))
    weights = WeightsInfo(
        Path("w.onnx"), config, "tiny", True, "abc", "fp32", layers, "full", layers
    )
    backend = BackendInfo("onnx", "1.0", "cpu")
    return Header(weights, config, Request(layers, attention), dtype, backend)


def _tokens(
    windows: int,
    attention: str = "none",
    first: int = 0,
    frames: int = FRAMES,
    layers: tuple[int, ...] = LAYERS,
) -> Tokens:
    generator = np.random.default_rng(first)
    shape: tuple[int, ...] = (len(attended(layers)), windows, HEADS, frames + 1, frames + 1)
    maps = generator.random(shape, np.float32)
    kinds = {"none": None, "class": maps[:, :, :, 0], "full": maps}
    start = first * frames
    arrays = {
        "class_token": generator.standard_normal((len(layers), windows, DIM), np.float32),
        "sequence_tokens": generator.standard_normal(
            (len(layers), windows * frames, DIM), np.float32
        ),
        "attention": kinds[attention],
        "time": np.arange(start, start + windows * frames) / 31.25,
        "window_start": np.arange(first, first + windows) * frames / 31.25,
    }
    return Tokens.of(layers, **arrays)


def _write(path: Path, tracks: dict[str, list[Tokens]], header: Header) -> None:
    with FeatureWriter(path, header) as writer:
        for track_id, batches in tracks.items():
            with writer.track(track_id) as track:
                for tokens in batches:
                    track.add(tokens)
                track.attributes = {
                    "source": "/music/" + track_id,
                    "size": 123,
                    "mtime_ns": 456,
                    "duration": 1.5,
                    "sample_rate": 44100,
                    "channels": 2,
                }


def _require_equal(group: Any, expected: Track, dtype: str = "float32") -> None:
    names = ["class_token", "sequence_tokens", "mean_token", "time", "window_start"]
    for name in [*names, *(["attention"] if expected.attention is not None else [])]:
        values = getattr(expected, name)
        cast = values.astype(dtype) if values.dtype == np.float32 else values
        np.testing.assert_array_equal(np.asarray(group[name]), cast)


@pytest.mark.parametrize("attention", ["none", "class", "full"])
@pytest.mark.parametrize(("frames", "layers"), [(FRAMES, LAYERS), (7, LAYERS), (FRAMES, (0, 5))])
@pytest.mark.filterwarnings("error::UserWarning")
def test_every_reader_finds_named_axes(
    tmp_path: Path, attention: str, frames: int, layers: tuple[int, ...]
) -> None:
    path = tmp_path / "f.h5"
    tokens = _tokens(1 if frames < FRAMES else 3, attention, frames=frames, layers=layers)
    other = _tokens(2, attention, layers=layers)
    _write(path, {"a/x.wav": [tokens], "x.wav": [other]}, _header(attention, layers=layers))
    expected = join([tokens], 1.5)
    axes = {
        "class_token": ("layer", "window", "feature"),
        "sequence_tokens": ("layer", "time", "feature"),
        "mean_token": ("layer", "feature"),
        "window_start": ("window",),
        "time": ("time",),
    }
    if attention != "none":
        query = ("query",) if attention == "full" else ()
        first = "attention_layer" if 0 in layers else "layer"
        axes["attention"] = (first, "window", "head", *query, "key")
    with h5py.File(path) as file:
        group = file["tracks/a/x.wav"]
        _require_equal(group, expected)
        for name, dimensions in axes.items():
            if name != "time":
                named = tuple(Path(axis[0].name).name for axis in group[name].dims)
                assert named == dimensions
    for engine in ENGINES:
        with xarray.open_dataset(path, group="tracks/a/x.wav", engine=engine) as data:
            _require_equal(data, expected)
            assert {name: data[name].dims for name in axes} == axes
            assert list(data["layer"].values) == list(layers)
            if attention != "none" and 0 in layers:
                assert list(data["attention_layer"].values) == [5]
            np.testing.assert_array_equal(
                data["sequence_tokens"].sel(layer=5), expected.sequence_tokens[1]
            )
            assert data["time"].attrs["units"] == "s"
            assert data.attrs["complete"] == 1
    assert not [text for _, text in verify(path).problems if "shape" in text or "layer" in text]


def test_root_says_how_the_file_was_made(tmp_path: Path) -> None:
    _write(tmp_path / "f.h5", {}, _header("class"))
    with h5py.File(tmp_path / "f.h5") as file:
        attributes = dict(file.attrs)
        assert list(file["layer"]) == list(LAYERS)
    config = json.loads(attributes.pop("config"))
    assert config["model"]["depth"] == 6
    assert config["request"] == {"layers": [2, 5], "attention": "class", "dtype": "float32"}
    assert attributes.pop("created").endswith("+00:00")
    assert attributes.pop("generator") == f"vit1dx {vit1dx.__version__}"
    assert attributes == {
        "format": "vit1dx-features",
        "format_version": 1,
        "model_name": "tiny",
        "model_sha256": "abc",
        "model_trained": 1,
        "backend": "onnx",
        "backend_version": "1.0",
        "device": "cpu",
        "precision": "fp32",
        "finished": 1,
    }


@pytest.mark.parametrize(
    ("weights", "asked", "found"),
    [("fp32", None, "fp32"), ("fp32", "int8", "int8"), ("int8", None, "int8")],
)
def test_root_says_what_the_model_computed_in(weights: str, asked: str | None, found: str) -> None:
    header = _header()
    header = replace(header, weights=replace(header.weights, precision=weights), precision=asked)
    assert header.attributes()["precision"] == found
    assert header.weights.precision == weights


@pytest.mark.parametrize("attention", ["none", "class", "full"])
def test_long_tracks_grow_on_disk_and_read_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attention: str
) -> None:
    batches = [_tokens(windows, attention, first) for first, windows in ((0, 3), (3, 2), (5, 1))]
    expected = join(batches, 1.5)
    _write(tmp_path / "held.h5", {"x.wav": batches}, _header(attention))
    monkeypatch.setattr(buffer, "HELD_BYTES", batches[1].arrays["sequence_tokens"].nbytes)
    _write(tmp_path / "spilled.h5", {"x.wav": batches}, _header(attention))
    for name, chunked in (("held.h5", False), ("spilled.h5", True)):
        with h5py.File(tmp_path / name) as file:
            tokens = file["tracks/x.wav/sequence_tokens"]
            assert (tokens.chunks is not None) == chunked
            assert not chunked or tokens.chunks[0] == 1  # a layer can be read alone
            _require_equal(file["tracks/x.wav"], expected)
        with xarray.open_dataset(tmp_path / name, group="tracks/x.wav") as data:
            _require_equal(data, expected)


def test_mean_token_is_over_class_and_sequence_tokens() -> None:
    track = join([_tokens(3), _tokens(2, first=3)], 1.0)
    every = np.concatenate([track.class_token, track.sequence_tokens], axis=1)
    np.testing.assert_allclose(track.mean_token, every.mean(axis=1), atol=1e-6)


def test_float16(tmp_path: Path) -> None:
    tokens = _tokens(2, "class")
    _write(tmp_path / "f.h5", {"x.wav": [tokens]}, _header("class", "float16"))
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["tracks/x.wav/attention"].dtype == np.float16
        assert file["tracks/x.wav/time"].dtype == np.float64
        _require_equal(file["tracks/x.wav"], join([tokens], 1.5), "float16")


@pytest.mark.parametrize("spills", [False, True])
def test_a_track_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spills: bool
) -> None:
    if spills:
        monkeypatch.setattr(buffer, "HELD_BYTES", 0)
    with FeatureWriter(tmp_path / "f.h5", _header()) as writer:
        with pytest.raises(ZeroDivisionError), writer.track("a/bad.wav") as track:
            track.add(_tokens(2))
            raise ZeroDivisionError
        writer.fail("a/bad.wav", "divided by zero")
        with writer.track("a/good.wav") as track:
            track.add(_tokens(2))
            track.attributes = {"duration": 1.0}
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert list(features) == ["a/good.wav"]
        assert features.failures == {"a/bad.wav": "divided by zero"}
    failures = xarray.open_dataset(tmp_path / "f.h5", group="failures")
    assert list(failures["id"].values) == ["a/bad.wav"]


def test_any_reason_can_be_stored(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "f.h5", _header()) as writer:
        said = writer.fail("x.wav", "a\0b\nc \udce9")
    assert said == r"a b c \udce9"
    assert vit1dx.open(tmp_path / "f.h5").failures == {"x.wav": said}


def test_what_was_finished_is_kept_when_a_run_ends_early(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), FeatureWriter(tmp_path / "f.h5", _header()) as writer:
        with writer.track("x.wav") as track:
            track.add(_tokens(1))
        raise RuntimeError
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert list(features) == ["x.wav"]


def test_an_output_that_exists_is_extended(tmp_path: Path) -> None:
    _write(tmp_path / "f.h5", {"x.wav": [_tokens(1)]}, _header())
    _write(tmp_path / "f.h5", {"a/y.wav": [_tokens(2)]}, _header())
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert list(features) == ["a/y.wav", "x.wav"]
    FeatureWriter(tmp_path / "f.h5", _header(), overwrite=True).close()
    assert list(vit1dx.open(tmp_path / "f.h5")) == []
    assert [p.name for p in tmp_path.iterdir()] == ["f.h5"]


@pytest.mark.parametrize("content", [b"precious", b"\x89HDF\r\n\x1a\n\x02" + bytes(100)])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_of_another_kind_is_never_replaced(
    tmp_path: Path, content: bytes, overwrite: bool
) -> None:
    path = tmp_path / "f.h5"
    path.write_bytes(content)
    with pytest.raises(ForeignFileError, match=r"cannot be opened as HDF5.*give another -o"):
        FeatureWriter(path, _header(), overwrite)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["f.h5"]


@pytest.mark.parametrize("kind", ["empty", "features", "cut", "other version"])
def test_what_is_replaced_if_asked(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "f.h5"
    _write(path, {"x.wav": [_tokens(1)]}, _header())
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        os.truncate(path, path.stat().st_size - 10)
    elif kind == "other version":
        with h5py.File(path, "r+") as file:
            file.attrs["format_version"] = 2
    if kind != "features":
        with pytest.raises(StoreError):
            FeatureWriter(path, _header())
    FeatureWriter(path, _header(), overwrite=True).close()
    assert list(vit1dx.open(path)) == []


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_track_done_again_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "f.h5", _header()) as writer:
        for count, size in ((3, 10), (1, 20)):
            for name in ("a/x.wav", "b.wav"):
                with writer.track(name) as track:
                    track.add(_tokens(count))
                    track.attributes = {"size": size, "mtime_ns": 1, "duration": 2.0}
            writer.commit()
        writer.fail("b.wav", "it broke", 30, 3)
        writer.fail("c.wav", "it never was", 40, 4)
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert list(features) == ["a/x.wav", "b.wav"]
        assert features.failures == {"b.wav": "it broke", "c.wav": "it never was"}
        index: dict[str, Any] = {"size": 20, "mtime_ns": 1, "duration": 2.0}
        index |= {"sha256": "", "segment": "", "warnings": ""}
        assert features.index() == {"a/x.wav": index, "b.wav": index}
        assert [read.read("class_token", layer=2).shape for read in features.values()] == [
            (1, DIM)
        ] * 2
    with FeatureWriter(tmp_path / "f.h5", _header()) as writer, writer.track("b.wav") as track:
        track.add(_tokens(1))
    for engine in ENGINES:
        with xarray.open_dataset(tmp_path / "f.h5", group="index", engine=engine) as data:
            assert list(data["id"].values) == ["a/x.wav", "b.wav"]
            assert data["size"].dims == ("id",)
        with xarray.open_dataset(tmp_path / "f.h5", group="failures", engine=engine) as data:
            assert list(data["reason"].values) == ["it never was"]
        tree = xarray.open_datatree(tmp_path / "f.h5", engine=engine)
        assert tree["tracks/a/x.wav/class_token"].dims == ("layer", "window", "feature")


@pytest.mark.parametrize(
    "name", ["x.wav/y.wav", "a", "", ".", "a/../b", "/x", "a//b", "a/", "n\0l"]
)
def test_ids_that_have_no_place(tmp_path: Path, name: str) -> None:
    with FeatureWriter(tmp_path / "f.h5", _header()) as writer:
        for good in ("x.wav", "a/x.wav", "long " * 400 + "/" + "y" * 2000):
            with writer.track(good) as track:
                track.add(_tokens(1))
        with pytest.raises(AudioError):
            writer.begin(name)
    assert len(vit1dx.open(tmp_path / "f.h5")) == 3


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "is a folder"), (tmp_path / "no" / "f.h5", "no folder")):
        with pytest.raises(Vit1dxError, match=reason):
            FeatureWriter(path, _header())


def test_features_are_a_mapping_of_tracks(tmp_path: Path) -> None:
    tokens = _tokens(3, "full")
    header = _header("full")
    _write(tmp_path / "f.h5", {"a/b/x.wav": [tokens], "a/y.mp3": [_tokens(1, "full")]}, header)
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert list(features) == ["a/b/x.wav", "a/y.mp3"]
        assert len(features) == 2
        assert "a/b" not in features
        assert "a/b/x.wav" in features
        assert features.layers == LAYERS
        assert features.config["mel"]["hop_length"] == 512
        track = features["a/b/x.wav"]
        assert (track.duration, track.attributes["sample_rate"]) == (1.5, 44100)
        with pytest.raises(KeyError):
            features["nothing.wav"]


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("hello")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["format"] = "other"
    for name, reason in [
        ("text.h5", "cannot be opened as HDF5"),
        ("other.h5", "is of format 'other'"),
        ("none.h5", "no feature file"),
    ]:
        with pytest.raises(StoreError, match=reason):
            vit1dx.open(tmp_path / name)


@pytest.mark.slow
def test_many_tracks_cost_alike(tmp_path: Path) -> None:
    """What a track adds to the file does not grow with the tracks before it."""
    sizes = []
    for count in (100, 200, 400):
        path = tmp_path / f"{count}.h5"
        _write(path, {f"{i:04d}.wav": [_tokens(1, frames=4)] for i in range(count)}, _header())
        sizes.append(path.stat().st_size)
    assert (sizes[2] - sizes[1]) / 200 <= 1.05 * (sizes[1] - sizes[0]) / 100


def test_header_says_the_overlap_that_was_used(tmp_path: Path) -> None:
    header = _header()
    window = replace(header.config.window, overlap=9)
    header = replace(header, config=replace(header.config, window=window))
    _write(tmp_path / "f.h5", {}, header)
    assert vit1dx.open(tmp_path / "f.h5").config["window"] == {"frames": 125, "overlap": 9}


def test_a_file_between_two_states_is_tried_again_while_a_run_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    _write(path, {"x": [_tokens(1)]}, _header())
    whole = path.read_bytes()
    torn = whole[:100] + bytes(300) + whole[400:]
    path.write_bytes(torn)
    with pytest.raises(StoreError):
        vit1dx.open(path)
    lock_path(path).touch()
    later = threading.Timer(0.1, path.write_bytes, [whole])
    later.start()
    assert list(vit1dx.open(path)) == ["x"]
    later.join()
    path.write_bytes(torn)
    with pytest.raises(StoreError):  # not for ever
        vit1dx.open(path)


@pytest.mark.slow
@pytest.mark.parametrize("table", ["index", "failures"])
def test_a_file_without_its_tables_is_refused_in_one_line(
    cli: RunCli, songs: Path, tmp_path: Path, table: str
) -> None:
    output = ["--layers", "1", "-o", str(tmp_path / "f.h5")]
    assert cli("extract", songs, *output).returncode == 0
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        del file[table]
    for command in (["extract", str(songs), *output], ["info", str(tmp_path / "f.h5")]):
        result = cli(*command)
        assert result.returncode == 5, result
        assert f"/{table} of " in result.stderr
        assert "Traceback" not in result.stderr
