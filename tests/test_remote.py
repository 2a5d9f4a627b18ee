"""Files behind URLs, before any network: what is shown of them, and what they are known by."""

from __future__ import annotations

import datetime
import pickle
from pathlib import Path

import pytest

from vit1dx.errors import UsageError
from vit1dx.remote import RemotePath, path_of, plainly, shown, status_of, text_of
from vit1dx.run.objects import object_id

UTC = datetime.timezone.utc


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("s3://bucket/a b/c.mp3", "s3://bucket/a b/c.mp3"),
        ("s3://bucket/what?/a@b.mp3", "s3://bucket/what?/a@b.mp3"),
        ("ftp://me:hunter2@host:21/x.mp3", "ftp://host:21/x.mp3"),
        ("https://me@host/x.mp3?X-Amz-Signature=feed&y=1", "https://host/x.mp3"),
    ],
)
def test_no_credential_is_shown(url: str, text: str) -> None:
    path = RemotePath(url)
    assert shown(url) == str(path) == text
    assert text in repr(path)
    assert "hunter2" not in repr(path)
    assert text_of(path) == url  # but it is used
    assert pickle.loads(pickle.dumps(path)) == path


@pytest.mark.parametrize(
    "error", [ValueError, OSError, PermissionError, FileNotFoundError, RuntimeError]
)
def test_what_a_library_raises_loses_its_credentials(error: type[Exception]) -> None:
    url = "https://me:hunter%202@host/x.mp3?token=feed"
    said = f"cannot get {url}: 'hunter 2' of me:hunter%202, token=feed\nis wrong"
    with pytest.raises(OSError) as caught, plainly(url):  # noqa: PT011
        raise error(said)
    text = str(caught.value.strerror)
    assert "hunter" not in text
    assert "feed" not in text
    assert "\n" not in text


def test_a_path_stays_one_and_a_file_url_is_one() -> None:
    assert path_of("a/b.mp3") == Path("a/b.mp3")
    assert path_of("file:///a/b%20c.mp3") == Path("/a/b c.mp3")
    assert path_of("C:/x.mp3") == Path("C:/x.mp3")
    assert isinstance(path_of("gs://b/x.mp3"), RemotePath)
    with pytest.raises(UsageError, match="memory of one process"):
        path_of("memory://x.mp3")


def test_what_tells_a_file_from_how_it_was() -> None:
    noon = datetime.datetime(2026, 1, 2, 12, tzinfo=UTC)
    one = status_of({"size": 7, "LastModified": noon, "ETag": '"abc"'})
    assert (one.st_size, one.st_mtime_ns // 1_000_000_000) == (7, int(noon.timestamp()))
    # As a HEAD request has it, to the second, and with the tag as another library writes it.
    later = noon + datetime.timedelta(milliseconds=250)
    assert status_of({"size": 7, "LastModified": later, "ETag": "abc"}) == one
    assert status_of({"size": 7, "LastModified": noon, "ETag": '"abd"'}) != one
    assert status_of({"size": 7, "mtime": "Fri, 02 Jan 2026 12:00:00 GMT", "etag": "abc"}) == one
    assert status_of({"size": 7}).st_mtime_ns == 0


def test_ids_are_paths_below_a_url() -> None:
    path = RemotePath("s3://bucket/music/a/x.mp3")
    assert object_id(path, "a/x.mp3", None) == "a/x.mp3"
    assert object_id(path, "a/x.mp3", "s3://bucket/") == "music/a/x.mp3"
    for root in ("music", "s3://other", "s3://bucket/mus"):
        with pytest.raises(UsageError, match=f"x.mp3 is not below --root {root}"):
            object_id(path, "a/x.mp3", root)


def test_a_folder_is_the_same_with_a_slash_or_without() -> None:
    folder = RemotePath("s3://bucket/feats/")
    shard = folder / "part-001-of-002" / "00000.h5"
    assert str(shard) == "s3://bucket/feats/part-001-of-002/00000.h5"
    assert shard.parent.parent == folder
    assert hash(shard.parent.parent) == hash(folder)
    assert str(shard.relative_to(folder)) == "part-001-of-002/00000.h5"
