"""Songs by code, for what only needs to compress like music: a band, written to files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

Samples = np.ndarray

RATE = 44_100
FORMATS: dict[str, dict[str, Any]] = {
    "mp3": {"bitrate_mode": "CONSTANT", "compression_level": 0.4},  # 192 kbit/s
    "flac": {},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "wav": {},
}
#: Semitones above the key of the chords of a song, a bar each: I V vi IV.
PROGRESSION = ((0, 4, 7, 12), (7, 11, 14, 19), (9, 12, 16, 21), (5, 9, 12, 17))
SCALE = np.array([0, 2, 4, 7, 9, 12, 14, 16])
LOWEST_KEY, MELODY_ABOVE = 45, 24
SLOWEST_BEAT, BEAT_STEP = 0.65, 0.05  # s
HARMONICS = 5


def write(path: Path, seconds: float, seed: int) -> None:
    """Write a song in the format of the path's ending, stereo, bar by bar.

    libsndfile crashes where a long Ogg Vorbis file is written at once.
    """
    left = round(seconds * RATE)
    options = FORMATS[path.suffix[1:]]
    with soundfile.SoundFile(path, "w", RATE, 2, **options) as file:
        for bar in bars(seed):
            file.write(bar[:left])
            left -= len(bar)
            if left <= 0:
                return


def write_shorts(folder: Path, count: int, rate: int = 16_000) -> None:
    """Write wav files of one second below a folder, all different, a thousand in each subfolder."""
    samples = mono(11 * rate)
    for index in range(count):
        path = folder / f"{index // 1000}" / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = index * 37 % (10 * rate)
        soundfile.write(path, samples[start : start + rate] * (1 - index % 7 / 10), rate)


def mono(length: int, seed: int = 0) -> Samples:
    """The first samples of a song, (length,) float32."""
    found = [np.zeros(0, np.float32)]
    for bar in bars(seed):
        found.append(bar.mean(axis=1))
        if sum(map(len, found)) >= length:
            break
    return np.concatenate(found)[:length]


def bars(seed: int) -> Iterator[Samples]:
    """A song without end, (n, 2) float32 a bar: chords, bass, drums and a melody of its own."""
    chance = np.random.default_rng(seed)
    key = LOWEST_KEY + seed % 12
    beat = round((SLOWEST_BEAT - BEAT_STEP * (seed % 7)) * RATE)
    while True:
        for chord in PROGRESSION:
            tune = key + MELODY_ABOVE + chance.choice(SCALE, 8)
            band = _chord([key + step for step in chord], 4 * beat)
            lead = _melody(tune.tolist(), beat // 2, 4 * beat)
            drums = _drums(beat)
            sides = [band + drums + 0.8 * lead, 0.8 * band + drums + lead]
            yield np.clip(0.2 * np.stack(sides, axis=1), -1, 1)


def _chord(pitches: list[int], length: int) -> Samples:
    """A chord and the bass below it, held for a bar."""
    return np.sum([_note(pitch, length) for pitch in [pitches[0] - 12, *pitches]], axis=0)


def _melody(pitches: list[int], step: int, length: int) -> Samples:
    """Quavers, one after the other."""
    line = np.concatenate([_note(pitch, step) for pitch in pitches])
    return np.pad(line, (0, length - len(line)))


@lru_cache(maxsize=4096)
def _note(pitch: int, length: int) -> Samples:
    """A plucked string: harmonics, the higher the shorter."""
    time = np.arange(length) / RATE
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    tone = np.zeros(length)
    for k in range(1, HARMONICS + 1):
        tone += np.sin(2 * np.pi * k * frequency * time) * np.exp(-1.5 * k * time) / k
    fade = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / (0.005 * RATE))
    return (tone * fade).astype(np.float32)


@lru_cache
def _drums(beat: int) -> Samples:
    """A bar of four beats: kick and snare in turn, hi-hats on the quavers."""
    noise = np.random.default_rng(0).standard_normal(beat)
    time = np.arange(beat) / RATE
    kick = np.sin(2 * np.pi * 50 * time) * np.exp(-20 * time) * 3
    snare = noise * np.exp(-25 * time)
    hat = np.where(time < time[beat // 2], noise * np.exp(-200 * time), 0)
    hat += np.roll(hat, beat // 2)
    return np.tile(np.concatenate([kick, snare]) + 0.3 * np.tile(hat, 2), 2).astype(np.float32)
