"""Music from a bucket and features into one, by a server on loopback that speaks S3."""

from __future__ import annotations

import pickle
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import vit1dx
import vit1dx.run.upload as upload_module
from vit1dx.cli.info import describe
from vit1dx.doors.tables import export
from vit1dx.errors import LockedError, StoreError, UsageError, WriteError
from vit1dx.store.merge import merge
from vit1dx.store.repair import repair
from vit1dx.store.verify import verify

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
    system = fsspec.filesystem("s3")  # the one that runs of this process use, too
    system.invalidate_cache()
    system.mkdir("archive")
    return system


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``music``, four tracks among other things, and ``here.h5`` made of it."""
    folder = tmp_path_factory.mktemp("local")
    music = folder / "music"
    for seed, name in enumerate(("a/x.wav", "b/y [live].flac", "b/z.mp3", "v.ogg")):
        (music / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(music / name, song(3.0, seed=seed), 44100)
    (music / "b" / ".hidden.wav").write_bytes(b"")
    (music / "notes.txt").write_text("no music")
    (music / "broken.flac").write_bytes(b"fLaC, but no more")
    _extract(music, folder / "here.h5")
    return folder


def _extract(source: Any, output: Any, **options: Any) -> vit1dx.Summary:
    return vit1dx.extract(source, output, workers=1, quiet=True, **options)


@pytest.mark.slow
def test_music_in_a_bucket_is_music_in_a_folder(bucket: Any, local: Path, tmp_path: Path) -> None:
    bucket.put(f"{local}/music/", "archive/music/", recursive=True)
    there = _extract("s3://archive/music/", tmp_path / "there.h5")
    assert (there.done, there.passed_over.hidden) == (4, 1)
    assert there.passed_over.other_endings == {".txt": 1}
    assert [track_id for track_id, _ in there.failures] == ["broken.flac"]
    require_same(tmp_path / "there.h5", local / "here.h5")
    with vit1dx.open(tmp_path / "there.h5") as features:
        assert features["v.ogg"].attributes["source"] == "s3://archive/music/v.ogg"

    soundfile.write(tmp_path / "x.wav", song(3.0, seed=0)[::-1], 44100)  # of the same size
    bucket.put(f"{tmp_path}/x.wav", "archive/music/a/x.wav")
    bucket.rm("archive/music/v.ogg")
    again = _extract("s3://archive/music/", tmp_path / "there.h5")
    assert (again.done, again.already, again.changed, again.others) == (1, 2, 1, 1)


@pytest.mark.slow
def test_globs_lists_and_signed_links(
    bucket: Any, server: str, local: Path, tmp_path: Path
) -> None:
    bucket.put(f"{local}/music/", "archive/music/", recursive=True)
    bucket.copy("archive/music/v.ogg", "archive/w.ogg")
    bucket.chmod("archive/w.ogg", "public-read")
    (tmp_path / "list").write_text("s3://archive/music/b/z.mp3\ns3://archive/music/a/none.wav\n")
    link = f"{server.replace('//', '//me:hunter2@')}/archive/w.ogg?token=feed"
    given = ["s3://archive/mus*/a/x*", link]
    _extract(given, tmp_path / "f.h5", layers=4, files_from=tmp_path / "list")
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert list(features) == ["archive/music/b/z.mp3", "music/a/x.wav", "w.ogg"]
        assert list(features.failures) == ["archive/music/a/none.wav"]
        assert features["w.ogg"].attributes["source"] == f"{server}/archive/w.ogg"
    for secret in (b"hunter2", b"feed", SECRET.encode()):
        assert secret not in (tmp_path / "f.h5").read_bytes()


@pytest.mark.slow
def test_shards_go_into_a_bucket_and_are_read_there(
    bucket: Any, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = "s3://archive/feats/"
    first = _extract(local / "music", there, shard_size="1MB")
    assert (first.done, str(first.output), first.not_uploaded) == (4, there, 0)
    names = {key.rpartition("/")[2] for key in bucket.find("archive/feats")}
    assert names == {f"0000{n}.h5" for n in range(len(names))}, "no lock, nothing half"
    assert len(names) >= 4
    assert first.output_bytes == sum(bucket.du("archive/feats", total=False).values())

    require_same(there, local / "here.h5")
    with vit1dx.open(there) as features, vit1dx.open(local / "here.h5") as here:
        assert features.index() == here.index()
        assert features.failures == here.failures
        assert features.attributes["finished"] == 1
        copy = pickle.loads(pickle.dumps(features))
        np.testing.assert_array_equal(copy.matrix(8)[0], here.matrix(8)[0])
        copy.close()
    assert verify(there).is_good
    assert describe(there)["bytes"] == first.output_bytes
    with vit1dx.open(there) as features:
        assert export(features, tmp_path / "x.csv", "csv", "mean", (8,)) == 4

    # On another machine, so to speak.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    soundfile.write(tmp_path / "d.wav", song(3.0, seed=9), 44100)
    second = _extract([local / "music", tmp_path / "d.wav"], there)
    assert (second.already, second.done) == (4, 1)

    bucket.pipe_file("archive/feats/lock", b'{"pid": 7, "host": "elsewhere"}')
    with pytest.raises(LockedError, match="process 7 on elsewhere"):
        _extract(local / "music", there)


@pytest.mark.slow
def test_parts_go_into_a_bucket_each_for_itself(bucket: Any, local: Path) -> None:
    there = "s3://archive/feats/"
    bucket.put(f"{local}/music/", "archive/music/", recursive=True)
    told = _extract("s3://archive/music/", there, part="1/2", dry_run=True)
    assert not bucket.exists("archive/feats")
    one = _extract("s3://archive/music/", there, part="1/2")
    assert told.forecast is not None
    assert told.forecast.todo == one.done + len(one.failures)
    assert told.forecast.free_bytes is None
    with vit1dx.open(there) as features:
        assert str(features.parts) == "2 parts; missing: 2"
        assert len(features) == one.done
    with pytest.raises(UsageError, match=r"s3://archive/feats/ holds parts of 2, and --part 1/3"):
        _extract(local / "music", there, part="1/3")
    with pytest.raises(UsageError, match=r"is in 2 parts; give --part K/2"):
        _extract(local / "music", there)
    with pytest.raises(UsageError, match=r"is in 2 parts; give --part K/2"):
        _extract(local / "music", there, dry_run=True)
    two = _extract(local / "music", there, part="2/2")  # the same files, from elsewhere
    assert one.done + two.done == 4
    again = _extract(local / "music", there, part="2/2", dry_run=True)
    assert again.forecast is not None
    assert (again.already, again.forecast.todo) == (two.done, 0)
    assert again.output_bytes == two.output_bytes
    require_same(there, local / "here.h5")
    assert verify(there).is_good


@pytest.mark.slow
def test_an_upload_that_breaks_is_done_by_the_next_run(
    bucket: Any, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, calls = bucket.put_file, []

    def broken(here: str, remote: str, **more: Any) -> Any:
        calls.append(remote)
        if len(calls) > 1:
            raise ConnectionResetError("Connection reset by peer")
        return put(here, remote, **more)

    with monkeypatch.context() as patch:
        patch.setattr(bucket, "put_file", broken)  # the class has it only as what is async
        patch.setattr(upload_module, "PAUSE", 0.0)
        with pytest.raises(
            WriteError, match=r"s3://archive/feats/ cannot be written: .*reset by peer"
        ):
            _extract(local / "music", "s3://archive/feats/", shard_size="1MB")
    assert len(calls) == 1 + upload_module.ATTEMPTS
    assert len(bucket.find("archive/feats")) == 1
    again = _extract(local / "music", "s3://archive/feats/", shard_size="1MB")
    assert again.already >= 2, "what waited for its upload is not done again"
    require_same("s3://archive/feats/", local / "here.h5")


@pytest.mark.slow
def test_what_is_damaged_or_replaced_in_a_bucket_is_said(
    bucket: Any, local: Path, tmp_path: Path
) -> None:
    data = (local / "here.h5").read_bytes()
    bucket.pipe_file("archive/cut.h5", data[:-5000])
    with pytest.raises(StoreError, match=r"s3://archive/cut\.h5 was cut, from \d+ bytes"):
        vit1dx.open("s3://archive/cut.h5")
    bucket.put_file(str(local / "here.h5"), "archive/whole.h5")
    with vit1dx.open("s3://archive/whole.h5") as features:
        bucket.pipe_file("archive/whole.h5", bytes(len(data)))
        with pytest.raises(StoreError, match=r"s3://archive/whole\.h5 cannot be read"):
            [features[key].sequence_tokens for key in ("a/x.wav", "v.ogg")]
    for where, words in (
        ("s3://archive/none/", "no feature file at s3://archive/none/"),
        ("s3://none/x.h5", "no feature file at s3://none/x.h5"),
    ):
        with pytest.raises(StoreError, match=words):
            vit1dx.open(where)
    for refused in (
        lambda: repair("s3://archive/whole.h5"),
        lambda: merge(["s3://archive/whole.h5"], tmp_path / "m.h5"),
        lambda: merge([local / "here.h5"], "s3://archive/m/"),
    ):
        with pytest.raises(UsageError, match="copy it first, as by 'aws s3 sync'"):
            refused()


def test_errors_are_one_line_without_secrets(
    bucket: Any, songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(source: Any, output: Any) -> str:
        with pytest.raises((UsageError, StoreError)) as caught:
            _extract(source, output)
        return str(caught.value)

    output = tmp_path / "f.h5"
    with monkeypatch.context() as patch:
        patch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0.0)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIDWRONG")
        type(bucket).clear_instance_cache()
        read = said("s3://archive/music/", output)
        write = said(songs, "s3://archive/feats/")
        with pytest.raises(StoreError) as caught:
            vit1dx.open("s3://archive/feats/")
        opened = str(caught.value)
        type(bucket).clear_instance_cache()
    nowhere = said(songs, "s3://none/feats/")
    nothing = said("s3://archive/nothing/", output)
    for text, words in (
        (read, "s3://archive/music/: no permission with the credentials in use"),
        (write, "s3://archive/feats/ cannot be "),
        (write, "no permission with the credentials in use"),
        (opened, "s3://archive/feats/ cannot be read: no permission with the credentials in use"),
        (nowhere, "s3://none/feats/ cannot be written: The specified bucket does not exist"),
        (nothing, "s3://archive/nothing/: no such file or folder"),
    ):
        assert words in text
        assert "\n" not in text
        assert SECRET not in text


def test_a_bucket_of_nothing_installed(cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "fsspec.py").write_text("raise ImportError('no fsspec here')\n")
    run = cli("extract", "s3://archive/music/", "-o", "f.h5", env={"PYTHONPATH": str(tmp_path)})
    assert run.returncode == 2
    assert "no fsspec here; pip install 'vit1dx[cloud]'" in run.stderr
    assert run.stderr.count("\n") == 1
