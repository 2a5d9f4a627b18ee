"""A song as symbols: notes with roles, and labels, on a time axis of its own in seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from weights.recipe.corpus.split import split_of

Floats = NDArray[np.float64]

# Times in seconds, MIDI pitch and velocity.
NOTE = np.dtype([("onset", "f8"), ("offset", "f8"), ("pitch", "i2"), ("velocity", "i2")])
ROLES = ("melody", "counter", "chords", "arpeggio", "pad", "bass", "drums")


class Span(NamedTuple):
    """A label that holds from `start` to `end`, in seconds."""

    start: float
    end: float
    label: str


def note_array(rows: Iterable[tuple[float, float, int, int]]) -> np.ndarray:
    """Structured array (n,) of `NOTE`, sorted by onset, from (onset, offset, pitch, velocity)."""
    notes = np.array([tuple(row) for row in rows], dtype=NOTE)
    return notes[np.lexsort((notes["pitch"], notes["onset"]))]


@dataclass(frozen=True)
class Track:
    """Notes that one instrument plays.

    Parameters
    ----------
    role : str
        One of `ROLES`.
    notes : np.ndarray
        (n,) of `NOTE`; pitches of drums are General MIDI's percussion keys.
    program : int, optional
        General MIDI program (0 to 127) that the source asks for; None leaves it to the rendition.
    pedal : tuple of Span
        Where the sustain pedal is down. Notes carry their written ends.
    """

    role: str
    notes: np.ndarray
    program: int | None = None
    pedal: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"role {self.role!r} is not one of {', '.join(ROLES)}")


@dataclass(frozen=True)
class Grid:
    """Beats of a song and which of them begin a bar.

    Parameters
    ----------
    beats : np.ndarray
        (n,) times in seconds, rising.
    downbeats : np.ndarray
        (m,) indices into `beats`; empty where bars are not known.
    """

    beats: Floats
    downbeats: NDArray[np.int64]

    @property
    def period(self) -> float:
        """Median seconds from beat to beat."""
        return float(np.median(np.diff(self.beats)))

    def seconds(self, position: Floats | float) -> Floats:
        """Time of a position in beats, going on at the first and last beat's pace outside."""
        index = np.arange(len(self.beats), dtype=float)
        return _line(np.asarray(position, dtype=float), index, self.beats)

    def position(self, seconds: Floats | float) -> Floats:
        """Position in beats of a time: the inverse of `seconds`."""
        index = np.arange(len(self.beats), dtype=float)
        return _line(np.asarray(seconds, dtype=float), self.beats, index)

    def bars(self) -> list[tuple[int, int]]:
        """(first beat, number of beats) of each whole bar."""
        return [(int(a), int(b - a)) for a, b in pairwise(self.downbeats)]


def _line(x: Floats, xs: Floats, ys: Floats) -> Floats:
    """Interpolate, and extrapolate with the slope of the end that was passed."""
    inside = np.interp(x, xs, ys)
    before = ys[0] + (x - xs[0]) * (ys[1] - ys[0]) / (xs[1] - xs[0])
    after = ys[-1] + (x - xs[-1]) * (ys[-1] - ys[-2]) / (xs[-1] - xs[-2])
    return np.where(x < xs[0], before, np.where(x > xs[-1], after, inside))


@dataclass(frozen=True)
class Song:
    """A song with what is known of it; a label kind that is not known is None.

    Parameters
    ----------
    source : str
        Where it comes from, one of `weights.recipe.corpus.sources.SOURCES`.
    number : int
        Its number in that source, which decides its split.
    title, style : str
        Name in the source, and style.
    tracks : tuple of Track
        What is played.
    grid : Grid
        Beats and downbeats.
    start, end : float
        The stretch that labels cover, in seconds.
    chords, keys, sections : tuple of Span or None
        Labels over time: Harte syntax for the first two.
    beats_known : bool
        Whether the beats of `grid` are true, and not only a frame for the notes.
    accompanied : bool
        Whether the source comes with its whole band. False lets a rendition add one.
    """

    source: str
    number: int
    title: str
    style: str
    tracks: tuple[Track, ...]
    grid: Grid
    start: float
    end: float
    chords: tuple[Span, ...] | None = None
    keys: tuple[Span, ...] | None = None
    sections: tuple[Span, ...] | None = None
    beats_known: bool = True
    accompanied: bool = True

    @property
    def split(self) -> str:
        """The split of every render of this song."""
        return split_of(self.number)

    @property
    def identifier(self) -> str:
        """Name of the song, unique over sources."""
        return f"{self.source}-{self.number:04d}"
