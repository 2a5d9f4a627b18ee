"""What changes the parameters by their gradients: AdamW, or Muon for matrices and AdamW beside it.

Muon (Jordan et al., 2024) makes each matrix's averaged gradient orthogonal before it takes the
step. Its steps are scaled to be as large as AdamW's (Liu et al., arXiv 2502.16982), so that one
rate and one decay do for both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..errors import BackendError
from .contrast import Contrast
from .recipe import Recipe

BETAS = (0.9, 0.98)


class Optimizers:
    """Optimisers of a model, each of its own share of the parameters, stepped as one.

    Parameters
    ----------
    model : Contrast
    recipe : Recipe

    Raises
    ------
    BackendError
        If this PyTorch has no Muon.
    """

    def __init__(self, model: Contrast, recipe: Recipe) -> None:
        matrices = _matrices(model) if recipe.optimizer == "muon" else []
        taken = {id(matrix) for matrix in matrices}
        rest = [p for p in model.parameters() if id(p) not in taken]
        self._all = {"adamw": _adamw(rest, recipe)}
        if matrices:
            self._all["muon"] = _muon(matrices, recipe)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of all parameters."""
        for optimizer in self._all.values():
            for group in optimizer.param_groups:
                group["lr"] = rate

    def step(self) -> None:
        """Change the parameters."""
        for optimizer in self._all.values():
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on, by the optimiser's name."""
        return {name: optimizer.state_dict() for name, optimizer in self._all.items()}

    def fits(self, states: dict[str, Any]) -> bool:
        """Whether states are of the same optimisers."""
        return states.keys() == self._all.keys()

    def load_state_dict(self, states: dict[str, Any]) -> None:
        """Go on from where states were taken."""
        for name, optimizer in self._all.items():
            optimizer.load_state_dict(states[name])


def _matrices(model: Contrast) -> list[nn.Parameter]:
    """Matrices of the encoder's blocks: the first and last layers of a network are AdamW's."""
    return [p for p in model.encoder.blocks.parameters() if p.ndim == 2]


def _adamw(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, which lets matrices decay, but no biases, norms or class token."""
    groups = [
        {"params": [p for p in parameters if p.ndim == 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim != 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=BETAS, fused=True)


def _muon(matrices: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    if not hasattr(torch.optim, "Muon"):
        raise BackendError(
            f"optimizer muon: PyTorch {torch.__version__} has none; 2.9 or newer, or --optimizer "
            "adamw, is needed"
        )
    return torch.optim.Muon(
        matrices,
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
