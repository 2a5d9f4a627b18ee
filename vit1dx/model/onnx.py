"""ONNX Runtime: the exported graph, cut down to what is asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from .._types import Array
from ..errors import BackendError, WeightsError, reason_of
from .quantise import quantised
from .request import Request
from .weights import WeightsInfo, load_onnx, require_finite, tensors

_log = logging.getLogger("vit1dx")

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def layer_name(layer: int) -> str:
    """Name of a layer's output in the graph."""
    return f"layer_{layer:02d}"


def attention_name(layer: int) -> str:
    """Name of an attention map's output in the graph."""
    return f"attention_{layer:02d}"


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
        require_outputs(info, request)
        self.device = _choose(device)
        graph = load_onnx(info.path)
        _require_finite(graph, info)
        self._tokens = {layer: layer_name(layer) for layer in request.layers}
        self._maps = {layer: attention_name(layer) for layer in request.attention_layers}
        if request.attention == "class" and info.attention == "full":
            self._maps = {k: class_rows(graph, name) for k, name in self._maps.items()}
        prune(graph, [*self._tokens.values(), *self._maps.values()])
        if precision == "int8" != info.precision:
            graph = quantised(graph)
        self._session = _start(graph, self.device, info)
        # Where a provider does not load, ONNX Runtime goes on without it.
        if PROVIDERS[self.device] not in self._session.get_providers():
            if device != "auto":
                raise BackendError(f"ONNX Runtime could not start on {device}; use --device cpu")
            _log.warning("ONNX Runtime could not start on %s: running on cpu", self.device)
            self.device = "cpu"

    def run(self, mel: Array) -> tuple[dict[int, Array], dict[int, Array]]:
        """Run the model; see `Backend.run`."""
        names = [*self._tokens.values(), *self._maps.values()]
        outputs = dict(zip(names, self._session.run(names, {"mel": mel}), strict=True))
        tokens = {layer: outputs[name] for layer, name in self._tokens.items()}
        return tokens, {layer: outputs[name] for layer, name in self._maps.items()}


def _start(graph: onnx.ModelProto, device: str, info: WeightsInfo) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # sessions side by side beat one on all cores
    options.log_severity_level = 3
    provider = PROVIDERS[device]
    try:
        return ort.InferenceSession(graph.SerializeToString(), options, providers=[provider])
    except Exception as error:  # its exceptions have no base of their own
        raise WeightsError(f"ONNX Runtime refuses {info.path}: {reason_of(error)}") from error


def _require_finite(graph: onnx.ModelProto, info: WeightsInfo) -> None:
    """Raise `WeightsError` if a weight is not finite: eight bits would make a number of it."""
    for tensor in tensors(graph):
        if tensor.data_type == onnx.TensorProto.FLOAT:
            require_finite(tensor.name, numpy_helper.to_array(tensor), info.path)


def require_outputs(info: WeightsInfo, request: Request) -> None:
    """Raise `WeightsError` unless the model was exported with all that is asked for."""
    has_layers = set(request.layers) <= set(info.layers)
    has_maps = set(request.attention_layers) <= set(info.attention_layers)
    has_rows = request.attention != "full" or info.attention != "class"
    if not (has_layers and has_maps and has_rows):
        has = ", ".join(map(str, info.layers))
        asked = ", ".join(map(str, request.layers))
        raise WeightsError(
            f"{info.path} was exported with layers {has} and attention {info.attention}; "
            f"layers {asked} and attention {request.attention} were asked for"
        )


def prune(model: onnx.ModelProto, outputs: Sequence[str]) -> None:
    """Cut a graph down, in place, to what these outputs need."""
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    needed: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += producers[name].input if name in producers else ()
    _keep(graph.node, [n for n in graph.node if needed.intersection(n.output)])
    _keep(graph.initializer, [t for t in graph.initializer if t.name in needed])
    _keep(graph.output, [o for o in graph.output if o.name in outputs])
    del graph.value_info[:]


def class_rows(model: onnx.ModelProto, attention: str) -> str:
    """Add an output with the class token's rows, (batch, head, key), of an attention map."""
    name, zero = attention + "_class", attention + "_query"
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), zero))
    model.graph.node.append(helper.make_node("Gather", [attention, zero], [name], axis=2))
    shape = ["batch", None, None]
    output = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    model.graph.output.append(output)
    return name


def _keep(field: object, values: list[object]) -> None:
    del field[:]  # type: ignore[attr-defined]  # protobuf's repeated fields have no public type
    field.extend(values)  # type: ignore[attr-defined]


def _choose(device: str) -> str:
    providers = ort.get_available_providers()
    if device == "auto":
        return "cuda" if PROVIDERS["cuda"] in providers else "cpu"
    if PROVIDERS[device] not in providers:
        raise BackendError(
            f"device {device} is not there for ONNX Runtime, which has {', '.join(providers)}; "
            "use --device cpu, or install onnxruntime-gpu"
        )
    return device
