"""Which files a run takes, and the ids it gives them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vit1dx.errors import UsageError
from vit1dx.run.lists import read_list
from vit1dx.run.sources import PassedOver, Source, collect


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
    assert collect(["music/*.txt"]) == []


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
    for pattern in ("music/*/o*.wav", "music/o*", "music/o*/*.wav"):
        assert all("--follow-symlinks" in str(s.problem) for s in collect([pattern]))
    followed = collect(["music/*/o*.wav"], follow_symlinks=True)
    assert _ids(followed) == ["a/out.wav", "out/o.wav"]
    with pytest.raises(UsageError, match=r"'\.\.' after a wildcard; leave it out"):
        collect(["music/*/../../outside/*.wav"])
    assert _ids(collect(["music/a/../b/*.wav"])) == ["x.wav"]


def _files(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1234")


@pytest.mark.parametrize("pattern", ["music/**/*.wav", "music/**", "music/**/**/x.wav", "music/*"])
def test_recursive_globs_take_each_file_once_and_follow_no_links_to_folders(
    music: Path, pattern: str
) -> None:
    before = _ids(collect([pattern]))
    (music / "loop").symlink_to(".")
    (music / "a" / "up").symlink_to("..")
    (music / "a" / "beside").symlink_to("../b")
    assert _ids(collect([pattern])) == before
    assert len(before) == len(set(before)) >= 2


def test_a_glob_follows_links_that_its_own_parts_name(music: Path) -> None:
    (music / "same").symlink_to("a")
    assert _ids(collect(["music/s*/x.wav"])) == ["same/x.wav"]
    assert _ids(collect(["music/sam[e]"])) == ["same/x.mp3", "same/x.wav"]


@pytest.mark.parametrize("pattern", ["music/*.opus", "nowhere/*.wav", "music/Song [id].wav", "no*"])
def test_a_glob_without_a_match_is_refused_like_a_missing_file(music: Path, pattern: str) -> None:
    with pytest.raises(UsageError, match="no such file, and no match"):
        collect(["music", pattern])


def test_names_with_brackets_are_names_first(music: Path) -> None:
    _files(music, "Song [dQw4w9WgXcQ].wav", "Album [FLAC]/1.wav", "Album [FLAC]/2.wav")
    assert _ids(collect(["music/Song [dQw4w9WgXcQ].wav"])) == ["Song [dQw4w9WgXcQ].wav"]
    assert _ids(collect(["music/Album [FLAC]/*.wav"])) == ["1.wav", "2.wav"]
    only = collect(["music"], exclude=["Album [FLAC]", "a", "b"])
    assert _ids(only) == ["Song [dQw4w9WgXcQ].wav"]


def test_an_empty_name_is_not_the_current_folder(music: Path) -> None:
    with pytest.raises(UsageError, match="an empty name"):
        collect([""])


@pytest.mark.parametrize("source", ["music", "music/**/*.wav", "music/**", "music/b*"])
def test_a_folder_that_cannot_be_read_is_reported(
    music: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    scan = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (problem,) = (found for found in collect([source]) if found.problem)
    assert (problem.id, problem.problem) == ("b/deep/", "folder not read: Permission denied")


@pytest.mark.parametrize(
    "pattern", ["b/", "./b/", "./b/*", "music/b", "music/b/", "./music/b/*", "**/b/*", "{music}/b/"]
)
@pytest.mark.parametrize("source", ["music", "music/**/*.*", "list"])
def test_exclude_as_tab_completion_types_it(music: Path, pattern: str, source: str) -> None:
    passed_over, pattern = PassedOver(), pattern.format(music=music)
    paths, listed = ([], [f"music/{name}" for name in ALL]) if source == "list" else ([source], [])
    if source == "list" and "music" not in pattern:
        pattern = f"*/{pattern.removeprefix('./')}"  # ids of listed files begin with "music/"
    found = collect(paths, listed, [pattern], passed_over=passed_over)
    assert [Path(source.id).name for source in found] == ["x.mp3", "x.wav"]
    assert passed_over.unused_patterns == []


def test_patterns_that_match_nothing_are_named(music: Path) -> None:
    passed_over = PassedOver()
    exclude = ["a", "x.mp3", "*.txt", "solo/", "c/*"]
    collect(["music"], (), exclude, include=["*.spx", "notes.*"], passed_over=passed_over)
    assert passed_over.unused_patterns == ["x.mp3", "solo/", "c/*", "*.spx", "notes.*"]


def test_what_is_passed_over_is_counted(music: Path) -> None:
    _files(
        music,
        "b/1.MPGA",
        "b/2.mpga",
        "b/README",
        ".DS_Store",
        ".38 Special.mp3",
        ".cover.jpg",
        "c/...And Justice for All.mp3",
        "...Baby One More Time/1.wav",
    )
    titles = ["...Baby One More Time/1.wav", "c/...And Justice for All.mp3"]
    for source in ("music", "music/**"):
        passed_over = PassedOver()
        assert set(_ids(collect([source], passed_over=passed_over))) == {*ALL, *titles}
        assert passed_over.to_dict() == {
            "hidden": 3,  # .38 Special.mp3, .hidden.wav and .git/
            "other_endings": {".mpga": 2, "": 1, ".txt": 1},
            "unused_patterns": [],
        }
    passed_over = PassedOver()
    collect(["music/*/*.[mM]*"], passed_over=passed_over)
    assert passed_over.to_dict()["other_endings"] == {".mpga": 2}
    assert passed_over.hidden == 1  # .git/


def test_include_takes_what_would_be_passed_over(music: Path) -> None:
    _files(music, ".38 Special/1.wav", ".38 Special/cover.jpg", "a/y.mpga", "a/no.mpga")
    include = [".38*", "*.mpga", ".git/*.wav"]
    found = _ids(collect(["music"], exclude=["no.*"], include=include))
    assert sorted(set(found) - set(ALL)) == [".38 Special/1.wav", ".git/z.wav", "a/y.mpga"]
    assert _ids(collect(["music/.38*/*"])) == [".38 Special/1.wav"]


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"]
)
def test_lists_with_a_byte_order_mark(encoding: str) -> None:
    text = "a b.wav\r\nöl.wav\r\n東京.wav"
    mark = "" if encoding in ("utf-8-sig", "utf-16", "utf-32") else "\ufeff"
    data = (mark + text).encode(encoding)
    assert read_list(data) == ["a b.wav", "öl.wav", "東京.wav"]


def test_a_list_that_is_not_what_its_mark_says() -> None:
    with pytest.raises(ValueError, match=r"not the UTF-16 .* save it as UTF-8"):
        read_list("a.wav\n".encode("utf-16") + b"b")
