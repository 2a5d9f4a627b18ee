"""Files that take their names once they are whole."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from vit1dx.errors import UsageError
from vit1dx.whole import require_apart, whole


def test_a_file_has_its_name_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("before")
    with whole(path) as unfinished:
        assert unfinished.suffix == ".txt"
        unfinished.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert os.listdir(tmp_path) == ["x.txt"]


@pytest.mark.parametrize("end", [OSError, KeyboardInterrupt])
def test_what_fails_leaves_what_was_there(tmp_path: Path, end: type[BaseException]) -> None:
    path = tmp_path / "x.txt"
    path.write_text("before")
    with pytest.raises(end), whole(path) as unfinished:
        unfinished.write_text("half")
        raise end
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link, file = tmp_path / "link.txt", tmp_path / "far" / "file.txt"
    link.symlink_to(file)
    with whole(link) as unfinished:
        unfinished.write_text("through")
    assert link.is_symlink()
    assert file.read_text() == "through"


def test_a_pipe_is_written_as_it_is(tmp_path: Path) -> None:
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    with whole(pipe) as place:
        place.write_text("through")
    reader.join(10)
    assert heard == ["through"]
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["x" * 251 + ".txt", "音" * 83 + ".txt"])
def test_the_longest_names(tmp_path: Path, name: str) -> None:
    with whole(tmp_path / name) as unfinished:
        assert unfinished.suffix == ".txt"
        unfinished.write_text("")
    assert os.listdir(tmp_path) == [name]


def test_no_output_is_an_input(tmp_path: Path) -> None:
    path, link, other = (tmp_path / name for name in ("a", "link", "other"))
    path.touch()
    other.touch()
    link.symlink_to(path)
    require_apart(None, [path])
    require_apart(path, [other, None, tmp_path, tmp_path / "none"])
    require_apart(tmp_path / "none", [tmp_path / "none"])
    for output in (path, link):
        with pytest.raises(UsageError, match="is read too"):
            require_apart(output, [other, path])
