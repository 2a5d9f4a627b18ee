"""The front end against librosa and PyTorch, and against itself however the samples are cut."""

from __future__ import annotations

from dataclasses import replace

import librosa
import numpy as np
import pytest
import torch

from vit1dx.audio.mel import LogMel, mel_filters
from vit1dx.config import MelConfig

from ..synth import song

CONFIG = MelConfig()
# float32 spectra: near the floor a band's power has an error that is small only beside the frame's.
LIBROSA_TOLERANCE = 1e-3


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, n_mels=40, f_min=50.0, f_max=7000.0),
        replace(CONFIG, hop_length=256, n_fft=512),
    ],
)
def test_filters_are_librosas(config: MelConfig) -> None:
    expected = librosa.filters.mel(
        sr=config.sample_rate,
        n_fft=config.n_fft,
        n_mels=config.n_mels,
        fmin=config.f_min,
        fmax=config.f_max,
    ).T
    np.testing.assert_allclose(mel_filters(config), expected, atol=1e-8)


@pytest.mark.parametrize("n_samples", [1, 511, 512, 16000, 64001])
def test_frames_are_librosas(n_samples: int) -> None:
    samples = song(n_samples / CONFIG.sample_rate, CONFIG.sample_rate)
    power = librosa.feature.melspectrogram(
        y=samples,
        sr=CONFIG.sample_rate,
        n_fft=CONFIG.n_fft,
        hop_length=CONFIG.hop_length,
        n_mels=CONFIG.n_mels,
        fmin=CONFIG.f_min,
        fmax=CONFIG.f_max,
        pad_mode="constant",
    )
    decibels = 10 * np.log10(np.maximum(power, CONFIG.floor)).T
    expected = (decibels - CONFIG.mean) / CONFIG.scale
    frames = LogMel(CONFIG).frames(samples)
    assert frames.shape == expected.shape == (CONFIG.n_frames(n_samples), CONFIG.n_mels)
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames, expected, atol=LIBROSA_TOLERANCE)


def test_frames_are_those_of_torch_stft() -> None:
    samples = song(3.0, CONFIG.sample_rate).astype(np.float64)
    spectrum = torch.stft(
        torch.from_numpy(samples),
        CONFIG.n_fft,
        CONFIG.hop_length,
        window=torch.hann_window(CONFIG.n_fft, dtype=torch.float64),
        pad_mode="constant",
        return_complex=True,
    )
    power = (spectrum.abs() ** 2).numpy().T @ mel_filters(CONFIG)
    expected = (10 * np.log10(np.maximum(power, CONFIG.floor)) - CONFIG.mean) / CONFIG.scale
    frames = LogMel(CONFIG).frames(samples.astype(np.float32))
    np.testing.assert_allclose(frames, expected, atol=LIBROSA_TOLERANCE)


@pytest.mark.parametrize("seed", range(6))
def test_block_sizes_do_not_matter(seed: int) -> None:
    generator = np.random.default_rng(seed)
    samples = song(generator.uniform(0.01, 8), CONFIG.sample_rate)
    cuts = np.sort(generator.integers(0, len(samples) + 1, generator.integers(1, 40)))
    blocks = np.split(samples, cuts)
    log_mel = LogMel(CONFIG)
    streamed = np.concatenate(list(log_mel.stream(blocks)))
    np.testing.assert_allclose(streamed, log_mel.frames(samples), atol=1e-5)


def test_frame_is_centred_on_its_sample() -> None:
    samples = np.zeros(CONFIG.sample_rate, np.float32)
    samples[10 * CONFIG.hop_length] = 1
    loudness = LogMel(CONFIG).frames(samples).mean(axis=1)
    assert loudness.argmax() == 10
    assert loudness[9] == pytest.approx(loudness[11], abs=1e-4)


def test_silence_is_the_floor_whatever_surrounds_it() -> None:
    frames = LogMel(CONFIG).frames(np.zeros(5000, np.float32))
    floor = (10 * np.log10(CONFIG.floor) - CONFIG.mean) / CONFIG.scale
    np.testing.assert_allclose(frames, floor, rtol=1e-6)
