"""Melodies over chords: repeated rhythms, chord notes where a chord begins, steps in between."""

from __future__ import annotations

import itertools

import numpy as np

from weights.recipe.corpus.harte import pitch_classes, scale_of
from weights.recipe.corpus.parts import Bar, BeatNote, Score

PHRASE = (0, 1, 0, 2)  # rhythm of each bar of a phrase, by number: a b a c
RHYTHMS_A_PHRASE = 3
STEPS, STEP_WEIGHTS = (-3, -2, -1, 0, 1, 2, 3), (0.04, 0.13, 0.3, 0.06, 0.3, 0.13, 0.04)
COMPASS = 9  # semitones either side of the middle
REST_SHARE = 0.12
GAP = 0.92  # share of its length that a note sounds
LONG = 0.5  # beats; a note from here on, on a beat, takes a chord note

# Durations in beats that fill a bar, by beats a bar and density.
RHYTHMS: dict[int, dict[str, tuple[tuple[float, ...], ...]]] = {
    4: {
        "sparse": ((4,), (2, 2), (3, 1), (1.5, 0.5, 2), (1, 3)),
        "medium": (
            (1, 1, 1, 1),
            (1.5, 0.5, 1, 1),
            (0.5, 0.5, 1, 2),
            (1, 0.5, 0.5, 2),
            (0.5, 1, 0.5, 1, 1),
            (1.5, 1.5, 1),
            (0.5, 0.5, 0.5, 1.5, 1),
        ),
        "dense": (
            (0.5,) * 8,
            (0.5, 0.5, 1, 0.5, 0.5, 1),
            (0.25, 0.25, 0.5, 0.5, 0.5, 0.25, 0.25, 0.5, 1),
            (0.75, 0.75, 0.5, 0.5, 0.5, 0.5, 0.5),
            (1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5),
            (0.5, 0.25, 0.25, 0.5, 0.25, 0.25, 0.5, 0.5, 1),
        ),
    },
    3: {
        "sparse": ((3,), (2, 1)),
        "medium": ((1, 1, 1), (2, 1), (1.5, 0.5, 1), (1, 2)),
        "dense": ((0.5,) * 6, (1, 0.5, 0.5, 0.5, 0.5), (1.5, 0.5, 0.5, 0.5), (0.5, 0.5, 1, 1)),
    },
}


def melody_part(
    density: str, key: str, middle: int, score: Score, rng: np.random.Generator
) -> list[BeatNote]:
    """Melody over a score.

    Parameters
    ----------
    density : str
        "sparse", "medium" or "dense".
    key : str
        Gives the scale, bent to hold the notes of each chord.
    middle : int
        MIDI pitch that the melody moves around.
    score : Score
        Bars of one length, and chords.
    rng : np.random.Generator
        Draws rhythm and pitches.
    """
    table = RHYTHMS[score.bars[0].beats][density]
    rhythms = [table[rng.integers(len(table))] for _ in range(RHYTHMS_A_PHRASE)]
    notes: list[BeatNote] = []
    pitch = middle
    for count, bar in enumerate(score.bars):
        for start, end in _cells(rhythms[PHRASE[count % len(PHRASE)]], bar):
            index = score.chord_index(start)
            if index is None or rng.random() < REST_SHARE:
                continue
            strong = start % 1 == 0 and end - start >= LONG
            pitch = _next(pitch, score.chords[index].label, key, strong, middle, rng)
            loudness = 94 if start == bar.first else 84
            notes.append(BeatNote(start, start + (end - start) * GAP, pitch, loudness))
    return notes


def _cells(rhythm: tuple[float, ...], bar: Bar) -> list[tuple[float, float]]:
    edges = bar.first + np.concatenate([[0.0], np.cumsum(rhythm)])
    return [(float(a), float(b)) for a, b in itertools.pairwise(edges)]


def _next(
    pitch: int, chord: str, key: str, strong: bool, middle: int, rng: np.random.Generator
) -> int:
    classes = pitch_classes(chord) if strong else bent_scale(key, chord)
    reachable = [p for p in range(middle - COMPASS, middle + COMPASS + 1) if p % 12 in classes]
    here = int(np.argmin(np.abs(np.array(reachable) - pitch)))
    step = int(rng.choice(STEPS, p=STEP_WEIGHTS))
    if strong:
        step = int(np.sign(step)) if abs(step) > 1 else 0
    return reachable[min(max(here + step, 0), len(reachable) - 1)]


def bent_scale(key: str, chord: str) -> tuple[int, ...]:
    """Scale of a key with a chord's notes in the place of their foreign neighbours."""
    scale, notes = scale_of(key), pitch_classes(chord)
    foreign = [note for note in notes if note not in scale]
    kept = [
        degree
        for degree in scale
        if degree in notes or all((degree - note) % 12 not in (1, 11) for note in foreign)
    ]
    return tuple(sorted({*kept, *notes}))
