"""Log-mel frames on one grid: frame i is centred on sample i * hop, whatever the blocks it came in.

Slaney's mel scale and filter normalisation are those of the Auditory Toolbox (Slaney, 1998),
librosa's default. The decibel floor is fixed, so that a frame depends on its own samples alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .._types import Array
from ..config import MelConfig

# Slaney's scale: linear below 1 kHz (15 mels), then 27 steps for each factor of 6.4.
_HZ_PER_MEL = 200.0 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27

# Frames transformed at once: bounds the memory of a long block.
_FRAMES_AT_ONCE = 1024


def mel_filters(config: MelConfig) -> Array:
    """Triangular filters of unit area, (1 + n_fft // 2, n_mels) float32, to right-multiply by."""
    bins = np.linspace(0, config.sample_rate / 2, 1 + config.n_fft // 2)[:, None]
    mels = np.linspace(_hz_to_mel(config.f_min), _hz_to_mel(config.f_max), config.n_mels + 2)
    low, centre, high = (_mel_to_hz(mels)[i : i + config.n_mels] for i in range(3))
    rising = (bins - low) / (centre - low)
    falling = (high - bins) / (high - centre)
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * 2 / (high - low)).astype(np.float32)


class LogMel:
    """Samples to log-mel frames.

    Parameters
    ----------
    config : MelConfig
        Rate, window, hop, bands and scaling.
    """

    def __init__(self, config: MelConfig) -> None:
        self.config = config
        self._filters = mel_filters(config)
        angle = 2 * np.pi * np.arange(config.n_fft) / config.n_fft
        self._window = (0.5 - 0.5 * np.cos(angle)).astype(np.float32)

    def frames(self, samples: Array) -> Array:
        """All frames of a whole signal.

        Parameters
        ----------
        samples : (n,) float32 array
            Mono, at the config's rate.

        Returns
        -------
        (1 + n // hop_length, n_mels) float32 array
        """
        return np.concatenate(list(self.stream([samples])))

    def stream(self, blocks: Iterable[Array]) -> Iterator[Array]:
        """Frames of a signal that comes in blocks of any lengths, as soon as each is complete.

        The signal stands between zeros. Yields (n, n_mels) float32 arrays, n >= 1; together they
        are what `frames` gives for the blocks joined, to float rounding.
        """
        half = self.config.n_fft // 2
        pending = np.zeros(half, np.float32)
        n_samples = n_frames = 0
        for block in blocks:
            n_samples += len(block)
            pending = np.concatenate([pending, block])
            count = self._n_complete(len(pending))
            yield from self._transform(pending, count)
            pending = pending[count * self.config.hop_length :]
            n_frames += count
        left = self.config.n_frames(n_samples) - n_frames
        tail = np.concatenate([pending, np.zeros(self.config.n_fft, np.float32)])
        yield from self._transform(tail, left)

    def _n_complete(self, n_samples: int) -> int:
        return max(0, 1 + (n_samples - self.config.n_fft) // self.config.hop_length)

    def _transform(self, samples: Array, count: int) -> Iterator[Array]:
        hop, size = self.config.hop_length, self.config.n_fft
        for first in range(0, count, _FRAMES_AT_ONCE):
            n = min(_FRAMES_AT_ONCE, count - first)
            part = samples[first * hop : (first + n - 1) * hop + size]
            framed = np.lib.stride_tricks.sliding_window_view(part, size)[::hop]
            yield self._scale(np.fft.rfft(framed * self._window, axis=1))

    def _scale(self, spectrum: Array) -> Array:
        power = (spectrum.real**2 + spectrum.imag**2) @ self._filters
        decibels = 10 * np.log10(np.maximum(power, np.float32(self.config.floor)))
        return (decibels - np.float32(self.config.mean)) / np.float32(self.config.scale)


def _hz_to_mel(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _HZ_PER_MEL
    return float(_BREAK_MEL + np.log(hz / _BREAK_HZ) / _LOG_STEP)


def _mel_to_hz(mels: Array) -> Array:
    linear = mels * _HZ_PER_MEL
    log = _BREAK_HZ * np.exp(_LOG_STEP * (mels - _BREAK_MEL))
    return np.where(mels < _BREAK_MEL, linear, log)
