"""From drawn pairs to log-mel frames on the device, which is what a training step begins with."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from .._types import Array
from ..config import MelConfig
from .augment import Augment, Knobs, Ranges, chosen, draw_knobs
from .data import Pairs, read_segments
from .recipe import Recipe

_AUGMENT_STREAM, _KEEP_STREAM = 1, 2  # apart from the sampler's draws

Drawn = tuple[Knobs, Knobs] | None
Kept = tuple[Array, Array] | None


def n_frames_of(config: MelConfig, seconds: float) -> int:
    """Whole frames of a segment of `seconds`, one at least."""
    return max(1, int(seconds * config.frame_rate))


class Pairs2Mel:
    """Pairs of segments in a cache to augmented log-mel frames.

    Parameters
    ----------
    frames : (n, n_mels) float16 array
        The cache's.
    config : MelConfig
    recipe : Recipe
    device : torch.device

    Attributes
    ----------
    n_frames : int
        Length of a segment.
    """

    def __init__(
        self, frames: Array, config: MelConfig, recipe: Recipe, device: torch.device
    ) -> None:
        self.recipe, self.device = recipe, device
        self._ranges = Ranges()
        self.n_frames = n_frames_of(config, recipe.seconds)
        self._read = reader(frames, self.n_frames, device)
        self._augment = Augment(config, device)

    def knobs(self, step: int, n: int) -> Drawn:
        """What alters the first and the second segments of the n pairs of a step, if anything."""
        if not self.recipe.augment:
            return None
        rng = np.random.default_rng([self.recipe.seed, step, _AUGMENT_STREAM])
        return draw_knobs(rng, n, self._ranges), draw_knobs(rng, n, self._ranges)

    def kept(self, step: int, n: int) -> Kept:
        """Frames that the encoder is given of the first and the second segments of n pairs.

        Returns
        -------
        two (n, kept) int64 arrays, or None for all frames
        """
        count = max(1, round(self.recipe.keep * self.n_frames))
        if count == self.n_frames:
            return None
        rng = np.random.default_rng([self.recipe.seed, step, _KEEP_STREAM])
        first, second = rng.random((2, n, self.n_frames)).argsort(axis=2)[:, :, :count]
        return first, second

    def __call__(
        self, pairs: Pairs, knobs: Drawn = None, kept: Kept = None
    ) -> tuple[Tensor, Tensor | None]:
        """Frames of n pairs, and which ones they are.

        Returns
        -------
        mel : (2n, kept, n_mels) tensor
            All first segments before all second ones.
        kept : (2n, kept) int64 tensor or None
            Places of the frames in their segments; None where they are all there.
        """
        places = None if kept is None else torch.from_numpy(np.concatenate(kept)).to(self.device)
        sides = (None, None) if places is None else places.chunk(2)
        views = [
            self._view(pairs, side, None if knobs is None else knobs[side], sides[side])
            for side in (0, 1)
        ]
        return torch.cat(views), places

    def _view(self, pairs: Pairs, side: int, knobs: Knobs | None, kept: Tensor | None) -> Tensor:
        mel = self._read(pairs.start[:, side])
        if knobs is None:
            return mel if kept is None else chosen(mel, kept)
        others = self._read(pairs.mix_start[np.flatnonzero(knobs.mix), side])
        return self._augment(mel, others, knobs, kept)


def reader(frames: Array, n_frames: int, device: torch.device) -> Callable[[Array], Tensor]:
    """What gives the segments that begin at (n,) starts, (n, n_frames, n_mels) float32 on a device.

    A GPU keeps all frames, if they take no more than half of what is free there: segments are then
    gathered in its memory, and need not be sent.
    """
    if device.type == "cuda" and frames.nbytes <= torch.cuda.mem_get_info(device)[0] // 2:
        return partial(gathered, _on(device, frames), n_frames)
    return lambda start: _on(device, read_segments(frames, start, n_frames)).float()


def gathered(frames: Tensor, n_frames: int, start: Array) -> Tensor:
    """Segments of frames that are on a device already; see `reader`."""
    first = torch.from_numpy(start).to(frames.device)
    return frames[first[:, None] + torch.arange(n_frames, device=frames.device)].float()


def _on(device: torch.device, values: Array) -> Tensor:
    with warnings.catch_warnings():  # of values that are mapped read-only: nothing writes to them
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(values).to(device)
