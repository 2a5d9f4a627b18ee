"""Alterations that leave the music what it is: level, tone, noise, room, band, mixture.

They are drawn for a whole batch at once and applied to all of it at once, on mel powers, where they
cost next to nothing. Energy is added there without phase: noise as an exponential spectrum, other
music as its powers, late reverberation as an exponentially decaying sum of earlier frames (Lebart
et al., "A new method based on spectral subtraction for speech dereverberation", 2001). What needs
samples, as a change of speed or a shift by less than a frame, cannot be done there.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._types import Array
from ..audio.mel import mel_filters
from ..config import MelConfig

TONE_POINTS = 7  # gains of the equaliser, evenly spaced on a logarithmic axis of frequency
_NOISE_ROWS = 1024  # spectra of noise kept to draw from
_NOISE_SEED = 20260101


@dataclass(frozen=True)
class Ranges:
    """How far each alteration goes; those with a chance leave the other segments alone.

    Attributes
    ----------
    gain, tone, tilt : float
        Greatest change of level, of one point of the equaliser, and of level from the lowest to
        the highest frequency, dB either way.
    mix_chance, mix_level : float, (float, float)
        Another segment mixed in, at a level relative to its own, dB.
    noise_chance, noise_level, noise_slope : float, (float, float), (float, float)
        Noise, dB relative to the segment's mean power, of power falling as frequency to the slope.
    reverb_chance, reverb_level, reverb_time : float, (float, float), (float, float)
        Late reverberation: energy relative to the direct sound's, dB, and time to fall by 60 dB, s.
    low_chance, low_cut, high_chance, high_cut : float, (float, float), ...
        Band limits, Hz.
    codec_chance, codec_floor : float, (float, float)
        Bands so far below the loudest of their frame are dropped, as codecs do, dB.
    """

    gain: float = 10.0
    tone: float = 4.0
    tilt: float = 8.0
    mix_chance: float = 0.2
    mix_level: tuple[float, float] = (-30.0, -10.0)
    noise_chance: float = 0.3
    noise_level: tuple[float, float] = (-45.0, -12.0)
    noise_slope: tuple[float, float] = (0.0, 2.0)
    reverb_chance: float = 0.3
    reverb_level: tuple[float, float] = (-25.0, -3.0)
    reverb_time: tuple[float, float] = (0.3, 2.0)
    low_chance: float = 0.15
    low_cut: tuple[float, float] = (40.0, 250.0)
    high_chance: float = 0.25
    high_cut: tuple[float, float] = (2500.0, 7800.0)
    codec_chance: float = 0.2
    codec_floor: tuple[float, float] = (-70.0, -35.0)


@dataclass(frozen=True)
class Knobs:
    """What was drawn for n segments: (n,) float32 arrays, but (n, TONE_POINTS) `tone`.

    Attributes
    ----------
    mix : array
        Power of the segment mixed in, relative to its own, 0 for none.
    gain, tone : arrays
        dB.
    noise, slope, noise_row : arrays
        Power relative to the segment's, 0 for none; slope; first row of the table of noise.
    reverb, decay : arrays
        Energy relative to the direct sound's, 0 for none; time to fall by 60 dB, s.
    low, high : arrays
        Limits of the band, Hz.
    codec : array
        Power relative to the loudest band below which bands are dropped, 0 for none.
    """

    mix: Array
    gain: Array
    tone: Array
    noise: Array
    slope: Array
    noise_row: Array
    reverb: Array
    decay: Array
    low: Array
    high: Array
    codec: Array

    def __getitem__(self, rows: slice | Array) -> Knobs:
        return Knobs(*(getattr(self, field.name)[rows] for field in fields(self)))


def draw_knobs(rng: np.random.Generator, n: int, ranges: Ranges) -> Knobs:
    """Draw the alterations of n segments."""
    r = ranges
    drawn = {
        "mix": _power(_between(rng, n, r.mix_level)) * _chance(rng, n, r.mix_chance),
        "gain": _between(rng, n, (-r.gain, r.gain)),
        "tone": _tone(rng, n, r),
        "noise": _power(_between(rng, n, r.noise_level)) * _chance(rng, n, r.noise_chance),
        "slope": _between(rng, n, r.noise_slope),
        "noise_row": rng.integers(_NOISE_ROWS, size=n),
        "reverb": _power(_between(rng, n, r.reverb_level)) * _chance(rng, n, r.reverb_chance),
        "decay": _between(rng, n, r.reverb_time),
        "low": _between(rng, n, r.low_cut) * _chance(rng, n, r.low_chance),
        "high": np.where(_chance(rng, n, r.high_chance), _between(rng, n, r.high_cut), np.inf),
        "codec": _power(_between(rng, n, r.codec_floor)) * _chance(rng, n, r.codec_chance),
    }
    return Knobs(**{name: np.asarray(values, np.float32) for name, values in drawn.items()})


def neutral_knobs(n: int) -> Knobs:
    """Knobs that alter nothing."""
    amounts = [field.name for field in fields(Ranges) if isinstance(field.default, float)]
    nothing: dict[str, Any] = dict.fromkeys(amounts, 0.0)
    return draw_knobs(np.random.default_rng(0), n, replace(Ranges(), **nothing))


def _between(rng: np.random.Generator, n: int, limits: tuple[float, float]) -> Array:
    return rng.uniform(*limits, size=n)


def _chance(rng: np.random.Generator, n: int, chance: float) -> Array:
    return rng.random(n) < chance


def _power(decibels: Array) -> Array:
    return 10 ** (decibels / 10)


def _tone(rng: np.random.Generator, n: int, ranges: Ranges) -> Array:
    points = rng.uniform(-ranges.tone, ranges.tone, size=(n, TONE_POINTS))
    tilt = rng.uniform(-ranges.tilt, ranges.tilt, size=(n, 1))
    return points + tilt * np.linspace(-0.5, 0.5, TONE_POINTS)


class Augment:
    """Applies knobs to batches of log-mel frames.

    Parameters
    ----------
    config : MelConfig
        Bands, and the scale of the frames.
    device : torch.device
    """

    def __init__(self, config: MelConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        filters = torch.from_numpy(mel_filters(config)).to(device)
        bins = torch.linspace(0, config.sample_rate / 2, len(filters), device=device)
        total = filters.sum(dim=0)
        self._hz = bins @ filters / total  # centres of the bands
        self._widths = _shares(torch.gradient(self._hz)[0])
        self._tone_basis = _tone_basis(self._hz)
        # One table for all: rows from anywhere in it serve as well as fresh noise.
        table = np.random.default_rng(_NOISE_SEED).exponential(size=(_NOISE_ROWS, len(bins)))
        self._noise = torch.from_numpy(table.astype(np.float32)).to(device) @ filters / total

    def __call__(
        self, mel: Tensor, others: Tensor, knobs: Knobs, kept: Tensor | None = None
    ) -> Tensor:
        """Alter segments, and give some of their frames.

        Parameters
        ----------
        mel : (n, time, n_mels) tensor
            Log-mel frames.
        others : (m, time, n_mels) tensor
            What is mixed into those m segments whose knob for it is not 0.
        knobs : Knobs
        kept : (n, kept) int64 tensor, optional
            Frames to give; all by default.

        Returns
        -------
        (n, kept, n_mels) tensor
        """
        power = self._powers(mel if kept is None else chosen(mel, kept))
        self._mix(power, others, knobs, kept)
        self._reverberate(power, mel, knobs, kept)
        level = (power @ self._widths).mean(dim=1)[:, None, None]
        power = power * self._response(knobs)
        self._add_noise(power, knobs, level, kept)
        self._drop(power, knobs)
        return self._log(power * self._column(_power(knobs.gain)))

    def _powers(self, mel: Tensor) -> Tensor:
        return torch.pow(10, (mel * self.config.scale + self.config.mean) / 10)

    def _log(self, power: Tensor) -> Tensor:
        decibels = 10 * torch.log10(power.clamp_min(self.config.floor))
        return (decibels - self.config.mean) / self.config.scale

    def _column(self, values: Array) -> Tensor:
        """(n,) values as (n, 1, 1)."""
        return torch.from_numpy(np.asarray(values, np.float32)).to(self.device)[:, None, None]

    def _mix(self, power: Tensor, others: Tensor, knobs: Knobs, kept: Tensor | None) -> None:
        rows = np.flatnonzero(knobs.mix)
        if len(rows):
            frames = others if kept is None else chosen(others, kept[rows])
            power[rows] += self._powers(frames) * self._column(knobs.mix[rows])

    def _reverberate(self, power: Tensor, mel: Tensor, knobs: Knobs, kept: Tensor | None) -> None:
        rows = np.flatnonzero(knobs.reverb)
        if len(rows):
            every = torch.arange(mel.shape[1], device=self.device).expand(len(rows), -1)
            to = every if kept is None else kept[rows]
            power[rows] += self._tails(knobs[rows], to, mel.shape[1]) @ self._powers(mel[rows])

    def _tails(self, knobs: Knobs, to: Tensor, n_frames: int) -> Tensor:
        """What each frame adds to each later one, (n, to, from), of `reverb` energy in all."""
        behind = (to[:, :, None] - torch.arange(n_frames, device=self.device)).float()
        by_frame = 10 ** (-6 / (knobs.decay * self.config.frame_rate))
        tail = self._column(by_frame) ** behind.clamp_min(1) * (behind > 0)
        return tail * self._column(knobs.reverb * (1 - by_frame) / by_frame)

    def _response(self, knobs: Knobs) -> Tensor:
        """Power gain by segment and band, (n, 1, n_mels)."""
        tone = torch.from_numpy(knobs.tone).to(self.device) @ self._tone_basis
        inside = (self._hz >= self._column(knobs.low)) & (self._hz <= self._column(knobs.high))
        return torch.pow(10, tone / 10)[:, None] * inside

    def _add_noise(self, power: Tensor, knobs: Knobs, level: Tensor, kept: Tensor | None) -> None:
        rows = np.flatnonzero(knobs.noise)
        if not len(rows):
            return
        shape = self._hz.clamp_min(50.0) ** -self._column(knobs.slope[rows])
        shape = shape / (shape @ self._widths)[:, :, None]
        first = torch.from_numpy(knobs.noise_row[rows].astype(np.int64)).to(self.device)[:, None]
        frames = torch.arange(power.shape[1], device=self.device) if kept is None else kept[rows]
        noise = self._noise[(first + frames) % _NOISE_ROWS]
        power[rows] += noise * shape * self._column(knobs.noise[rows]) * level[rows]

    def _drop(self, power: Tensor, knobs: Knobs) -> None:
        rows = np.flatnonzero(knobs.codec)
        if len(rows):
            loud = power[rows]
            least = loud.amax(dim=2, keepdim=True) * self._column(knobs.codec[rows])
            power[rows] = loud * (loud >= least)


def chosen(frames: Tensor, kept: Tensor) -> Tensor:
    """Those frames (n, kept, ...) of (n, time, ...) that `kept` (n, kept) names."""
    return frames.gather(1, kept[:, :, None].expand(-1, -1, frames.shape[2]))


def _shares(widths: Tensor) -> Tensor:
    return widths / widths.sum()


def _tone_basis(hz: Tensor) -> Tensor:
    """Linear interpolation from the equaliser's points to bands, (TONE_POINTS, bands)."""
    place = torch.log2(hz.clamp_min(60.0) / 60.0) / torch.log2(hz[-1] / 60.0) * (TONE_POINTS - 1)
    points = torch.arange(TONE_POINTS, device=hz.device)
    return (1 - (place - points[:, None]).abs()).clamp_min(0)
