"""Music for the tests, made by code: chords, a bass and a beat."""

from __future__ import annotations

import numpy as np

from vit1dx._types import Array

PROGRESSION = ((57, 60, 64), (53, 57, 60), (48, 52, 55), (55, 59, 62))  # Am F C G
BEATS_A_CHORD = 4


def song(seconds: float, rate: int = 44100, seed: int = 0, bpm: float = 120.0) -> Array:
    """A song, (n,) float32 within -1 to 1; seeds differ in key."""
    time = np.arange(round(seconds * rate)) / rate
    beat = (time * bpm / 60).astype(int)
    since = time - beat * 60 / bpm
    tune = np.zeros(len(time))
    for index, chord in enumerate(PROGRESSION):
        playing = (beat // BEATS_A_CHORD) % len(PROGRESSION) == index
        for pitch in (*chord, chord[0] - 12):
            frequency = 440.0 * 2 ** ((pitch + seed % 12 - 69) / 12)
            tune += playing * np.sin(2 * np.pi * frequency * time) * np.exp(-2 * since)
    hiss = np.random.default_rng(seed).standard_normal(len(time)) * np.exp(-60 * since)
    return (0.15 * tune + 0.1 * hiss).astype(np.float32).clip(-1, 1)
