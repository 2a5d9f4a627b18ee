"""ONNX Runtime: the exported graph, cut down to what is asked for."""

from __future__ import annotations

import json
import logging

import onnxruntime as ort

from .._types import Array
from .._version import __version__
from ..errors import BackendError, WeightsError, reason_of
from . import cache
from .graph import Outputs
from .request import Request, device_kind, device_number
from .weights import WeightsInfo

_log = logging.getLogger("vit1dx")

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxBackend:
    """An ONNX model in ONNX Runtime; see `Backend`. Threads may call it side by side."""

    name = "onnx"
    version: str = ort.__version__

    def __init__(
        self,
        info: WeightsInfo,
        request: Request,
        device: str = "auto",
        precision: str | None = None,
    ) -> None:
        self._outputs = Outputs.of(request, info)
        self.device = _choose(device)
        graph = _graph(info, self._outputs, precision == "int8" != info.precision)
        self._session = _start(graph, self.device, info)
        # Where a provider does not load, ONNX Runtime goes on without it.
        if PROVIDERS[device_kind(self.device)] not in self._session.get_providers():
            if device != "auto":
                raise BackendError(f"ONNX Runtime could not start on {device}; use --device cpu")
            _log.warning("ONNX Runtime could not start on %s: running on cpu", self.device)
            self.device = "cpu"

    def run(self, mel: Array) -> tuple[dict[int, Array], dict[int, Array]]:
        """Run the model; see `Backend.run`."""
        return self._outputs.by_layer(self._session.run(self._outputs.names, {"mel": mel}))


def _graph(info: WeightsInfo, outputs: Outputs, in_integers: bool) -> bytes:
    """The graph to run, as an earlier start cut it down, or anew."""
    key = json.dumps(["graph", __version__, info.sha256, outputs.names, in_integers])
    kept = cache.read(key)
    if kept is not None:
        return kept
    from .pruned import asked_of  # ONNX takes as long to import as ONNX Runtime to start
    from .quantise import quantised

    graph = asked_of(info, outputs)
    made: bytes = (quantised(graph) if in_integers else graph).SerializeToString()
    cache.write(key, made)
    return made


def _start(graph: bytes, device: str, info: WeightsInfo) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # sessions side by side beat one on all cores
    options.log_severity_level = 3
    kind = device_kind(device)
    number = {"device_id": str(device_number(device))} if kind == "cuda" else {}
    provider = PROVIDERS[kind], number
    try:
        return ort.InferenceSession(graph, options, providers=[provider])
    except Exception as error:  # its exceptions have no base of their own
        raise WeightsError(f"ONNX Runtime refuses {info.path}: {reason_of(error)}") from error


def devices() -> list[str]:
    """What ONNX Runtime was built for."""
    there = ort.get_available_providers()
    return [device for device, provider in PROVIDERS.items() if provider in there]


def _choose(device: str) -> str:
    providers = ort.get_available_providers()
    if device == "auto":
        return "cuda" if PROVIDERS["cuda"] in providers else "cpu"
    if PROVIDERS[device_kind(device)] not in providers:
        raise BackendError(
            f"device {device} is not there for ONNX Runtime, which has {', '.join(providers)}; "
            "use --device cpu, or install onnxruntime-gpu"
        )
    return device
