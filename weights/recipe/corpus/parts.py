"""Parts from patterns and chords: bass, comping, arpeggios, pads and drums, on a song's beats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from weights.recipe.corpus.harte import bass_of, pitch_classes
from weights.recipe.corpus.patterns import BASSES, BEATS, COMPS, DRUM_KEYS, FILLS, Beat, Hit, Line
from weights.recipe.corpus.song import Grid, note_array

STRAIGHT = 0.5
TICK = 1e-6  # beats; tells a position from its floating-point neighbours
BASS_FLOOR = 28  # E1, the lowest string of a bass
SHORTEST = 0.03  # seconds; drum hits are written this long and ring out by themselves
LOUDNESS = {"X": 106, "x": 86, "o": 58}
PLAIN = 88


class BeatChord(NamedTuple):
    """A chord from beat `start` to beat `end`."""

    start: float
    end: float
    label: str


class Bar(NamedTuple):
    """A bar: its first beat and its number of beats."""

    first: int
    beats: int


class BeatNote(NamedTuple):
    """A note in beats."""

    start: float
    end: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Score:
    """What accompaniment is made from.

    Parameters
    ----------
    grid : Grid
        Beats in seconds.
    bars : tuple of Bar
        The bars to fill.
    chords : tuple of BeatChord
        Rising, not overlapping; gaps and "N" are silent for all but drums.
    swing : float
        Where the second half of a beat begins, as a share of the beat; 0.5 is straight.
    looseness : float
        Standard deviation of the players' timing, in seconds.
    """

    grid: Grid
    bars: tuple[Bar, ...]
    chords: tuple[BeatChord, ...]
    swing: float = STRAIGHT
    looseness: float = 0.006

    def chord_index(self, beat: float) -> int | None:
        """Index of the chord that sounds at a beat; None where there is none."""
        starts = [chord.start for chord in self.chords]
        index = int(np.searchsorted(starts, beat + TICK, side="right")) - 1
        if index < 0 or beat > self.chords[index].end - TICK:
            return None
        return index if pitch_classes(self.chords[index].label) else None


def swung(beat: float, swing: float) -> float:
    """Delay what falls inside a beat so that its half lies at `swing`."""
    whole, part = divmod(beat, 1.0)
    warped = part / STRAIGHT * swing if part < STRAIGHT else 1 - (1 - part) / STRAIGHT * (1 - swing)
    return whole + warped


def perform_part(notes: Sequence[BeatNote], score: Score, rng: np.random.Generator) -> np.ndarray:
    """Turn notes in beats into `NOTE` (n,) in seconds, played loosely."""
    if not notes:
        return note_array([])
    starts, ends = (
        score.grid.seconds(np.array([swung(note[i], score.swing) for note in notes]))
        for i in (0, 1)
    )
    onsets = np.maximum(starts + rng.normal(0, score.looseness, len(notes)), 0.0)
    velocities = np.array([note.velocity for note in notes]) + rng.integers(-6, 7, len(notes))
    offsets = np.maximum(ends, onsets + SHORTEST)
    pitches = [note.pitch for note in notes]
    loudness = np.clip(velocities, 1, 127)
    return note_array(zip(onsets, offsets, pitches, loudness, strict=True))


def laid(line: Line, bars: Sequence[Bar]) -> Iterator[Hit]:
    """Hits of a pattern over bars, repeated to fill a longer bar and cut by a shorter one."""
    for bar in bars:
        for repeat in range(0, bar.beats, line.beats):
            for hit in line.hits():
                at = repeat + hit.at
                if at < bar.beats - TICK:
                    length = min(hit.length, bar.beats - at)
                    yield Hit(bar.first + at, length, hit.symbol)


def bass_part(name: str, score: Score, rng: np.random.Generator) -> list[BeatNote]:
    """Bass by a pattern of `BASSES`, its low note being the chord's bass."""
    floor = BASS_FLOOR + int(rng.integers(0, 6))
    notes = []
    for hit in laid(BASSES[name], score.bars):
        index = score.chord_index(hit.at)
        if index is not None:
            chord = score.chords[index]
            pitch = _bass_pitch(hit, score, index, floor, rng)
            notes.append(BeatNote(hit.at, min(hit.at + hit.length, chord.end), pitch, PLAIN))
    return notes


def _bass_pitch(hit: Hit, score: Score, index: int, floor: int, rng: np.random.Generator) -> int:
    label = score.chords[index].label
    root = floor + (bass_of(label) - floor) % 12
    if hit.symbol == "W":
        return _walking_pitch(hit.at, score, index, root, rng)
    classes = pitch_classes(label)
    degree = {"3": 1, "5": 2}.get(hit.symbol)
    if degree is None:
        return root + (12 if hit.symbol == "8" else 0)
    return root + (classes[min(degree, len(classes) - 1)] - root) % 12


def _walking_pitch(
    beat: float, score: Score, index: int, root: int, rng: np.random.Generator
) -> int:
    chord = score.chords[index]
    if beat < chord.start + 1 - TICK:
        return root
    if beat >= chord.end - 1 - TICK and index + 1 < len(score.chords):
        following = score.chords[index + 1].label
        if pitch_classes(following):
            return root + (bass_of(following) - root + 6) % 12 - 6 + int(rng.choice((-1, 1)))
    return root + (int(rng.choice(pitch_classes(chord.label))) - root) % 12


def comp_part(name: str, score: Score, rng: np.random.Generator) -> list[BeatNote]:
    """Chords struck by a pattern of `COMPS`, each note of the chord once."""
    floor = int(rng.integers(50, 60))
    notes = []
    for hit in laid(COMPS[name], score.bars):
        index = score.chord_index(hit.at)
        if index is not None:
            chord = score.chords[index]
            end = min(hit.at + hit.length, chord.end)
            notes += _struck(chord.label, hit.at, end, floor, LOUDNESS[hit.symbol] - 14)
    return notes


def voicing(label: str, floor: int) -> list[int]:
    """Pitches of a chord in the octave above `floor`, so that neighbours move little."""
    return sorted(floor + (pitch_class - floor) % 12 for pitch_class in pitch_classes(label))


def _struck(label: str, start: float, end: float, floor: int, velocity: int) -> list[BeatNote]:
    return [BeatNote(start, end, pitch, velocity) for pitch in voicing(label, floor)]


def pad_part(score: Score, rng: np.random.Generator) -> list[BeatNote]:
    """Chords held for as long as they last."""
    floor = int(rng.integers(50, 62))
    return [
        note
        for chord in score.chords
        if pitch_classes(chord.label)
        for note in _struck(chord.label, chord.start, chord.end, floor, PLAIN - 18)
    ]


ARPEGGIO_SHAPES = ("up", "down", "up and down", "broken", "random")


def arpeggio_part(
    shape: str, steps_per_beat: int, score: Score, rng: np.random.Generator
) -> list[BeatNote]:
    """Chord notes one after the other over an octave and a half."""
    floor = int(rng.integers(52, 64))
    step = 1 / steps_per_beat
    notes = []
    for bar in score.bars:
        for count in range(bar.beats * steps_per_beat):
            at = bar.first + count * step
            index = score.chord_index(at)
            if index is not None:
                pitch = _arpeggio_pitch(shape, count, score.chords[index].label, floor, rng)
                notes.append(BeatNote(at, at + step, pitch, PLAIN - 8))
    return notes


def _arpeggio_pitch(
    shape: str, count: int, label: str, floor: int, rng: np.random.Generator
) -> int:
    low = voicing(label, floor)
    ladder = [*low, low[0] + 12, low[1] + 12]
    if shape == "random":
        return int(rng.choice(ladder))
    if shape == "broken":
        return ladder[(0, 2, 1, 2)[count % 4]]
    turn = ladder if shape != "up and down" else ladder + ladder[-2:0:-1]
    return turn[::-1][count % len(turn)] if shape == "down" else turn[count % len(turn)]


def drum_part(
    name: str, score: Score, rng: np.random.Generator, section_starts: frozenset[int] = frozenset()
) -> list[BeatNote]:
    """Drums by a pattern of `BEATS`, with a fill before and a crash at each section's start."""
    plain: list[Bar] = []
    filled: list[Bar] = []
    for bar in score.bars:
        (filled if bar.first + bar.beats in section_starts else plain).append(bar)
    notes = _beat_notes(BEATS[name], plain + filled)
    for bar in filled:
        notes += _fill_notes(FILLS[rng.integers(len(FILLS))], bar)
    crash = DRUM_KEYS["crash"]
    starts = [bar.first for bar in score.bars if bar.first in section_starts]
    return notes + [BeatNote(start, start, crash, 96) for start in starts]


def _beat_notes(beat: Beat, bars: Sequence[Bar]) -> list[BeatNote]:
    return [
        BeatNote(hit.at, hit.at, DRUM_KEYS[drum], LOUDNESS[hit.symbol])
        for drum, steps in beat.drums.items()
        for hit in _drum_hits(Line(beat.beats, steps), bars)
    ]


def _drum_hits(line: Line, bars: Sequence[Bar]) -> Iterator[Hit]:
    return (hit for hit in laid(line, bars) if hit.symbol in LOUDNESS)


def _fill_notes(fill: dict[str, str], bar: Bar) -> list[BeatNote]:
    last_four = Bar(bar.first + bar.beats - 4, 4)
    return [
        BeatNote(hit.at, hit.at, DRUM_KEYS[drum], LOUDNESS[hit.symbol])
        for drum, steps in fill.items()
        for hit in _drum_hits(Line(4, steps), [last_four])
        if hit.at >= bar.first
    ]
