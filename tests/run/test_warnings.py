"""Warnings last: with their track, in the index, the summary, and what reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile
import xarray

import vit1dx
import vit1dx.store.format
from vit1dx.cli.info import describe
from vit1dx.errors import CODES, AudioWarning
from vit1dx.extractor import Extractor
from vit1dx.run.pool import Pool
from vit1dx.run.remarks import run_warnings
from vit1dx.run.results import Summary
from vit1dx.run.run import Options, extract_all
from vit1dx.run.sources import collect
from vit1dx.store.format import count_codes, parse_warnings, warning_codes, warning_texts
from vit1dx.store.index import INDEX
from vit1dx.store.place import feature_files
from vit1dx.store.repair import repair
from vit1dx.store.verify import verify

from ..conftest import RunCli
from ..synth import song

RATE = 16000
FOUND = {"anti.wav": ["antiphase"], "both.wav": ["dc", "clipping"], "good.wav": []}


def _write_music(folder: Path) -> None:
    folder.mkdir()
    samples = song(3.0, RATE)
    soundfile.write(folder / "good.wav", samples, RATE)
    soundfile.write(folder / "anti.wav", np.stack([samples, -samples], axis=1), RATE)
    soundfile.write(folder / "both.wav", np.clip(9 * samples + 0.3, -1, 1), RATE)


def _run(music: Path, output: Path, shard_bytes: int | None = None) -> Summary:
    with Pool() as pool:
        options = Options(output, shard_bytes, workers=1, quiet=True)
        return extract_all(collect([str(music)]), Extractor(1), options, pool)


def _codes(output: Path) -> dict[str, list[str]]:
    """By each track's own attribute; the index must agree."""
    with vit1dx.open(output) as features:
        found = {key: [w.code for w in track.warnings] for key, track in features.items()}
        index = {key: str(row["warnings"]) for key, row in features.index().items()}
    assert index == {key: ",".join(codes) for key, codes in found.items()}
    return found


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("warned") / "music"
    _write_music(folder)
    return folder


@pytest.fixture(scope="module", params=["f.h5", "f"])
def done(
    request: pytest.FixtureRequest, music: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Summary]:
    """One file, and a folder of shards; not to be written into."""
    output = tmp_path_factory.mktemp("done") / str(request.param)
    return output, _run(music, output, None if output.suffix else 1 << 20)


def test_they_are_kept_with_the_track_and_counted(done: tuple[Path, Summary]) -> None:
    output, summary = done
    assert _codes(output) == FOUND
    counts = {"antiphase": 1, "clipping": 1, "dc": 1}
    assert describe(output)["warnings"] == summary.warning_counts == counts
    values = json.loads(json.dumps(summary.to_dict()))
    assert values["warning_counts"] == counts
    with vit1dx.open(output) as features:
        kept = [
            {"id": key, "code": warning.code, "warning": warning.text}
            for key, track in features.items()
            for warning in track.warnings
        ]
    assert sorted(values["warnings"], key=lambda warning: warning["id"]) == kept
    assert {warning["code"] for warning in kept} <= CODES.keys()


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_other_readers_see_them(done: tuple[Path, Summary], engine: Any) -> None:
    output, _ = done
    path = output if output.is_file() else output / "00000.h5"
    seen = {}
    for name in FOUND:
        with xarray.open_dataset(path, group=f"tracks/{name}", engine=engine) as track:
            seen[name] = list(np.atleast_1d(track.attrs.get("warnings", [])))
    assert {k: [text.split(": ")[0] for text in texts] for k, texts in seen.items()} == FOUND
    with xarray.open_dataset(path, group="index", engine=engine) as index:
        codes = dict(zip(index["id"].values, index["warnings"].values, strict=True))
        assert codes == {name: ",".join(found) for name, found in FOUND.items()}
    with h5py.File(path) as file:
        assert "warnings" not in file["tracks/good.wav"].attrs
        assert [text.split(": ")[0] for text in file["tracks/both.wav"].attrs["warnings"]] == [
            "dc",
            "clipping",
        ]


@pytest.mark.slow
@pytest.mark.parametrize("shard_bytes", [None, 400_000])
def test_a_track_done_again_loses_its_old_ones(tmp_path: Path, shard_bytes: int | None) -> None:
    music, output = tmp_path / "music", tmp_path / ("f" if shard_bytes else "f.h5")
    _write_music(music)
    _run(music, output, shard_bytes)
    soundfile.write(music / "anti.wav", song(2.0, RATE), RATE)
    soundfile.write(music / "good.wav", np.zeros(RATE), RATE)
    summary = _run(music, output, shard_bytes)
    assert (len(feature_files(output)) > 1) == bool(shard_bytes)
    assert [(key, warning.code) for key, warning in summary.warnings] == [("good.wav", "silence")]
    expected = {"anti.wav": [], "both.wav": ["dc", "clipping"], "good.wav": ["silence"]}
    assert _codes(output) == expected
    assert describe(output)["warnings"] == {"clipping": 1, "dc": 1, "silence": 1}
    assert not verify(output).problems
    repair(output)
    assert _codes(output) == expected
    (music / "good.wav").write_text("no music")
    _run(music, output, shard_bytes)
    assert _codes(output) == expected  # the track is kept, of the file as it was


def test_a_file_from_before_they_were_kept_is_read_and_gone_on_with(tmp_path: Path) -> None:
    music, output = tmp_path / "music", tmp_path / "f.h5"
    _write_music(music)
    _run(music, output)
    _make_old(output)
    with vit1dx.open(output) as features:
        assert set(features.index()["good.wav"]) == INDEX.keys() - {"warnings"}
        assert features["anti.wav"].warnings == ()
    assert describe(output)["warnings"] == {}
    assert not verify(output).problems
    soundfile.write(music / "new.wav", np.zeros(RATE), RATE)
    assert _run(music, output).done == 1
    assert _codes(output) == {**{key: [] for key in FOUND}, "new.wav": ["silence"]}
    assert describe(output)["warnings"] == {"silence": 1}
    assert not verify(output).problems
    for engine in ("h5netcdf", "netcdf4"):
        with xarray.open_dataset(output, group="index", engine=engine) as index:
            assert index["warnings"].dims == ("id",)


def _make_old(path: Path) -> None:
    """A feature file without all that tells of warnings."""
    with h5py.File(path, "r+", libver=vit1dx.store.format.VERSIONS) as file:
        del file["index/warnings"]
        for track in file["tracks"].values():
            track.attrs.pop("warnings", None)


@pytest.mark.slow
def test_the_command_line_counts_them_even_where_it_is_quiet(
    cli: RunCli, music: Path, tmp_path: Path
) -> None:
    result = cli("extract", music, "-o", "f.h5", "--layers", "1", "--quiet")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("3 warnings: antiphase 1, clipping 1, dc 1\n3 of 3 files done")
    result = cli("info", "f.h5")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["warnings.antiphase", "1"] in rows


@pytest.mark.parametrize(
    "text",
    ["plain", "with: a colon", "of\x00 two\nlines", "not UTF-8: \udcff", "Sígur Rós, 音"],
)
def test_any_text_can_be_kept(text: str) -> None:
    (kept,) = parse_warnings(warning_texts([AudioWarning("dc", text)]))
    assert kept.code == "dc"
    assert kept.text.encode()
    assert text.isprintable() == (kept.text == text) or "\udcff" in text


def test_codes_are_counted_track_by_track() -> None:
    rows: list[Mapping[str, str]] = [{"warnings": "dc,clipping"}, {"warnings": ""}, {}]
    assert count_codes(row.get("warnings", "") for row in rows) == {"clipping": 1, "dc": 1}
    assert warning_codes([]) == ""
    assert warning_codes(["dc: a, b", "scale: c: d"]) == "dc,scale"


def test_those_of_a_run_have_codes_too() -> None:
    weights = Extractor(1).weights
    assert run_warnings(weights, "float32") == []
    assert [warning.code for warning in run_warnings(weights, "float16")] == ["float16"]
    summary = Summary(Path("f.h5"), 1, warnings=[(None, AudioWarning("float16", "x"))])
    assert summary.to_dict()["warnings"] == [{"id": None, "code": "float16", "warning": "x"}]
