"""One training step: frames to class tokens to NT-Xent to new parameters, on all ranks at once."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..errors import TrainingError
from .batches import Kept, Pairs2Mel
from .contrast import Contrast
from .data import PairSampler
from .loss import nt_xent, retrieval_accuracy
from .optimizer import Optimizers
from .ranks import Ranks
from .recipe import Recipe


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
        Steps done, those before a branch included.
    begun : int
        Steps done before this run.
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
        self.optimizers = Optimizers(model, recipe)
        self._average = _average(self.model, recipe)
        self.step = self.begun = 0

    @property
    def kept(self) -> Contrast:
        """The model whose weights are kept: the average, where there is one."""
        return cast("Contrast", self._average.module) if self._average else self.model

    def train_step(self, done: float) -> dict[str, Any]:
        """Do one step, a share `done` of the run lying behind it.

        Returns
        -------
        dict
            `part`, of the mix; `loss`; `accuracy`, the retrieval in the batch; `rate`, the learning
            rate; `gradient`, the norm before clipping.

        Raises
        ------
        TrainingError
            If the loss or the gradient is no number. Parameters are then as they were.
        """
        rate = self._set_rate(done)
        part, first, second = self._embeddings()
        loss = nt_xent(first, second, self.recipe.temperature)
        self.model.zero_grad()
        torch.autograd.backward(loss)
        accuracy = retrieval_accuracy(first.detach(), second.detach())
        figures = self._update({"loss": loss.detach(), "accuracy": accuracy})
        self.step += 1
        return {"part": part, "rate": rate, **figures}

    def project(self, mel: Tensor, kept: Tensor | None, aligned: bool) -> Tensor:
        """Project frames at the recipe's precision, to float32; see `Contrast.forward`."""
        return self._project(self.model, mel, kept, aligned)

    def judge(self, mel: Tensor, aligned: bool) -> Tensor:
        """Project frames by the weights that are kept."""
        return self._project(self.kept, mel, None, aligned)

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "step": self.step,
            "begun": self.begun,
            "model": self.model.state_dict(),
            "optimizers": self.optimizers.state_dict(),
            "average": self._average.state_dict() if self._average else None,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken; other optimisers begin anew."""
        self.step, self.begun = state["step"], state["begun"]
        self.model.load_state_dict(state["model"])
        if self.optimizers.fits(state["optimizers"]):
            self.optimizers.load_state_dict(state["optimizers"])
        if self._average and state["average"]:
            self._average.load_state_dict(state["average"])

    def _project(self, model: Contrast, mel: Tensor, kept: Tensor | None, aligned: bool) -> Tensor:
        bf16 = self.recipe.precision == "bf16"
        with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=bf16):
            projected: Tensor = model(mel, kept, aligned)
        return projected.float()

    def _set_rate(self, done: float) -> float:
        rate = self.recipe.rate_at(self.step - self.begun, done)
        self.optimizers.set_rate(rate)
        return rate

    def _embeddings(self) -> tuple[str, Tensor, Tensor]:
        """First and second segments' projections, those of all ranks; all draw for all ranks."""
        pairs, batch = self.sampler.draw(self.step), self.recipe.batch
        knobs, kept = self._to_mel.knobs(self.step, batch), self._to_mel.kept(self.step, batch)
        own = knobs and (knobs[0][self._slice], knobs[1][self._slice])
        mel, places = self._to_mel(pairs[self._slice], own, self._own(kept))
        one, other = self.project(mel, places, pairs.part.is_aligned).chunk(2)
        return pairs.part.name, self.ranks.gather(one), self.ranks.gather(other)

    def _own(self, kept: Kept) -> Kept:
        return kept and (kept[0][self._slice], kept[1][self._slice])

    def _update(self, figures: dict[str, Tensor]) -> dict[str, float]:
        """Change the parameters by their gradients; give the figures and the gradient's norm."""
        parameters = list(self.model.parameters())
        self.ranks.sum_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.recipe.clip)
        # Read all at once: a GPU is waited for each time.
        values = torch.stack([*figures.values(), norm]).tolist()
        found = dict(zip([*figures, "gradient"], values, strict=True))
        # All ranks have the same loss and gradients, and so stop together.
        if not math.isfinite(found["loss"] + found["gradient"]):
            raise TrainingError(
                f"step {self.step + 1}: loss {found['loss']:g}, norm of the gradient "
                f"{found['gradient']:g}"
            )
        self.optimizers.step()
        if self._average:
            self._average.update_parameters(self.model)
        return found


def _average(model: Contrast, recipe: Recipe) -> AveragedModel | None:
    if not recipe.ema:
        return None
    moving = get_ema_multi_avg_fn(recipe.ema)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=moving)
