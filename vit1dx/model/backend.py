"""What runs the model: ONNX Runtime, OpenVINO or PyTorch, behind one small protocol."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from .._types import Array
from ..errors import BackendError, reason_of
from ..processor import multiplies_bf16
from .request import Request, require_choice, require_device
from .weights import WeightsInfo, located, named, read_info, require_digest

#: What computes in each precision that not all backends have, the quickest first.
COMPUTED_BY = {"int8": ("onnx",), "bf16": ("openvino", "torch"), "fp16": ("torch",)}
#: The weights that each backend runs, by their ending.
SUFFIX = {"onnx": ".onnx", "openvino": ".onnx", "torch": ".safetensors"}

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
        ``"onnx"``, ``"openvino"`` or ``"torch"``, and the version of that library.
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

        Notes
        -----
        The arrays stay as they are until the same thread calls again.
        """
        ...


def find_weights(
    weights: str | os.PathLike[str] | None, backend: str = "auto", precision: str | None = None
) -> tuple[WeightsInfo, str]:
    """The weights to run, and the backend that runs them.

    Parameters
    ----------
    weights : path or None
        A ``.onnx`` file for ONNX Runtime or OpenVINO, a ``.safetensors`` file for PyTorch; or the
        name of bundled ones, None for those by default.
    backend : {"auto", "onnx", "openvino", "torch"}
    precision : {"fp32", "int8", "bf16", "fp16"}, optional
        By default the weights' own. int8 runs in ONNX Runtime, fp16 in PyTorch, and bf16 in
        OpenVINO where it is installed and the processor multiplies bfloat16, else in PyTorch.

    Returns
    -------
    info : WeightsInfo
        Its precision is the file's own; `load_backend` has it computed in another.
    backend : {"onnx", "openvino", "torch"}

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
    if weights is None or named(weights):
        backend = _chosen(backend, precision, None)
        info = read_info(located(weights, SUFFIX[backend]))
    else:
        info = read_info(weights)
        backend = _chosen(backend, precision, info.path.suffix)
        if info.path.suffix != SUFFIX[backend]:
            hint = f"; run 'vit1dx export-onnx --weights {weights}' first"
            hint = hint if SUFFIX[backend] == ".onnx" else ""
            raise BackendError(f"the {backend} backend cannot run {weights}{hint}")
    if precision not in (None, info.precision) and info.precision != "fp32":
        raise BackendError(f"{info.path} is in {info.precision}; {precision} needs fp32 weights")
    return info, backend


def likely_backend(
    weights: str | os.PathLike[str] | None, backend: str = "auto", precision: str | None = None
) -> str:
    """The backend that `find_weights` will give, unless ONNX Runtime turns out not to load."""
    require_choice("backend", backend)
    suffix = None if weights is None else Path(weights).suffix
    is_default = backend == "auto" and precision not in COMPUTED_BY
    return _chosen(backend, precision, suffix or (".onnx" if is_default else None))


def _chosen(backend: str, precision: str | None, suffix: str | None) -> str:
    """The backend for weights of an ending, None being those of all endings."""
    able: tuple[str, ...] = ()
    if precision is not None:
        require_choice("precision", precision)
        able = COMPUTED_BY.get(precision, ())
    if able and backend not in ("auto", *able):
        raise BackendError(
            f"precision {precision} needs the {' or '.join(able)} backend, not {backend}"
        )
    if backend != "auto":
        return backend
    if not able:
        return {".onnx": "onnx", ".safetensors": "torch"}.get(suffix or "") or _by_default()
    fit = [name for name in able if suffix in (None, SUFFIX[name])] or [able[0]]
    return fit[0] if len(fit) == 1 or _has_openvino_bf16() else fit[-1]


def _has_openvino_bf16() -> bool:
    return find_spec("openvino") is not None and multiplies_bf16() is not False


def load_backend(
    info: WeightsInfo,
    request: Request,
    device: str = "auto",
    threads: int | None = None,
    precision: str | None = None,
    name: str | None = None,
) -> Backend:
    """Make the backend that runs these weights, in a precision that `find_weights` allowed.

    Its name is what `find_weights` gave; by default it follows from the weights' ending.

    ONNX Runtime computes in the calling thread, and may be called from several at once. So may
    OpenVINO, which uses as many threads as are given, by default one a usable core; PyTorch uses as
    many, and not more than it would by itself.

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
    name = name or ("onnx" if info.path.suffix == ".onnx" else "torch")
    backend: Backend
    try:
        if name == "onnx":
            from .onnx import OnnxBackend

            backend = OnnxBackend(info, request, device, precision)
        elif name == "openvino":
            from .openvino import OpenVinoBackend

            backend = OpenVinoBackend(info, request, device, threads, precision)
        else:
            from .torch import TorchBackend

            backend = TorchBackend(info, request, device, threads, precision)
        require_digest(info.path, info.sha256)
        return backend
    except ImportError as error:
        reason = f"{info.path.name} cannot be run: {error}{_install(name, precision)}"
        raise BackendError(reason) from None


def _install(backend: str, precision: str) -> str:
    """What to do where a backend's library is missing."""
    names = {"openvino": ["openvino"], "torch": ["torch"]}.get(backend, [])
    if (backend, precision) == ("torch", "bf16") and multiplies_bf16():
        names = ["openvino", "torch"]
    commands = [f"pip install 'vit1dx[{name}]'" for name in names]
    return "; " + ", or ".join(commands) if commands else ""


def _by_default() -> str:
    """What runs the bundled weights: ONNX Runtime, unless it does not load."""
    try:
        import onnxruntime  # noqa: F401
    except Exception as error:  # a library that does not fit NumPy's raises what it likes
        _log.warning("ONNX Runtime does not load (%s): falling back to PyTorch", reason_of(error))
        return "torch"
    return "onnx"
