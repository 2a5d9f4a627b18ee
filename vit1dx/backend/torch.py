"""PyTorch: the model itself, for weights that were not exported, and as a fallback."""

from __future__ import annotations

import torch

from ..arrays import Array
from ..errors import BackendError
from ..model import load
from ..request import Request
from ..weights import WeightsInfo


class TorchBackend:
    """ViT-1D in PyTorch; see `Backend`."""

    name = "torch"
    version = str(torch.__version__)  # a class of its own, which HDF5 does not take

    def __init__(self, info: WeightsInfo, request: Request, device: str = "auto") -> None:
        self.device = _available(device)
        self._request = request
        self._model = load(info.path).eval().to(self.device)

    @torch.inference_mode()
    def run(self, mel: Array) -> tuple[dict[int, Array], dict[int, Array]]:
        """Run the model; see `Backend.run`."""
        batch = torch.from_numpy(mel).to(self.device)
        request = self._request
        tokens, maps = self._model(batch, request.layers, request.attention_layers)
        if request.attention == "class":
            maps = {layer: weights[:, :, 0] for layer, weights in maps.items()}
        return _to_numpy(tokens), _to_numpy(maps)


def _to_numpy(tensors: dict[int, torch.Tensor]) -> dict[int, Array]:
    return {key: tensor.float().cpu().numpy() for key, tensor in tensors.items()}


def _available(device: str) -> str:
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise BackendError("device cuda is not there for PyTorch; use --device cpu")
    return "cuda" if there and device != "cpu" else "cpu"
