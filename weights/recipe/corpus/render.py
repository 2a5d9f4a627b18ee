"""From a rendition to the corpus's audio: 16 kHz mono int16."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import soxr

from weights.recipe.corpus.fluidsynth import SYNTH_RATE, Synth, synthesise
from weights.recipe.corpus.orchestra import KIT_STREAM
from weights.recipe.corpus.rendition import Rendition, Voice
from weights.recipe.corpus.samples import draw_kit, play_kit
from weights.recipe.corpus.song import Floats

SAMPLE_RATE = 16_000
FULL_SCALE = 32_767
PEAK = 0.98  # highest sample allowed, of full scale
FADE = 0.01  # s at either end of a render, which cuts into sound
KIT_LEVEL = 0.9  # RMS of sampled drums against that of everything else


def render(rendition: Rendition, data: Path, seed: int, synth: Synth) -> np.ndarray:
    """Sound of a rendition.

    Returns
    -------
    np.ndarray
        (n,) int16 at `SAMPLE_RATE`, the timeline's length exactly.
    """
    length = round(rendition.timeline.seconds * SAMPLE_RATE)
    synthesised, drums = _split_drums(rendition)
    sound = _mono(synthesise(synthesised, synth), length)
    for voice in drums:
        kit = draw_kit(np.random.default_rng([seed, KIT_STREAM, rendition.kit]))
        beat = play_kit(voice.notes, kit, data, SAMPLE_RATE, length)
        sound = sound + beat * KIT_LEVEL * (_rms(sound) or 1.0) / max(_rms(beat), 1e-9)
    return _as_int16(_levelled(_faded(sound), rendition.level))


def _split_drums(rendition: Rendition) -> tuple[Rendition, list[Voice]]:
    """Take out the drums that recordings play instead of the synthesiser."""
    if not rendition.ensemble.sampled_kit:
        return rendition, []
    drums = [voice for voice in rendition.voices if voice.is_drums]
    others = tuple(voice for voice in rendition.voices if not voice.is_drums)
    return replace(rendition, voices=others), drums


def _mono(stereo: np.ndarray, length: int) -> Floats:
    mono = soxr.resample(stereo.mean(axis=1, dtype=np.float64), SYNTH_RATE, SAMPLE_RATE)
    return np.pad(mono, (0, max(0, length - len(mono))))[:length]


def _rms(sound: Floats) -> float:
    return float(np.sqrt(np.mean(sound**2)))


def _faded(sound: Floats) -> Floats:
    ramp = np.minimum(1.0, np.arange(len(sound)) / (FADE * SAMPLE_RATE))
    return sound * ramp * ramp[::-1]


def _levelled(sound: Floats, level: float) -> Floats:
    """Bring RMS to `level` dB of full scale, or lower where peaks would clip."""
    gain = 10 ** (level / 20) / max(_rms(sound), 1e-9)
    return sound * min(gain, PEAK / max(float(np.abs(sound).max()), 1e-9))


def _as_int16(sound: Floats) -> np.ndarray:
    return np.round(sound * FULL_SCALE).astype(np.int16)
