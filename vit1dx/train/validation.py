"""What a run is judged by while it runs: retrieval among tracks that it is not trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .._types import Array
from ..config import MelConfig
from .batches import Pairs2Mel
from .data import Pairs, PairSampler, Tracks
from .loss import retrieval_accuracy
from .mix import Part
from .recipe import Recipe
from .trainer import Trainer

MAX_PAIRS, BATCH, SIBLINGS = 256, 64, 4
MIN_PAIRS = 20  # fewer say nothing: of 2 pairs, chance alone finds a third
_STEP = 0  # whose draws the pairs are: the same ones for every run


class Validation:
    """Retrieval among held-out tracks: for each segment, is the nearest of all others its partner?

    For each part of the mix pairs are drawn once, of `MAX_PAIRS` songs, or of as many as there are:
    two disjoint segments of a track, or `SIBLINGS` times of a song in two renditions.

    Parameters
    ----------
    tracks : Tracks
    frames : (n, n_mels) float16 array
        The cache's.
    config : MelConfig
    recipe : Recipe
    device : torch.device

    Attributes
    ----------
    n_pairs : dict of int, by name of a part
        Pairs held out, those too few to be looked at (`MIN_PAIRS`) included.
    """

    def __init__(
        self,
        tracks: Tracks,
        frames: Array,
        config: MelConfig,
        recipe: Recipe,
        device: torch.device,
    ) -> None:
        plain = dataclasses.replace(
            recipe, augment=False, keep=1.0, shared_timbre=0.0, jitter=0.0, seed=0
        )
        self._to_mel = Pairs2Mel(frames, config, plain, device)
        self.n_pairs = {
            part.name: _count(tracks, part, self._to_mel.n_frames) for part in recipe.parts
        }
        self._pairs = [
            _drawn(tracks, plain, part, self.n_pairs[part.name], self._to_mel.n_frames)
            for part in recipe.parts
            if self.n_pairs[part.name] >= MIN_PAIRS
        ]

    def retrieval(self, trainer: Trainer) -> dict[str, float]:
        """Accuracy by part, where enough is held out; chance is one in twice the pairs."""
        with torch.inference_mode():
            return {pairs.part.name: self._accuracy(trainer, pairs) for pairs in self._pairs}

    def _accuracy(self, trainer: Trainer, pairs: Pairs) -> float:
        aligned = pairs.part.is_aligned
        parts = [trainer.judge(mel, aligned).chunk(2) for mel in self._batches(pairs)]
        first, second = (torch.cat(sides) for sides in zip(*parts, strict=True))
        return retrieval_accuracy(first, second).item()

    def _batches(self, pairs: Pairs) -> Iterator[Tensor]:
        for begin in range(0, len(pairs), BATCH):
            mel, _ = self._to_mel(pairs[begin : begin + BATCH])
            yield mel


def _count(tracks: Tracks, part: Part, n_frames: int) -> int:
    """Pairs that can be drawn for a part."""
    siblings = SIBLINGS if part.is_aligned else 1
    rows = tracks.of(part)
    long_enough = rows[tracks.length[rows] >= max(2, siblings) * n_frames]
    return min(MAX_PAIRS, siblings * len(np.unique(tracks.song[long_enough])))


def _drawn(tracks: Tracks, recipe: Recipe, part: Part, n_pairs: int, n_frames: int) -> Pairs:
    kind = dataclasses.replace(recipe, batch=n_pairs, siblings=SIBLINGS, mix=f"{part.name}=1")
    return PairSampler(tracks, kind, n_frames).draw(_STEP)
