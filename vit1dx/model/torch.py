"""PyTorch: the model itself, for weights that were not exported, and as a fallback."""

from __future__ import annotations

import os

import torch

from .._types import Array
from ..errors import BackendError
from ..parallel import usable_cores
from .request import Request, device_kind, device_number
from .vit import load
from .weights import WeightsInfo, require_finite

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
#: The process that imported this.
_PROCESS = os.getpid()


class TorchBackend:
    """ViT-1D in PyTorch; see `Backend`."""

    name = "torch"
    version = str(torch.__version__)  # a class of its own, which HDF5 does not take

    def __init__(
        self,
        info: WeightsInfo,
        request: Request,
        device: str = "auto",
        threads: int | None = None,
        precision: str | None = None,
    ) -> None:
        self.device = _available(device)
        self._type = _TYPES[precision or info.precision]
        if self._type == torch.float16 and self.device == "cpu":
            raise BackendError("precision fp16 is for CUDA devices; on cpu, choose bf16 or fp32")
        # PyTorch knows nothing of quotas, nor of affinity that changed since it was loaded.
        torch.set_num_threads(threads or min(torch.get_num_threads(), usable_cores()))
        _be_alone_if_forked()
        self._request = request
        model = load(info.path)
        for name, values in model.state_dict().items():
            require_finite(name, values.numpy(), info.path)
        self._model = model.eval().to(self.device)
        for layer in self._model.modules():  # converted once here, not in each call
            if isinstance(layer, torch.nn.Linear):
                layer.to(self._type)

    @torch.inference_mode()
    def run(self, mel: Array) -> tuple[dict[int, Array], dict[int, Array]]:
        """Run the model; see `Backend.run`."""
        _be_alone_if_forked()
        batch = torch.from_numpy(mel).to(self.device)
        request = self._request
        with torch.autocast(
            device_kind(self.device), self._type, enabled=self._type != torch.float32
        ):
            tokens, maps = self._model(batch, request.layers, request.attention_layers)
        if request.attention == "class":
            maps = {layer: weights[:, :, 0] for layer, weights in maps.items()}
        return _to_numpy(tokens), _to_numpy(maps)


def _be_alone_if_forked() -> None:
    """Use no threads in a forked process: those that PyTorch would wait for stayed behind."""
    if os.getpid() != _PROCESS:
        torch.set_num_threads(1)


def _to_numpy(tensors: dict[int, torch.Tensor]) -> dict[int, Array]:
    return {key: tensor.float().cpu().numpy() for key, tensor in tensors.items()}


def _available(device: str) -> str:
    there = torch.cuda.is_available()
    if device_kind(device) == "cuda":
        count = torch.cuda.device_count() if there else 0
        if device_number(device) >= count:
            raise BackendError(
                f"device {device} is not there for PyTorch, which finds {count}; use --device cpu"
            )
        return device
    return "cuda" if there and device == "auto" else "cpu"
