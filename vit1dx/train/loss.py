"""NT-Xent, the normalised temperature-scaled cross entropy of SimCLR (Chen et al., 2020)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.1) -> Tensor:
    """Mean loss of telling each segment's partner from every other segment of the batch.

    Parameters
    ----------
    first, second : (n, dim) tensors
        Embeddings; row i of one and row i of the other are a positive pair.
    temperature : float
        Divides the cosine similarities.

    Returns
    -------
    () tensor
    """
    return F.cross_entropy(_similarity(first, second) / temperature, _partners(first))


def retrieval_accuracy(first: Tensor, second: Tensor) -> Tensor:
    """Share of the segments whose nearest one among all others, by cosine, is their partner."""
    nearest = _similarity(first, second).argmax(dim=1)
    return (nearest == _partners(first)).float().mean()


def _similarity(first: Tensor, second: Tensor) -> Tensor:
    """Cosines of all 2n segments, (2n, 2n), and minus infinity of each with itself."""
    unit = F.normalize(torch.cat([first, second]).float(), dim=1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    return (unit @ unit.T).masked_fill(itself, -torch.inf)


def _partners(first: Tensor) -> Tensor:
    return torch.arange(2 * len(first), device=first.device).roll(len(first))
