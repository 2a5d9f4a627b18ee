"""The folders that are extracted, made when they are first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.music import write

#: Songs that are composed; the others are the same under other names, no cheaper to decode.
DISTINCT = 4


@dataclass(frozen=True)
class Collection:
    """Music below one folder.

    Attributes
    ----------
    root : Path
    song_seconds : float
        Length of a song.
    """

    root: Path
    song_seconds: float = 180.0

    def songs(self, count: int, ending: str = "mp3") -> Path:
        """A folder of songs in one format."""
        return self._filled(f"{count}-songs-{ending}", count, self.song_seconds, ending)

    def single(self, seconds: float, ending: str = "flac") -> Path:
        """A folder of one file."""
        return self._filled(f"{seconds:g}-seconds-{ending}", 1, seconds, ending)

    def _filled(self, name: str, count: int, seconds: float, ending: str) -> Path:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            path = folder / f"{index:05}.{ending}"
            if not path.exists():
                path.hardlink_to(self._composed(seconds, ending, seed=index % DISTINCT))
        return folder

    def _composed(self, seconds: float, ending: str, seed: int) -> Path:
        path = self.root / "composed" / f"{seed}-{seconds:g}.{ending}"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_stem("unfinished")
            write(unfinished, seconds, seed)
            unfinished.rename(path)
        return path
