"""What a run is judged by while it runs: retrieval among tracks that it is not trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array
from ..config import MelConfig
from .batches import Pairs2Mel
from .data import Pairs, PairSampler, Tracks
from .loss import retrieval_accuracy
from .recipe import Recipe
from .trainer import Trainer

MAX_PAIRS, BATCH, SIBLINGS = 256, 64, 4
_STEP = 0  # whose draws the pairs are: the same ones for every run


class Validation:
    """Retrieval among held-out tracks: for each segment, is the nearest of all others its partner?

    The pairs are drawn once: two disjoint segments of each of `MAX_PAIRS` songs, or of as many as
    there are; where training has aligned positives, so has this, `SIBLINGS` of a song.

    Parameters
    ----------
    tracks : Tracks
    samples : (n,) int16 array
        The cache's.
    config : MelConfig
    recipe : Recipe
    device : torch.device

    Attributes
    ----------
    n_pairs : int
        0 where too little is held out.
    """

    def __init__(
        self,
        tracks: Tracks,
        samples: Array,
        config: MelConfig,
        recipe: Recipe,
        device: torch.device,
    ) -> None:
        plain = dataclasses.replace(recipe, augment=False, shared_timbre=0, jitter=0, seed=0)
        self._to_mel = Pairs2Mel(samples, config, plain, device)
        self._pairs = _drawn(tracks, plain, self._to_mel.n_samples)
        self.n_pairs = len(self._pairs.start) if self._pairs else 0

    def retrieval(self, trainer: Trainer) -> float | None:
        """Accuracy, chance being one in twice the number of pairs; None without tracks."""
        if self._pairs is None:
            return None
        aligned = self._pairs.aligned
        with torch.inference_mode():
            parts = [
                trainer.project(mel, aligned=aligned).chunk(2) for mel in self._batches(self._pairs)
            ]
        first, second = (torch.cat(sides) for sides in zip(*parts, strict=True))
        return retrieval_accuracy(first, second).item()

    def _batches(self, pairs: Pairs) -> Iterator[Tensor]:
        for begin in range(0, self.n_pairs, BATCH):
            part = pairs[begin : begin + BATCH]
            yield self._to_mel(part, self._to_mel.knobs(_STEP, len(part.start)))


def _drawn(tracks: Tracks, recipe: Recipe, n_samples: int) -> Pairs | None:
    aligned = bool(recipe.aligned) and tracks.has_aligned
    siblings = SIBLINGS if aligned else 1
    long_enough = tracks.length >= max(2, siblings) * n_samples
    songs = tracks.song[long_enough & (tracks.accompanied | (not aligned))]
    n_pairs = min(MAX_PAIRS, siblings * len(np.unique(songs)))
    if n_pairs < 2:
        return None
    kind = dataclasses.replace(recipe, batch=n_pairs, siblings=siblings, aligned=float(aligned))
    return PairSampler(tracks, kind, n_samples).draw(_STEP)
