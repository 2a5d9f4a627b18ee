"""Where songs come from, by the name that the command line knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from weights.recipe.corpus.compose import composed_songs
from weights.recipe.corpus.freedoom import freedoom_songs
from weights.recipe.corpus.pop909 import pop909_songs
from weights.recipe.corpus.song import Song
from weights.recipe.corpus.symbolic import groove_songs, lieder_songs, nottingham_songs

FILES = {
    "pop909": pop909_songs,
    "freedoom": freedoom_songs,
    "nottingham": nottingham_songs,
    "lieder": lieder_songs,
    "groove": groove_songs,
}
SOURCES = (*FILES, "composed")
#: What the bundled weights were trained on.
BY_DEFAULT = "pop909,freedoom,composed"


def songs_of(names: list[str], data: Path, split: str, composed: int) -> Iterator[Song]:
    """Songs of several sources that belong to a split.

    Parameters
    ----------
    names : list of str
        Any of `SOURCES`.
    data : Path
        Folder of the archives.
    split : str
        "train", "test" or "all".
    composed : int
        How many compositions there are, over both splits.
    """
    for name in names:
        if name in FILES:
            yield from FILES[name](data, split)
        elif name == "composed":
            yield from composed_songs(split, composed)
        else:
            raise ValueError(f"source {name!r} is not one of {', '.join(SOURCES)}")
