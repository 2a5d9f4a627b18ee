"""What runs the model: ONNX Runtime, or PyTorch, behind one small protocol."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .._types import Array
from ..errors import BackendError, reason_of
from .request import Request, require_choice, require_device
from .weights import WeightsInfo, bundled, read_info, require_digest

#: What computes in each precision that only one backend has.
COMPUTED_BY = {"int8": "onnx", "bf16": "torch", "fp16": "torch"}

_log = logging.getLogger("vit1dx")


@dataclass(frozen=True)
class BackendInfo:
    """What a backend says of itself; see `Backend`."""

    name: str
    version: str
    device: str


class Backend(Protocol):
    """A model on a device, ready to give what one request asks for, and computing no more.

    Attributes
    ----------
    name, version : str
        ``"onnx"`` or ``"torch"``, and the version of that library.
    device : str
        What it really runs on: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
    """

    name: str
    version: str
    device: str

    def run(self, mel: Array) -> tuple[dict[int, Array], dict[int, Array]]:
        """Run the model.

        Parameters
        ----------
        mel : (batch, time, n_mels) float32 array

        Returns
        -------
        tokens : dict of (batch, 1 + time, feature) float32 arrays, by layer; the class token first
        attention : dict of float32 arrays, by layer
            (batch, head, query, key), or (batch, head, key) where the class token's rows are asked.
        """
        ...


def find_weights(
    weights: str | os.PathLike[str] | None, backend: str = "auto", precision: str | None = None
) -> WeightsInfo:
    """The weights to run, and by their kind the backend.

    Parameters
    ----------
    weights : path or None
        A ``.onnx`` file for ONNX Runtime or a ``.safetensors`` file for PyTorch; None for the
        bundled ones.
    backend : {"auto", "onnx", "torch"}
    precision : {"fp32", "int8", "bf16", "fp16"}, optional
        By default the weights' own. int8 runs in ONNX Runtime, bf16 and fp16 in PyTorch.

    Returns
    -------
    WeightsInfo
        Its precision is the file's own; `load_backend` has it computed in another.

    Raises
    ------
    UsageError
        If there is no backend or precision of this name.
    BackendError
        If the backend cannot run these weights, or not in this precision.
    WeightsError
        If they cannot be read.
    """
    require_choice("backend", backend)
    if precision is not None:
        backend = _computing(precision, backend)
    info = _find(weights, backend)
    if precision not in (None, info.precision) and info.precision != "fp32":
        raise BackendError(f"{info.path} is in {info.precision}; {precision} needs fp32 weights")
    return info


def _find(weights: str | os.PathLike[str] | None, backend: str) -> WeightsInfo:
    if weights is None:
        return read_info(bundled(".onnx" if _choose(backend) == "onnx" else ".safetensors"))
    needed = "onnx" if Path(weights).suffix == ".onnx" else "torch"
    if backend not in ("auto", needed):
        hint = f"; run 'vit1dx export-onnx --weights {weights}' first" if backend == "onnx" else ""
        raise BackendError(f"the {backend} backend cannot run {weights}{hint}")
    return read_info(weights)


def _computing(precision: str, backend: str) -> str:
    """The backend that computes in a precision."""
    require_choice("precision", precision)
    needed = COMPUTED_BY.get(precision, backend)
    if backend not in ("auto", needed):
        raise BackendError(f"precision {precision} needs the {needed} backend, not {backend}")
    return needed


def load_backend(
    info: WeightsInfo,
    request: Request,
    device: str = "auto",
    threads: int | None = None,
    precision: str | None = None,
) -> Backend:
    """Make the backend that runs these weights, in a precision that `find_weights` allowed.

    ONNX Runtime computes in the calling thread, and may be called from several at once; PyTorch
    uses so many threads, by default one a usable core at most.

    Raises
    ------
    UsageError
        If there is no device of this name.
    BackendError
        If its library is not installed, or the device is not there.
    WeightsError
        If the weights cannot give what is asked for, hold numbers that are not finite, or changed
        since `info` was read.
    """
    require_device(device)
    precision = precision or info.precision
    backend: Backend
    try:
        if info.path.suffix == ".onnx":
            from .onnx import OnnxBackend

            backend = OnnxBackend(info, request, device, precision)
        else:
            from .torch import TorchBackend

            backend = TorchBackend(info, request, device, threads, precision)
        require_digest(info.path, info.sha256)
        return backend
    except ImportError as error:
        extra = "" if info.path.suffix == ".onnx" else "; pip install 'vit1dx[torch]'"
        raise BackendError(f"{info.path.name} cannot be run: {error}{extra}") from None


def _choose(backend: str) -> str:
    """ONNX Runtime unless told otherwise, or unless it does not load."""
    if backend != "auto":
        return backend
    try:
        import onnxruntime  # noqa: F401
    except Exception as error:  # a library that does not fit NumPy's raises what it likes
        _log.warning("ONNX Runtime does not load (%s): falling back to PyTorch", reason_of(error))
        return "torch"
    return "onnx"
