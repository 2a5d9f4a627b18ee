"""The front end for training: batches of segments to log-mel frames, on any device.

It gives the frames of `vit1dx.mel`, which it is tested against, but of segments cut from longer
tracks: no frame stands on the zeros beyond a segment's ends.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import MelConfig
from ..mel import mel_filters
from .cache import FULL_SCALE


def n_frames_of(config: MelConfig, seconds: float) -> int:
    """Whole frames of a segment of `seconds`, one at least."""
    return max(1, int(seconds * config.frame_rate))


def n_samples_of(config: MelConfig, seconds: float) -> int:
    """Samples that those frames stand on."""
    return (n_frames_of(config, seconds) - 1) * config.hop_length + config.n_fft


class BatchMel(nn.Module):
    """Segments to log-mel frames, by way of their power spectrum, where augmentation happens.

    Parameters
    ----------
    config : MelConfig
    """

    filters: Tensor
    window: Tensor

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("filters", torch.from_numpy(mel_filters(config)))
        self.register_buffer("window", torch.hann_window(config.n_fft, periodic=True))

    def power(self, waves: Tensor) -> Tensor:
        """Power spectra (n, time, bins) of waves (n, samples), uncentred."""
        framed = waves.unfold(1, self.config.n_fft, self.config.hop_length)
        spectrum = torch.fft.rfft(framed * self.window)
        return spectrum.real.square() + spectrum.imag.square()

    def log_mel(self, power: Tensor) -> Tensor:
        """Frames (n, time, n_mels), scaled as the config says."""
        decibels = 10 * torch.log10((power @ self.filters).clamp_min(self.config.floor))
        return (decibels - self.config.mean) / self.config.scale

    def forward(self, waves: Tensor) -> Tensor:
        return self.log_mel(self.power(waves))


def as_float(samples: Tensor) -> Tensor:
    """Samples of a cache, int16, as floats from -1 to 1."""
    return samples.float() / FULL_SCALE
