"""One training step: frames to class tokens to NT-Xent to new parameters, on all ranks at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..arrays import Array
from ..model import ViT1D
from .batches import Pairs2Mel
from .data import PairSampler
from .loss import nt_xent, retrieval_accuracy
from .ranks import Ranks
from .recipe import Recipe

HEAD_HIDDEN, HEAD_OUT = 512, 128
BETAS = (0.9, 0.98)


class Contrast(nn.Module):
    """Encoder and projection heads: frames to what NT-Xent compares.

    Parameters
    ----------
    encoder : ViT1D
    heads : int
        One for all positive pairs, or two: one for aligned ones, and one for all others.
    """

    def __init__(self, encoder: ViT1D, heads: int = 1) -> None:
        super().__init__()
        self.encoder = encoder
        dim = encoder.config.model.dim
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, HEAD_HIDDEN), nn.GELU(), nn.Linear(HEAD_HIDDEN, HEAD_OUT))
            for _ in range(heads)
        )

    def forward(self, mel: Tensor, kept: Tensor | None = None, aligned: bool = False) -> Tensor:
        """Project class tokens.

        Parameters
        ----------
        mel : (n, time, n_mels) tensor
        kept : (n, kept) int64 tensor, optional
            Frames of each segment that the encoder is given, in any order; all by default.
        aligned : bool
            Whether they are of aligned pairs.

        Returns
        -------
        (n, HEAD_OUT) tensor
        """
        head = self.heads[-1 if aligned else 0]
        return head(self._class_token(mel, kept))

    def _class_token(self, mel: Tensor, kept: Tensor | None) -> Tensor:
        x = self.encoder.embed(mel)
        if kept is not None:
            frames = kept[:, :, None].expand(-1, -1, x.shape[2])
            x = torch.cat([x[:, :1], x[:, 1:].gather(1, frames)], dim=1)
        # On processors PyTorch's fused attention is the slower one at these lengths, and asking
        # for the maps goes round it: 1.6 times as many segments a second.
        mapped = mel.device.type == "cpu"
        for block in self.encoder.blocks:
            x, _ = block(x, need_weights=mapped)
        return self.encoder.norm(x[:, 0])


class Trainer:
    """A model in training.

    Parameters
    ----------
    model : Contrast
    recipe : Recipe
    sampler : PairSampler
    to_mel : Pairs2Mel
    ranks : Ranks

    Attributes
    ----------
    model, recipe, sampler, ranks
        As given.
    step : int
        Steps done.
    """

    def __init__(
        self,
        model: Contrast,
        recipe: Recipe,
        sampler: PairSampler,
        to_mel: Pairs2Mel,
        ranks: Ranks,
    ) -> None:
        self.model, self.recipe, self.ranks = model.to(ranks.device), recipe, ranks
        self.sampler, self._to_mel = sampler, to_mel
        self._slice = ranks.slice_of(recipe.batch)
        self.optimizer = _optimizer(model, recipe)
        self.step = 0

    def train_step(self, done: float) -> dict[str, float]:
        """Do one step, a share `done` of the run lying behind it.

        Returns
        -------
        dict
            `loss`; `accuracy`, the retrieval in the batch; `rate`, the learning rate; `gradient`,
            the norm before clipping.
        """
        rate = self._set_rate(done)
        first, second = self._embeddings()
        loss = nt_xent(first, second, self.recipe.temperature)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        gradient = self._update()
        self.step += 1
        accuracy = retrieval_accuracy(first.detach(), second.detach()).item()
        return {"loss": loss.item(), "accuracy": accuracy, "rate": rate, "gradient": gradient}

    def project(self, mel: Tensor, kept: Tensor | None = None, aligned: bool = False) -> Tensor:
        """Project frames at the recipe's precision, to float32; see `Contrast.forward`."""
        bf16 = self.recipe.precision == "bf16"
        with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=bf16):
            projected: Tensor = self.model(mel, kept, aligned)
        return projected.float()

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _set_rate(self, done: float) -> float:
        rate = self.recipe.rate_at(self.step, done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _embeddings(self) -> tuple[Tensor, Tensor]:
        """First and second segments' projections, those of all ranks; all draw for all ranks."""
        pairs, batch = self.sampler.draw(self.step), self.recipe.batch
        first, second = self._to_mel.knobs(self.step, batch)
        mel = self._to_mel(pairs[self._slice], (first[self._slice], second[self._slice]))
        kept = self._kept(self._to_mel.kept(self.step, batch))
        one, other = self.project(mel, kept, pairs.aligned).chunk(2)
        return self.ranks.gather(one), self.ranks.gather(other)

    def _kept(self, frames: tuple[Array, Array] | None) -> Tensor | None:
        if frames is None:
            return None
        own = np.concatenate([side[self._slice] for side in frames])
        return torch.from_numpy(own).to(self.ranks.device)

    def _update(self) -> float:
        parameters = list(self.model.parameters())
        self.ranks.sum_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.recipe.clip)
        self.optimizer.step()
        return norm.item()


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, which lets matrices decay, but no biases, norms or class token."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim == 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim != 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=BETAS, fused=True)
