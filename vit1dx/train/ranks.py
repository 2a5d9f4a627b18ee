"""Several processes training one model, as torchrun starts them; one process is a rank alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from ..errors import BackendError, UsageError
from ..model.request import require_choice

#: How long ranks wait for each other: while one decodes a collection, the others wait for hours. If
#: one dies, torchrun ends them all.
PATIENCE = timedelta(days=30)


@dataclass(frozen=True)
class Ranks:
    """A process among those that train together.

    Attributes
    ----------
    rank, world : int
    device : torch.device
    """

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def slice_of(self, n: int) -> slice:
        """The rank's part of n things, the same number for each rank."""
        if n % self.world:
            raise UsageError(
                f"a batch of {n} over {self.world} ranks; it must be a multiple of them"
            )
        part = n // self.world
        return slice(self.rank * part, (self.rank + 1) * part)

    def gather(self, rows: Tensor) -> Tensor:
        """Rows of all ranks in their order; gradients reach this rank's own.

        Every rank then computes the same loss of all rows, so that the gradients that
        `sum_gradients` adds up are those of that one loss.
        """
        if self.world == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.world)]
        distributed.all_gather(parts, rows.detach().contiguous())
        parts[self.rank] = rows
        return torch.cat(parts)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all ranks, as one message."""
        if self.world == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        joined = torch.cat([gradient.ravel() for gradient in gradients])
        distributed.all_reduce(joined)
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, total in zip(gradients, torch.split(joined, sizes), strict=True):
            gradient.copy_(total.view_as(gradient))

    def agree(self, value: float) -> float:
        """The leading rank's value, on every rank."""
        if self.world == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(shared, 0)
        return float(shared)

    def wait(self) -> None:
        """Wait until every rank has come this far."""
        self.agree(0.0)


def join_ranks(device: str = "auto") -> Ranks:
    """Join the processes that torchrun started, by gloo on processors and NCCL on GPUs.

    Raises
    ------
    BackendError
        If the device asked for is not there.
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    chosen = _device(device)
    if world > 1 and not distributed.is_initialized():
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=PATIENCE)
    return Ranks(rank, world, chosen)


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16, and does not imitate it.

    Of a processor this is asked of PyTorch; versions that cannot say count as no.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def leave_ranks() -> None:
    """Part from the other processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def end_rank(code: int = 0) -> None:
    """End one of several processes by an exit code, once all that it had to do is done.

    A thread of gloo's may hold the last tensor a little longer than Python lives, and then aborts
    the process (PyTorch 2.13): so Python is not taken down.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _device(name: str) -> torch.device:
    require_choice("device", name)
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise BackendError("device cuda: PyTorch sees no CUDA device here; --device cpu would do")
    if name == "cpu" or not available:
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.cuda.set_device(device)
    return device
