"""From drawn pairs to log-mel frames on the device, which is what a training step begins with."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array
from ..config import MelConfig
from .augment import Augment, Knobs, Ranges, draw_knobs, neutral_knobs
from .data import Pairs, read_segments
from .frontend import BatchMel, as_float, n_frames_of, n_samples_of
from .recipe import Recipe

_AUGMENT_STREAM, _KEEP_STREAM = 1, 2  # apart from the sampler's draws


class Pairs2Mel:
    """Pairs of segments in a cache to augmented log-mel frames.

    Parameters
    ----------
    samples : (n,) int16 array
        The cache's.
    config : MelConfig
    recipe : Recipe
    device : torch.device

    Attributes
    ----------
    n_samples : int
        Length of the segments that it reads, which a change of speed may use up.
    """

    def __init__(
        self, samples: Array, config: MelConfig, recipe: Recipe, device: torch.device
    ) -> None:
        self.recipe, self.device, self._samples = recipe, device, samples
        self._ranges = Ranges()
        self._n_heard = n_samples_of(config, recipe.seconds)
        self.n_samples = math.ceil(self._n_heard * (1 + self._ranges.speed)) + 2
        self._mel = BatchMel(config).to(device)
        self._augment = Augment(config, device)

    def knobs(self, step: int, n: int) -> tuple[Knobs, Knobs]:
        """What alters the first and the second segments of the n pairs of a step."""
        if not self.recipe.augment:
            return neutral_knobs(n), neutral_knobs(n)
        rng = np.random.default_rng([self.recipe.seed, step, _AUGMENT_STREAM])
        return draw_knobs(rng, n, self._ranges), draw_knobs(rng, n, self._ranges)

    def kept(self, step: int, n: int) -> tuple[Array, Array] | None:
        """Frames that the encoder is given of the first and the second segments of n pairs.

        Returns
        -------
        two (n, kept) int64 arrays, or None for all frames
        """
        frames = n_frames_of(self._mel.config, self.recipe.seconds)
        count = max(1, round(self.recipe.keep * frames))
        if count == frames:
            return None
        rng = np.random.default_rng([self.recipe.seed, step, _KEEP_STREAM])
        first, second = rng.random((2, n, frames)).argsort(axis=2)[:, :, :count]
        return first, second

    def __call__(self, pairs: Pairs, knobs: tuple[Knobs, Knobs]) -> Tensor:
        """Frames of n pairs, (2n, time, n_mels), all first segments before all second ones."""
        views = [self._view(pairs, side, knobs[side]) for side in (0, 1)]
        return torch.cat(views)

    def _view(self, pairs: Pairs, side: int, knobs: Knobs) -> Tensor:
        waves = self._read(pairs.start[:, side])
        others = torch.zeros_like(waves)
        mixed = np.flatnonzero(knobs.mix)
        if len(mixed):
            others[mixed] = self._read(pairs.mix_start[mixed, side])
        waves = self._augment.waves(waves, others, knobs, self._n_heard)
        return self._mel.log_mel(self._augment.power(self._mel.power(waves), knobs))

    def _read(self, start: Array) -> Tensor:
        segments = read_segments(self._samples, start, self.n_samples)
        return as_float(torch.from_numpy(segments).to(self.device))
