"""Tables of features: the numbers of the file, in every form, whatever the ids are."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vit1dx
from vit1dx.doors import tables
from vit1dx.doors.names import file_names
from vit1dx.doors.tables import export
from vit1dx.errors import StoreError, UsageError
from vit1dx.store import matrix
from vit1dx.store.writer import FeatureWriter

from ..conftest import RunCli
from ..store.filed import DIM, LAYERS, put, tokens, write

TRACKS = {key: tokens(n, windows=1 + n) for n, key in enumerate(("b/y.mp3", "a, ü.mp3", "a.mp3"))}
FORMS = ("npy", "csv", "parquet", "zarr")
COLUMNS = ("id", "file", "start", "end")


def _expected(what: str, rows: list[int]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, start and end, and vectors (row, layer, feature) of all tracks."""
    ids, spans, vectors = [], [], []
    for key in sorted(TRACKS):
        of = TRACKS[key]
        length = len(of.time) / 31.25
        values: Any
        starts: Any
        ends: Any
        if what == "mean":
            both = np.concatenate([of.class_token, of.sequence_tokens], axis=1)
            values, starts, ends = both.mean(axis=1)[:, None], [0.0], [length]
        elif what == "class":
            values, starts = of.class_token, of.window_start
            ends = np.maximum(np.minimum(starts + 4.0, length), starts)
        else:
            values, starts = of.sequence_tokens, np.maximum(of.time - 0.016, 0)
            ends = np.minimum(of.time + 0.016, length)
        ids += [key] * values.shape[1]
        spans.append(np.stack([starts, ends], axis=1))
        vectors.append(values.swapaxes(0, 1)[:, rows])
    return ids, np.concatenate(spans), np.concatenate(vectors)


def _read(path: Path, form: str, layers: list[int]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The same of a table, by the libraries that people read it with."""
    if form == "zarr":
        return _read_zarr(path)
    if form == "parquet":
        table = pytest.importorskip("pyarrow.parquet").read_table(path)
        vectors = [np.stack(table[f"layer{n}"].to_numpy()) for n in layers]
        found: dict[str, Any] = {name: table[name].to_pylist() for name in COLUMNS}
        assert table.schema.metadata[b"model_name"] == b"tiny"
    else:
        with path.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        found = {name: [line[name] for line in lines] for name in COLUMNS}
        if form == "npy":
            array = np.load(path)
            assert array.ndim == (3 if len(layers) > 1 else 2)
            vectors = list(array.reshape(len(array), len(layers), -1).swapaxes(0, 1))
        else:
            names = [[f"layer{n}_{k}" for k in range(DIM)] for n in layers]
            vectors = [np.array([[line[x] for x in of] for line in lines], "f4") for of in names]
    assert found["file"] == [f"/music/{key}" for key in found["id"]]
    spans = np.array([found["start"], found["end"]], "f8").T
    return found["id"], spans, np.stack(vectors, axis=1)


def _read_zarr(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    pytest.importorskip("zarr")
    import xarray

    with xarray.open_zarr(path) as table:
        assert table.vectors.dims == ("row", "layer", "feature")
        spans = np.stack([table.start.to_numpy(), table.end.to_numpy()], axis=1)
        return [str(key) for key in table.id.to_numpy()], spans, table.vectors.to_numpy()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("what", ["mean", "class", "sequence"])
@pytest.mark.parametrize(("layers", "held"), [(None, 100), ([5], 1 << 20)])
def test_every_table_has_the_numbers_of_the_file(
    tmp_path: Path,
    form: str,
    what: str,
    layers: list[int] | None,
    held: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if form in ("parquet", "zarr"):
        pytest.importorskip({"parquet": "pyarrow", "zarr": "zarr"}[form])
    monkeypatch.setattr(matrix, "HELD_BYTES", held)
    path = write(tmp_path / "f.h5", TRACKS)
    seen: list[int] = []
    with vit1dx.open(path) as features:
        out = tmp_path / f"out.{form}"
        count = export(features, out, form, what, layers, progress=seen.append)  # type: ignore[arg-type]
    rows = [LAYERS.index(layer) for layer in layers or LAYERS]
    ids, spans, vectors = _expected(what, rows)
    found = _read(out, form, layers or list(LAYERS))
    assert found[0] == ids
    np.testing.assert_allclose(found[1], spans, atol=1e-6)
    np.testing.assert_allclose(found[2], vectors, atol=0 if what != "mean" else 1e-6)
    assert (count, seen[-1]) == (len(ids), len(ids))
    left = {"f.h5", out.name, *(["out.csv"] if form == "npy" else [])}
    assert {p.name for p in tmp_path.iterdir()} == left


@pytest.mark.parametrize("what", ["mean", "class", "sequence"])
def test_a_file_a_track(tmp_path: Path, what: str) -> None:
    path = write(tmp_path / "f.h5", TRACKS)
    out = tmp_path / "npz"
    with vit1dx.open(path) as features:
        assert export(features, out, "npz", what, [5]) == 3  # type: ignore[arg-type]
    ids, _, vectors = _expected(what, [1])
    with (out / "ids.csv").open(encoding="utf-8", newline="") as file:
        names = {line["id"]: line["file"] for line in csv.DictReader(file)}
    assert names == {key: f"{key}.npz" for key in sorted(TRACKS)}
    name = {"mean": "mean_token", "class": "class_token", "sequence": "sequence_tokens"}[what]
    for key in TRACKS:
        with np.load(out / names[key]) as file:
            assert str(file["id"]) == key
            assert file["layer"].tolist() == [5]
            values = file[name][0] if what != "mean" else file[name]
            expected = vectors[[n for n, k in enumerate(ids) if k == key], 0]
            np.testing.assert_allclose(values, expected, atol=1e-6 if what == "mean" else 0)
            if what == "sequence":
                np.testing.assert_array_equal(file["time"], TRACKS[key].time)


def test_an_export_of_npz_continues_and_follows_the_features(tmp_path: Path) -> None:
    path, out = write(tmp_path / "f.h5", TRACKS), tmp_path / "npz"
    with vit1dx.open(path) as features:
        export(features, out, "npz", "class")
        (out / "a.mp3.npz").unlink()
        (out / "b" / "y.mp3.npz").write_bytes(b"half")
        kept = (out / "a, ü.mp3.npz").stat().st_mtime_ns
        assert export(features, out, "npz", "class") == 2
        assert (out / "a, ü.mp3.npz").stat().st_mtime_ns == kept
    with FeatureWriter(path) as writer:
        put(writer, "a.mp3", tokens(9))
        put(writer, "new", tokens(10))
    with vit1dx.open(path) as features:
        assert export(features, out, "npz", "class") == 2
        with np.load(out / "a.mp3.npz") as file:
            np.testing.assert_array_equal(file["class_token"], tokens(9).class_token)
        with pytest.raises(UsageError, match=r"an export of class, layers \[2, 5\].*--overwrite"):
            export(features, out, "npz", "mean")
        assert export(features, out, "npz", "mean", overwrite=True) == 4
        with np.load(out / "a.mp3.npz") as file:
            assert "mean_token" in file
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("x")
    with vit1dx.open(path) as features, pytest.raises(UsageError, match="holds other files"):
        export(features, tmp_path / "mine", "npz", overwrite=True)


HOSTILE = [
    "../../x",
    "/etc/passwd",
    "a/../b",
    "a",
    "A",
    "a.npz/x",
    "é",
    "e\u0301",
    "CON",
    "nul.mp3",
    "x" * 300,
    "x" * 299 + "y",
    "d/" * 700 + "x",
    "tab\there",
    'quote"*?.mp3',
    " lead",
    "trail.",
    "%2E",
    ".",
    "straße",
    "STRASSE",
    "\\\\server\\x",
    "C:x",
]


def test_names_stay_in_the_folder_and_apart(tmp_path: Path) -> None:
    names = file_names(HOSTILE, ".npz")
    assert list(names) == HOSTILE
    folded = [os.path.normcase(name).casefold() for name in names.values()]
    assert len(set(folded)) == len(HOSTILE)
    for name in names.values():
        path = tmp_path / name
        assert path.resolve().is_relative_to(tmp_path)
        assert max(len(part.encode()) for part in name.split("/")) < 255
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:  # each is a file of its own
            file.write(name)
    assert names["a/../b"] == "a/%2E%2E/b.npz"
    assert file_names(["a/b.mp3", "ü"], ".npz") == {"a/b.mp3": "a/b.mp3.npz", "ü": "ü.npz"}


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_overwritten_unasked(tmp_path: Path, form: str) -> None:
    if form in ("parquet", "zarr"):
        pytest.importorskip({"parquet": "pyarrow", "zarr": "zarr"}[form])
    path, out = write(tmp_path / "f.h5", TRACKS), tmp_path / f"out.{form}"
    with vit1dx.open(path) as features:
        export(features, out, form)  # type: ignore[arg-type]
        before = sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
        with pytest.raises(UsageError, match="exists; --overwrite replaces it"):
            export(features, out, form)  # type: ignore[arg-type]
        assert sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before
        assert export(features, out, form, "class", overwrite=True) == 6  # type: ignore[arg-type]
    assert _read(out, form, list(LAYERS))[0] == _expected("class", [0])[0]


@pytest.mark.parametrize("form", FORMS)
def test_an_export_that_fails_leaves_what_was_there(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form in ("parquet", "zarr"):
        pytest.importorskip({"parquet": "pyarrow", "zarr": "zarr"}[form])
    monkeypatch.setattr(matrix, "HELD_BYTES", 1)
    path, out = write(tmp_path / "f.h5", TRACKS), tmp_path / f"out.{form}"

    def stop(rows: int) -> None:
        raise KeyboardInterrupt

    with vit1dx.open(path) as features:
        export(features, out, form, "class")  # type: ignore[arg-type]
        with pytest.raises(KeyboardInterrupt):
            export(features, out, form, overwrite=True, progress=stop)  # type: ignore[arg-type]
    assert _read(out, form, list(LAYERS))[0] == _expected("class", [0])[0]
    left = {"f.h5", out.name, *(["out.csv"] if form == "npy" else [])}
    assert {p.name for p in tmp_path.iterdir()} == left


def test_exports_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "f.h5", TRACKS)
    with vit1dx.open(path) as features:
        with pytest.raises(UsageError, match=r"a name that ends in \.npy"):
            export(features, tmp_path / "out.csv", "npy")
        with pytest.raises(UsageError, match="no layer 3"):
            export(features, tmp_path / "out.npy", "npy", layers=[3])
        with pytest.raises(StoreError, match=r"out\.csv cannot be written: No such file"):
            export(features, tmp_path / "no" / "out.csv", "csv")
        monkeypatch.setattr(tables, "import_module", _missing)
        with pytest.raises(UsageError, match=r"parquet needs pyarrow .* 'vit1dx\[tables\]'"):
            export(features, tmp_path / "out.parquet", "parquet")
    assert [p.name for p in tmp_path.iterdir()] == ["f.h5"]


def _missing(name: str) -> Any:
    raise ImportError(f"No module named {name!r}")


def test_a_float16_file_and_no_tracks(tmp_path: Path) -> None:
    half, empty = write(tmp_path / "h.h5", TRACKS, "float16"), write(tmp_path / "e.h5", {})
    with vit1dx.open(half) as features:
        export(features, tmp_path / "h.npy", "npy", "class", [2])
    array = np.load(tmp_path / "h.npy")
    expected = _expected("class", [0])[2][:, 0].astype("f2")
    np.testing.assert_array_equal(array, expected.astype("f4"))
    with vit1dx.open(empty) as features:
        assert export(features, tmp_path / "e.npy", "npy") == 0
    assert np.load(tmp_path / "e.npy").shape == (0, 2, DIM)


class TestCommands:
    """The command line."""

    @pytest.fixture(scope="class")
    def path(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A feature file with a failure."""
        folder = tmp_path_factory.mktemp("tables")
        path = write(folder / "f.h5", TRACKS)
        with FeatureWriter(path) as writer:
            writer.fail("bad\nname.mp3", "no audio")
        return path

    def test_ls(self, cli: RunCli, path: Path) -> None:
        done = cli("ls", path)
        assert (done.returncode, done.stdout.splitlines()) == (0, list(TRACKS))
        done = cli("ls", path, "--long")
        assert done.stdout.splitlines()[0] == "0.16\t2,5\t\tb/y.mp3"
        done = cli("ls", path, "--json")
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert [row["id"] for row in rows] == list(TRACKS)
        assert (rows[1]["layers"], rows[1]["warnings"]) == ([2, 5], [])
        assert rows[1]["duration"] == pytest.approx(0.32)
        done = cli("ls", path, "--failed")
        assert done.stdout == "bad\\nname.mp3\tno audio\n"
        assert "mean_token" not in rows[0]

    def test_cat(self, cli: RunCli, path: Path) -> None:
        done = cli("cat", path, "a.mp3", "sequence_tokens", "--layer", "5")
        table = np.array([line.split(",") for line in done.stdout.splitlines()], "f8")
        np.testing.assert_allclose(table[:, 0], TRACKS["a.mp3"].time, atol=1e-9)
        np.testing.assert_array_equal(table[:, 1:].astype("f4"), TRACKS["a.mp3"].sequence_tokens[1])
        assert len(cli("cat", path, "a.mp3", "mean_token", "--layer", "2").stdout.split(",")) == DIM
        assert len(cli("cat", path, "a.mp3", "time").stdout.splitlines()) == 15
        for arguments, message in (
            (["sequence_tokens"], "choose a --layer"),
            (["sequence_tokens", "--layer", "3"], "no layer 3 of it; layers 2, 5"),
            (["time", "--layer", "2"], "the same for all layers"),
            (["attention"], "has no attention"),
        ):
            done = cli("cat", path, "a.mp3", *arguments)
            assert done.returncode == 2
            assert message in done.stderr
        assert cli("cat", path, "nö", "time").returncode == 2

    def test_binary_output(self, path: Path, tmp_path: Path) -> None:
        import io
        import subprocess
        import sys

        command = [sys.executable, "-m", "vit1dx", "cat", str(path), "a.mp3", "sequence_tokens"]
        done = subprocess.run([*command, "--format", "npy"], capture_output=True, check=True)
        array = np.load(io.BytesIO(done.stdout))
        np.testing.assert_array_equal(array, TRACKS["a.mp3"].sequence_tokens)
        gone = subprocess.run(
            ["bash", "-c", '"$@" | true; echo ${PIPESTATUS[0]}', "-", *command, "--format", "npy"],
            capture_output=True,
            text=True,
        )
        assert (gone.stdout, gone.stderr) in (("141\n", ""), ("0\n", ""))

    def test_export(self, cli: RunCli, path: Path, tmp_path: Path) -> None:
        done = cli("export", path, "--to", "npy", "--layers", "5", "-o", "out.npy")
        assert (done.returncode, done.stdout) == (0, "3 rows; out.npy, out.csv\n")
        assert np.load(tmp_path / "out.npy").shape == (3, DIM)
        done = cli("export", path, "--to", "npy", "--layers", "5", "-o", "out.npy")
        assert (done.returncode, done.stdout) == (2, "")
        assert "--overwrite" in done.stderr
