"""An exported graph, cut down to what one request asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .._types import Array
from ..errors import WeightsError
from .request import Request
from .weights import WeightsInfo, load_onnx, require_finite, tensors


def layer_name(layer: int) -> str:
    """Name of a layer's output in the graph."""
    return f"layer_{layer:02d}"


def attention_name(layer: int) -> str:
    """Name of an attention map's output in the graph."""
    return f"attention_{layer:02d}"


@dataclass(frozen=True)
class Outputs:
    """Names of the outputs that a request takes from a graph, by layer."""

    tokens: dict[int, str]
    maps: dict[int, str]

    @classmethod
    def of(cls, request: Request, info: WeightsInfo) -> Outputs:
        """Where only the class token's rows are asked of whole maps, an output of those.

        Raises
        ------
        WeightsError
            Unless the model was exported with all that is asked for.
        """
        require_outputs(info, request)
        cut = "_class" if request.attention == "class" and info.attention == "full" else ""
        return cls(
            {layer: layer_name(layer) for layer in request.layers},
            {layer: attention_name(layer) + cut for layer in request.attention_layers},
        )

    @property
    def names(self) -> list[str]:
        """All of them, tokens first."""
        return [*self.tokens.values(), *self.maps.values()]

    def by_layer(self, arrays: Sequence[Array]) -> tuple[dict[int, Array], dict[int, Array]]:
        """Arrays in the order of `names` as `Backend.run` gives them."""
        count = len(self.tokens)
        return (
            dict(zip(self.tokens, arrays[:count], strict=True)),
            dict(zip(self.maps, arrays[count:], strict=True)),
        )


def asked_of(info: WeightsInfo, outputs: Outputs) -> onnx.ModelProto:
    """A model's graph, with these outputs and nothing that they do not need.

    Raises
    ------
    WeightsError
        If the model cannot be read, or a weight is not finite.
    """
    graph = load_onnx(info.path)
    _require_finite(graph, info)
    there = {output.name for output in graph.graph.output}
    for layer, name in outputs.maps.items():
        if name not in there:
            _add_class_rows(graph, attention_name(layer), name)
    prune(graph, outputs.names)
    return graph


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


def _add_class_rows(model: onnx.ModelProto, attention: str, name: str) -> None:
    """Add an output with the class token's rows, (batch, head, key), of an attention map."""
    zero = attention + "_query"
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), zero))
    model.graph.node.append(helper.make_node("Gather", [attention, zero], [name], axis=2))
    shape = ["batch", None, None]
    output = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    model.graph.output.append(output)


def _keep(field: object, values: list[object]) -> None:
    del field[:]  # type: ignore[attr-defined]  # protobuf's repeated fields have no public type
    field.extend(values)  # type: ignore[attr-defined]
