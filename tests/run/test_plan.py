"""Resuming: no finished track is ever lost to a file that went, changed, or cannot be reached."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import soundfile

import vit1dx
from vit1dx.run import plan as resume
from vit1dx.run.plan import Plan, plan
from vit1dx.run.sources import collect
from vit1dx.run.worker import file_sha256
from vit1dx.store.writer import FeatureWriter

from ..conftest import RunCli
from ..store.test_writer import _header, _tokens
from ..synth import song


def _made(output: Path, *files: Path) -> None:
    """Tracks of these files, as a run would write them, under their names."""
    with FeatureWriter(output, _header()) as writer:
        for source in collect(list(map(str, files))):
            with writer.track(source.id) as track:
                track.add(_tokens(1))
                track.attributes = {
                    "source": str(source.path),
                    "size": source.size,
                    "mtime_ns": source.mtime_ns,
                    "duration": 1.0,
                    "sha256": file_sha256(source.path),
                }


def _plan(output: Path, paths: list[str], listed: Sequence[str] = (), **options: Any) -> Plan:
    with vit1dx.open(output) as features:
        settings = {"model_sha256": "abc", "precision": "fp32", "config": features.config}
    return plan(collect(paths, listed, root=output.parent), output, settings, **options)


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Tracks of ``a``, ``b`` and ``c.wav``, in ``f.h5`` beside them."""
    files = [tmp_path / f"{name}.wav" for name in "abc"]
    for path in files:
        path.write_bytes(path.name.encode() * 100)
    _made(tmp_path / "f.h5", *files)
    return tmp_path


@pytest.mark.parametrize("checksum", [False, True])
def test_a_listed_file_that_is_gone_is_nothing_to_do(three: Path, checksum: bool) -> None:
    (three / "a.wav").unlink()
    (three / "b.wav").unlink()
    (three / "b.wav").symlink_to("nowhere")
    listed = [str(three / f"{name}.wav") for name in "abcd"]
    found = _plan(three / "f.h5", [], listed, checksum=checksum)
    assert (found.gone, found.already, found.changed) == (["a.wav", "b.wav"], 1, [])
    assert [source.id for source in found.todo] == ["d.wav"]  # which never had a track


def test_a_file_out_of_reach_is_nothing_to_do(three: Path, tmp_path: Path) -> None:
    (three / "elsewhere").mkdir()
    (three / "in").mkdir()
    shutil.move(three / "a.wav", three / "elsewhere")
    (three / "in" / "a.wav").symlink_to(three / "elsewhere" / "a.wav")
    sources = collect([str(three / "in")])
    with vit1dx.open(three / "f.h5") as features:
        settings = {"model_sha256": "abc", "precision": "fp32", "config": features.config}
    found = plan(sources, three / "f.h5", settings)
    ((key, reason),) = found.unreadable
    assert (key, "--follow-symlinks" in reason, found.todo) == ("a.wav", True, [])
    followed = collect([str(three / "in")], follow_symlinks=True)
    assert plan(followed, three / "f.h5", settings).already == 1


def test_a_file_that_cannot_be_read_for_its_checksum_is_nothing_to_do(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, check: object) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(resume, "file_sha256", broken)
    found = _plan(three / "f.h5", [str(three / "a.wav")], checksum=True)
    assert found.unreadable == [("a.wav", "Input/output error")]
    assert (found.todo, found.changed, found.others) == ([], [], 2)


def test_a_changed_file_is_done_again_once_and_its_track_stands_meanwhile(three: Path) -> None:
    (three / "a.wav").write_text("other")
    found = _plan(three / "f.h5", [str(three / "a.wav")])
    assert ([source.id for source in found.todo], found.changed) == (["a.wav"], ["a.wav"])
    with FeatureWriter(three / "f.h5", _header()) as writer:
        (source,) = found.todo
        writer.fail("a.wav", "no music", source.size, source.mtime_ns)
    found = _plan(three / "f.h5", [str(three / "a.wav")])
    assert (found.todo, found.failures) == ([], [("a.wav", "no music")])
    assert found.outdated == {"a.wav"}
    assert "a.wav" in vit1dx.open(three / "f.h5")
    assert len(_plan(three / "f.h5", [str(three / "a.wav")], retry_failed=True).todo) == 1


def test_tracks_of_other_files_are_not_called_gone(three: Path) -> None:
    (three / "c.wav").unlink()
    found = _plan(three / "f.h5", [str(three / "a.wav")])
    assert (found.already, found.gone, found.others) == (1, ["c.wav"], 1)


def test_a_name_that_is_no_utf_8_is_looked_for(tmp_path: Path) -> None:
    names = [b"caf\xe9.wav", rb"back\xe9slash.wav"]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    shown = [str(tmp_path / r"caf\xe9.wav"), str(tmp_path / r"back\xe9slash.wav")]
    assert not any(map(resume._is_gone, shown))
    assert resume._is_gone(str(tmp_path / r"gone\xe9.wav"))


def test_how_many_files_are_looked_for_is_bounded(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "bc":
        (three / f"{name}.wav").unlink()
    monkeypatch.setattr(resume, "LOOKED_FOR", 1)
    found = _plan(three / "f.h5", [str(three / "a.wav")])
    assert (found.gone, found.others) == (["b.wav"], 1)


class TestCommand:
    """The four ways in which a run that goes on might delete what it finished."""

    ARGUMENTS = ("--layers", "1", "-o", "f.h5")

    def _run(self, cli: RunCli, *arguments: str, code: int = 0) -> Any:
        result = cli("extract", *arguments, *self.ARGUMENTS, "--json", "--quiet")
        assert result.returncode == code, result.stderr
        return json.loads(result.stdout)

    @pytest.mark.slow
    def test_no_track_is_deleted(self, cli: RunCli, tmp_path: Path) -> None:
        for folder in ("music", "far"):
            (tmp_path / folder).mkdir()
        for name in ("music/stays.wav", "music/goes.wav", "music/breaks.wav", "far/x.wav"):
            soundfile.write(tmp_path / name, song(1.0), 44100)
        (tmp_path / "music" / "link.wav").symlink_to(tmp_path / "far" / "x.wav")
        assert self._run(cli, "music", "--follow-symlinks", "--checksum")["done"] == 4
        ids = ["breaks.wav", "goes.wav", "link.wav", "stays.wav"]
        (tmp_path / "music" / "goes.wav").unlink()
        (tmp_path / "music" / "breaks.wav").write_text("no music")
        listed = "".join(f"music/{name}\n" for name in ids)
        (tmp_path / "list.txt").write_text(listed)
        summary = self._run(cli, "--files-from", "list.txt", "--root", "music", code=1)
        assert (summary["already"], summary["gone"]) == (2, ["goes.wav"])
        assert summary["outdated"] == [f["id"] for f in summary["failures"]] == ["breaks.wav"]
        summary = self._run(cli, "music", code=1)
        assert [u["id"] for u in summary["unreadable"]] == ["link.wav"]
        (tmp_path / "far" / "x.wav").unlink()
        summary = self._run(cli, "music", "--follow-symlinks", "--checksum", code=1)
        assert summary["gone"] == ["goes.wav", "link.wav"]
        with vit1dx.open(tmp_path / "f.h5") as features:
            assert list(features) == ids
            assert set(features.failures) == {"breaks.wav"}
        said = cli("extract", "music", *self.ARGUMENTS).stdout
        assert "1 track kept of files that failed after they changed: breaks.wav" in said
        assert "2 tracks kept of files that are no longer where they were read" in said
        soundfile.write(tmp_path / "music" / "breaks.wav", song(2.0), 44100)
        assert self._run(cli, "music")["changed"] == 1
        with vit1dx.open(tmp_path / "f.h5") as features:
            assert (features["breaks.wav"].duration, features.failures) == (2.0, {})


def test_ids_below_a_root_are_the_same_however_files_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m" / "a" / "b").mkdir(parents=True)
    (tmp_path / "m" / "a" / "b" / "1.wav").touch()
    monkeypatch.chdir(tmp_path)
    ways: list[tuple[list[str], list[str]]] = [
        (["m"], []),
        (["m/a/b"], []),
        (["./m/../m/a/b/1.wav"], []),
        (["m/**/*.wav"], []),
        (["m/a/*"], []),
        ([], ["m/a/b/1.wav"]),
        ([], [str(tmp_path / "m" / "a" / "b" / "1.wav")]),
    ]
    for paths, listed in ways:
        for root in ("m", str(tmp_path / "m")):
            assert [s.id for s in collect(paths, listed, root=root)] == ["a/b/1.wav"], paths
    assert collect(["m"], exclude=["a/*"], root="m") == []
    for paths, listed in ways[1:]:
        with pytest.raises(ValueError, match="is not below --root elsewhere"):
            collect(paths, listed, root="elsewhere")
