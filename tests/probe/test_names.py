"""Labels find their tracks, whatever part of the path they are named by."""

from __future__ import annotations

import pytest

from vit1dx.errors import UsageError
from vit1dx.probe.names import match

IDS = ["a/x.mp3", "b/x.mp3", "b/Mr. Jones.wav", "c/song.v2.flac", " lead/ü.ogg", "single.mp3"]


@pytest.mark.parametrize(
    ("name", "track_id"),
    [
        ("a/x.mp3", "a/x.mp3"),
        ("b/x", "b/x.mp3"),
        ("/data/music/a/x.mp3", "a/x.mp3"),
        ("Mr. Jones", "b/Mr. Jones.wav"),
        ("song.v2", "c/song.v2.flac"),
        ("song.v2.lab", "c/song.v2.flac"),
        ("single.wav", "single.mp3"),
        (" lead/ü", " lead/ü.ogg"),
        ("c\\song.v2.flac", "c/song.v2.flac"),
    ],
)
def test_a_name_finds_its_track(name: str, track_id: str) -> None:
    assert match([name], IDS).ids == {name: track_id}


def test_a_name_of_two_tracks_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'x' may be of a/x.mp3, b/x.mp3"):
        match(["x"], IDS)


def test_other_folders_names_do_where_all_are_other() -> None:
    found = match(["chords/Mr. Jones"], IDS)
    assert found.ids == {"chords/Mr. Jones": "b/Mr. Jones.wav"}
    assert found.by_end == ["chords/Mr. Jones"]


def test_where_some_agree_wholly_another_folder_is_another_track() -> None:
    found = match(["a/x.mp3", "z/Mr. Jones.wav"], IDS)
    assert found.ids == {"a/x.mp3": "a/x.mp3"}
    assert found.missing == ["z/Mr. Jones.wav"]


def test_two_names_that_may_be_of_one_track_are_refused() -> None:
    with pytest.raises(UsageError, match=r"may both be of track 'b/Mr. Jones.wav'"):
        match(["y/Mr. Jones", "z/Mr. Jones"], IDS)
