"""Tracks of mirdata's data sets: by an index here, and by name where mirdata is installed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile

import vit1dx
from vit1dx.errors import UsageError
from vit1dx.run.mirdata import collect_mirdata

from ..conftest import RunCli
from ..synth import song

INDEX: dict[str, Any] = {
    "version": "1.0",
    "tracks": {
        "blues.00001": {"audio": ["genres/blues/1.wav", "0" * 32], "beats": ["b/1.beats", "1"]},
        "blues.00000": {"audio": ["genres/blues/0.wav", "0" * 32], "beats": [None, None]},
        "jazz.00054": {"audio": ["genres/jazz/54.wav", "0" * 32], "beats": [None, None]},
        "rock.00003": {"audio": [None, None], "beats": ["b/3.beats", "1"]},
    },
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of two tracks here, one whose file is not, and one without audio."""
    folder = tmp_path / "data" / "genres" / "blues"
    folder.mkdir(parents=True)
    for number in range(2):
        soundfile.write(folder / f"{number}.wav", song(1.0, 16000, seed=number), 16000)
    (tmp_path / "gtzan.json").write_text(json.dumps(INDEX))
    return tmp_path / "data"


def test_ids_are_those_of_the_index_and_no_track_disappears(
    cli: RunCli, data: Path, tmp_path: Path
) -> None:
    usual = ("--mirdata", "gtzan.json", "--layers", "8", "--tokens", "mean", "--json", "--quiet")
    (tmp_path / "c.toml").write_text('mirdata = "gtzan.json"\nlayers = [8]\ntokens = "mean"\n')
    told = json.loads(cli("extract", data, *usual, "-o", "f.h5", "--dry-run").stdout)
    assert (told["files"], told["dry_run"]["todo"]) == (4, 4)
    done = cli("extract", data, *usual, "-o", "f.h5")
    assert done.returncode == 1, done.stderr
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert set(features) == {"blues.00000", "blues.00001"}
        assert features["blues.00001"].attributes["source"] == f"{data}/genres/blues/1.wav"
        assert {key: row["reason"] for key, row in features.failed().items()} == {
            "jazz.00054": "no such file",
            "rock.00003": "mirdata's index has no audio of it",
        }
    again = json.loads(
        cli("extract", data, "--config", "c.toml", "-o", "f.h5", "--json", "-q").stdout
    )
    assert (again["done"], again["already"], again["failed"]) == (0, 2, 2)
    for part in ("1/2", "2/2"):
        vit1dx.extract(
            data,
            f"{tmp_path}/p/",
            mirdata=f"{tmp_path}/gtzan.json",
            part=part,
            layers=8,
            tokens="mean",
            workers=1,
        )
    with vit1dx.open(tmp_path / "p") as features:
        assert (len(features), len(features.failed())) == (2, 2)


def test_which_file_of_a_track_is_meant(data: Path, tmp_path: Path) -> None:
    files = {"audio_mic": ["genres/blues/0.wav", ""], "audio_mix": ["genres/blues/1.wav", ""]}
    several: dict[str, Any] = {
        "tracks": {"00_BN": files, "00_Rock": {**files, "audio_mic": [None, None]}},
        "multitracks": {"Both": {"tracks": ["00_BN"], "mix": ["genres/blues/1.wav", ""]}},
    }
    index = tmp_path / "guitarset.json"
    index.write_text(json.dumps(several))
    with pytest.raises(
        UsageError, match=r"several audio files of a track; name one, as .*audio_mic"
    ):
        collect_mirdata(f"{index}:", f"{data}")
    found = collect_mirdata(f"{index}:audio_mix", f"{data}", exclude=["*Rock"])
    assert [(source.id, source.path) for source in found] == [
        ("00_BN", data / "genres/blues/1.wav")
    ]
    assert [source.id for source in collect_mirdata(f"{index}:mix", f"{data}")] == ["Both"]
    with pytest.raises(UsageError, match=r"no audio file 'beats'.* audio_mic, audio_mix, mix"):
        collect_mirdata(f"{index}:beats", f"{data}")


@pytest.mark.parametrize(
    ("paths", "mirdata", "more", "message"),
    [
        ([], "gtzan.json", {}, "gtzan.json: give the data set's folder as the path"),
        (["data"], "none.json", {}, "none.json: no such index"),
        (["nowhere"], "gtzan.json", {}, "nowhere: no such folder of gtzan.json"),
        (["data", "data"], "gtzan.json", {}, "with 2 paths"),
        (["data"], "gtzan.json", {"root": "data"}, "whose ids are mirdata's"),
        ([], "gtzan.json", {"files_from": "gtzan.json"}, "leave out --files-from"),
        (["data"], "c.json", {}, "c.json is no index of mirdata: it has no tracks"),
        (["data"], "data/genres/blues/0.wav", {}, "0.wav is not JSON"),
        (["data"], "no-such", {}, "mirdata"),
    ],
)
def test_what_cannot_be_is_refused(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    paths: list[str],
    mirdata: str,
    more: dict[str, str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.json").write_text('{"tracks": {}}')
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        vit1dx.extract(paths, "f.h5", mirdata=mirdata, **more)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "f.h5").exists()


def test_without_mirdata_a_name_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mirdata", None)
    with pytest.raises(UsageError, match=r"pip install 'vit1dx\[mirdata\]'"):
        collect_mirdata("gtzan_genre")


def test_a_name_is_looked_up_in_mirdata(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its index, and by default its folder; what is not here is not downloaded."""
    core = pytest.importorskip("mirdata.core")
    index = tmp_path / "indexes" / "gtzan_genre_index_1.0.json"
    monkeypatch.setattr(core.Index, "get_path", lambda self: str(index))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match="no such folder of gtzan_genre"):
        collect_mirdata("gtzan_genre")
    with pytest.raises(UsageError, match=r"no such index; .*download\(\['index'\]\)"):
        collect_mirdata("gtzan_genre", str(data))
    index.parent.mkdir()
    index.write_text(json.dumps(INDEX))
    assert len(collect_mirdata("gtzan_genre", str(data))) == 4
    (tmp_path / "mir_datasets").mkdir()
    data.rename(tmp_path / "mir_datasets" / "gtzan_genre")
    found = collect_mirdata("gtzan_genre:audio")
    assert found[0].path == tmp_path / "mir_datasets/gtzan_genre/genres/blues/1.wav"
    with pytest.raises(UsageError, match="gtzan_genre is near"):
        collect_mirdata("gtzan_genres")
