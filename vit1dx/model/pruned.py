"""An exported graph, cut down to what one request asks for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .graph import Outputs, attention_name
from .weights import WeightsInfo, load_onnx, require_finite, tensors


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
