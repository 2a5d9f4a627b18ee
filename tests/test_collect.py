"""Which files a run takes, and the ids it gives them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vit1dx.collect import Source, collect, read_list
from vit1dx.errors import UsageError


@pytest.fixture
def music(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files that look like music, and the current folder above it."""
    for name in (
        "a/x.wav",
        "a/x.mp3",
        "b/x.wav",
        "b/deep/er/y.FLAC",
        "notes.txt",
        ".hidden.wav",
        ".git/z.wav",
        "b/._x.wav",
    ):
        path = tmp_path / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1234")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "music"


def _ids(sources: list[Source]) -> list[str]:
    return [source.id for source in sources]


ALL = ["a/x.mp3", "a/x.wav", "b/deep/er/y.FLAC", "b/x.wav"]


def test_folders_are_searched_and_ids_are_paths_below_them(music: Path) -> None:
    sources = collect(["music"])
    assert _ids(sources) == ALL
    assert [source.path for source in sources] == [Path("music") / track_id for track_id in ALL]
    assert {source.size for source in sources} == {4}
    assert _ids(collect(["music/a", "music/b/deep"])) == ["x.mp3", "x.wav", "er/y.FLAC"]


def test_files_are_taken_whatever_they_are_called(music: Path) -> None:
    assert _ids(collect(["music/notes.txt", "music/.hidden.wav"])) == ["notes.txt", ".hidden.wav"]


def test_globs(music: Path) -> None:
    assert _ids(collect(["music/*/x.wav"])) == ["a/x.wav", "b/x.wav"]
    assert _ids(collect(["music/**/*.wav"])) == ["a/x.wav", "b/x.wav"]
    assert _ids(collect(["music/[b]"])) == ["b/deep/er/y.FLAC", "b/x.wav"]
    assert collect(["music/*.opus"]) == []


def test_lists(music: Path) -> None:
    listed = ["music/a/x.wav", "./music/b/../b/x.wav", os.fspath(music / "a/x.mp3"), "gone.wav"]
    assert _ids(collect([], listed)) == [
        "music/a/x.wav",
        "music/b/x.wav",
        "music/a/x.mp3",
        "gone.wav",
    ]
    (outside,) = collect([], ["/somewhere/else.wav"])
    assert outside.id == "somewhere/else.wav"


def test_list_formats() -> None:
    assert read_list(b"a b.wav\nc.wav\r\n\nd.wav") == ["a b.wav", "c.wav", "d.wav"]
    assert read_list(b"a\nb.wav\0c.wav\0") == ["a\nb.wav", "c.wav"]
    assert [os.fsencode(name) for name in read_list(b"caf\xe9.wav\n")] == [b"caf\xe9.wav"]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*.wav", ["a/x.mp3", "b/deep/er/y.FLAC"]),
        ("a", ["b/deep/er/y.FLAC", "b/x.wav"]),
        ("b/*", ["a/x.mp3", "a/x.wav"]),
        ("deep", ["a/x.mp3", "a/x.wav", "b/x.wav"]),
        ("x.wav", ["a/x.mp3", "b/deep/er/y.FLAC"]),
        ("z*", ALL),
    ],
)
def test_exclude(music: Path, pattern: str, left: list[str]) -> None:
    assert _ids(collect(["music"], exclude=[pattern])) == left
    assert _ids(collect(["music/**"], exclude=[pattern])) == left


def test_colliding_roots_are_refused_with_both_paths(music: Path) -> None:
    with pytest.raises(UsageError, match=r"music/a/x\.wav and music/b/x\.wav would both be"):
        collect(["music/a", "music/b"])
    assert _ids(collect(["music", "music"])) == ALL


def test_a_track_inside_a_track_is_refused(music: Path, tmp_path: Path) -> None:
    inner = tmp_path / "other" / "x.wav" / "y.mp3"
    inner.parent.mkdir(parents=True)
    inner.touch()
    with pytest.raises(UsageError, match=r"other/x\.wav/y\.mp3 would lie inside track x\.wav"):
        collect(["music/a", "other"])


def test_missing_path(music: Path) -> None:
    with pytest.raises(UsageError, match="nowhere: no such file or folder"):
        collect(["nowhere"])


def test_symbolic_links(music: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "o.wav").touch()
    (music / "loop").symlink_to(music)
    (music / "self.wav").symlink_to("self.wav")
    (music / "broken.wav").symlink_to("nowhere.wav")
    (music / "inside.wav").symlink_to("a/x.wav")
    (music / "out.wav").symlink_to(tmp_path / "outside" / "o.wav")
    (music / "outdir").symlink_to(tmp_path / "outside")
    found = {source.id: source for source in collect(["music"])}
    extra = {"broken.wav", "inside.wav", "out.wav", "outdir", "self.wav"}
    assert set(found) == {*ALL, *extra}
    refused = {track_id for track_id, source in found.items() if source.problem}
    assert refused == {"out.wav", "outdir"}
    assert "--follow-symlinks" in str(found["out.wav"].problem)
    followed = {source.id: source for source in collect(["music"], follow_symlinks=True)}
    assert set(followed) == {*ALL, *extra, "outdir/o.wav"} - {"outdir"}
    assert not any(source.problem for source in followed.values())


def test_names_that_are_not_utf8(music: Path) -> None:
    (music / os.fsdecode(b"caf\xe9.wav")).touch()
    (music / "café.wav").touch()
    assert {r"caf\xe9.wav", "café.wav"} < set(_ids(collect(["music"])))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_unreadable_folder_is_reported(music: Path) -> None:
    (music / "b").chmod(0)
    try:
        (problem,) = (source for source in collect(["music"]) if source.problem)
        assert (problem.id, problem.problem) == ("b/", "folder not read: Permission denied")
    finally:
        (music / "b").chmod(0o755)


def test_globs_do_not_lead_out_of_their_folder(music: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "o.wav").write_bytes(b"1234")
    (music / "a" / "out.wav").symlink_to(tmp_path / "outside" / "o.wav")
    (music / "out").symlink_to(tmp_path / "outside")
    for pattern in ("music/*/o*.wav", "music/o*"):
        assert all("--follow-symlinks" in str(s.problem) for s in collect([pattern]))
    followed = collect(["music/*/o*.wav"], follow_symlinks=True)
    assert _ids(followed) == ["a/out.wav", "out/o.wav"]
    with pytest.raises(UsageError, match="leads out of music"):
        collect(["music/*/../../outside/*.wav"])
    assert _ids(collect(["music/b/*/../*.wav"])) == ["x.wav"]
