"""Music from a bucket and features into one, by a server on loopback that speaks S3."""

from __future__ import annotations

import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

import vit1dx
import vit1dx.run.upload as upload_module
from vit1dx.errors import LockedError, WriteError

from ..conftest import RunCli
from ..runs import require_same
from ..synth import song

pytest.importorskip("s3fs")
pytest.importorskip("moto")

SECRET = "averysecretkey"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def bucket(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A file system with an empty bucket ``archive``; temporary files go into ``tmp``."""
    import fsspec

    for name, value in (
        ("AWS_ENDPOINT_URL", server),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    urllib.request.urlopen(f"{server}/moto-api/reset", data=b"").close()
    system = fsspec.filesystem("s3", skip_instance_cache=False)
    system.invalidate_cache()
    system.mkdir("archive")
    return system


def _music(folder: Path, names: tuple[str, ...]) -> Path:
    for seed, name in enumerate(names):
        path = folder / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, song(3.0 + seed, seed=seed), 44100)
    return folder / "music"


@pytest.mark.slow
def test_music_in_a_bucket_is_music_in_a_folder(bucket: Any, tmp_path: Path) -> None:
    music = _music(tmp_path, ("a/x.wav", "b/y [live].flac", "b/z.mp3", "v.ogg"))
    (music / "b" / ".hidden.wav").write_bytes(b"")
    (music / "notes.txt").write_text("no music")
    (music / "broken.flac").write_bytes(b"fLaC, but no more")
    bucket.put(f"{music}/", "archive/music/", recursive=True)
    there = vit1dx.extract("s3://archive/music/", tmp_path / "there.h5", layers=4)
    here = vit1dx.extract(music, tmp_path / "here.h5", layers=4)
    assert (there.done, there.passed_over) == (4, here.passed_over)
    assert [track_id for track_id, _ in there.failures] == ["broken.flac"]
    require_same(tmp_path / "there.h5", tmp_path / "here.h5")
    with vit1dx.open(tmp_path / "there.h5") as features:
        assert features["v.ogg"].attributes["source"] == "s3://archive/music/v.ogg"

    soundfile.write(music / "a/x.wav", song(3.0, seed=0)[::-1], 44100)  # of the same size
    bucket.put(str(music / "a/x.wav"), "archive/music/a/x.wav")
    bucket.rm("archive/music/v.ogg")
    again = vit1dx.extract("s3://archive/music/", tmp_path / "there.h5", layers=4)
    assert (again.done, again.already, again.changed, again.others) == (1, 2, 1, 1)


@pytest.mark.slow
def test_globs_lists_and_signed_links(bucket: Any, server: str, tmp_path: Path) -> None:
    music = _music(tmp_path, ("a/x.wav", "a/y.wav"))
    bucket.put(f"{music}/", "archive/music/", recursive=True)
    (tmp_path / "list").write_text("s3://archive/music/a/y.wav\ns3://archive/music/a/none.wav\n")
    vit1dx.extract("s3://archive/mus*/a/x*", tmp_path / "glob.h5", layers=4)
    vit1dx.extract([], tmp_path / "list.h5", layers=4, files_from=tmp_path / "list")
    with vit1dx.open(tmp_path / "glob.h5") as features:
        assert list(features) == ["music/a/x.wav"]
    with vit1dx.open(tmp_path / "list.h5") as features:
        assert list(features) == ["archive/music/a/y.wav"]
        assert list(features.failures) == ["archive/music/a/none.wav"]
    bucket.chmod("archive/music/a/x.wav", "public-read")
    url = f"{server.replace('//', '//me:hunter2@')}/archive/music/a/x.wav?token=feed"
    vit1dx.extract(url, tmp_path / "link.h5", layers=4)
    with vit1dx.open(tmp_path / "link.h5") as features:
        assert features["x.wav"].attributes["source"] == f"{server}/archive/music/a/x.wav"
    for secret in (b"hunter2", b"feed", SECRET.encode()):
        assert secret not in (tmp_path / "link.h5").read_bytes()


@pytest.mark.slow
def test_shards_go_into_a_bucket_and_are_known_there(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    music = _music(tmp_path, ("a.wav", "b.wav", "c.wav"))
    first = vit1dx.extract(music, "s3://archive/feats/", layers="all", shard_size="1MB")
    assert (first.done, str(first.output), first.not_uploaded) == (3, "s3://archive/feats/", 0)
    names = {key.rpartition("/")[2] for key in bucket.find("archive/feats")}
    assert names == {"00000.h5", "00001.h5", "00002.h5"}, "no lock, nothing half"
    assert first.output_bytes == sum(bucket.du("archive/feats", total=False).values())

    # On another machine, so to speak.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    soundfile.write(music / "d.wav", song(3.0, seed=9), 44100)
    second = vit1dx.extract(music, "s3://archive/feats/", layers="all")
    assert (second.already, second.done) == (3, 1)
    third = vit1dx.extract(music, "s3://archive/feats/", layers="all")
    assert (third.already, third.done) == (4, 0)

    bucket.pipe_file("archive/feats/lock", b'{"pid": 7, "host": "elsewhere"}')
    with pytest.raises(LockedError, match="process 7 on elsewhere"):
        vit1dx.extract(music, "s3://archive/feats/", layers="all")
    bucket.rm_file("archive/feats/lock")
    bucket.get("archive/feats/", str(tmp_path / "feats"), recursive=True)
    vit1dx.extract(music, tmp_path / "local.h5", layers="all")
    require_same(tmp_path / "feats", tmp_path / "local.h5")


@pytest.mark.slow
def test_an_upload_that_breaks_is_done_by_the_next_run(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    music = _music(tmp_path, ("a.wav", "b.wav", "c.wav"))
    put, calls = type(bucket).put_file, []

    def broken(self: Any, local: str, remote: str, **more: Any) -> Any:
        calls.append(remote)
        if len(calls) > 1:
            raise ConnectionResetError("Connection reset by peer")
        return put(self, local, remote, **more)

    with monkeypatch.context() as patch:
        patch.setattr(type(bucket), "put_file", broken)
        patch.setattr(upload_module, "PAUSE", 0.0)
        with pytest.raises(
            WriteError, match=r"s3://archive/feats/ cannot be written: .*reset by peer"
        ):
            vit1dx.extract(music, "s3://archive/feats/", layers="all", shard_size="1MB")
    assert len(calls) == 1 + upload_module.ATTEMPTS
    assert len(bucket.find("archive/feats")) == 1
    again = vit1dx.extract(music, "s3://archive/feats/", layers="all", shard_size="1MB")
    assert again.already >= 2, "what waited for its upload is not done again"
    bucket.get("archive/feats/", str(tmp_path / "feats"), recursive=True)
    vit1dx.extract(music, tmp_path / "local.h5", layers="all")
    require_same(tmp_path / "feats", tmp_path / "local.h5")


@pytest.mark.slow
def test_errors_are_one_line_without_secrets(
    bucket: Any, cli: RunCli, songs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {"AWS_ACCESS_KEY_ID": "AKIDWRONG"}
    with monkeypatch.context() as patch:
        patch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0.0)
        read = cli("extract", "s3://archive/music/", "-o", "f.h5", env=wrong)
        write = cli("extract", songs, "-o", "s3://archive/feats/", env=wrong)
    nowhere = cli("extract", songs, "-o", "s3://none/feats/")
    nothing = cli("extract", "s3://archive/nothing/", "-o", "f.h5")
    assert [run.returncode for run in (read, write, nowhere, nothing)] == [2, 5, 5, 2]
    for run, words in (
        (read, "s3://archive/music/: no permission with the credentials in use"),
        (write, "s3://archive/feats/ cannot be written: no permission with the credentials in use"),
        (nowhere, "s3://none/feats/ cannot be written: The specified bucket does not exist"),
        (nothing, "s3://archive/nothing/: no such file or folder"),
    ):
        assert words in run.stderr
        assert run.stderr.count("\n") == 1
        assert SECRET not in run.stderr + run.stdout


def test_a_bucket_of_nothing_installed(cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "fsspec.py").write_text("raise ImportError('no fsspec here')\n")
    run = cli("extract", "s3://archive/music/", "-o", "f.h5", env={"PYTHONPATH": str(tmp_path)})
    assert run.returncode == 2
    assert "no fsspec here; pip install 'vit1dx[cloud]'" in run.stderr
    assert run.stderr.count("\n") == 1
