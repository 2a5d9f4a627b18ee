"""Weights that a graph keeps as float16 and computes with as float32: half the file."""

from __future__ import annotations

from collections import Counter

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from .._types import Array

#: Smaller tensors stay as they are.
LEAST_VALUES = 1024
_SUFFIX = "_half"


def halved(model: ModelProto) -> ModelProto:
    """Keep as float16, in place, what that holds to the bit, as it does what was float16 before."""
    casts: list[NodeProto] = []
    for tensor in model.graph.initializer:
        values = _float32(tensor)
        if values is None or values.size < LEAST_VALUES:
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if np.array_equal(half.astype(np.float32), values):
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, name + _SUFFIX))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def whole(model: ModelProto) -> ModelProto:
    """Make float32 again, in place, of what `halved` keeps as float16."""
    used = Counter(name for node in model.graph.node for name in node.input)
    halves = (t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT16)
    kept = {tensor.name: tensor for tensor in halves if used[tensor.name] == 1}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if _is_to_float32(node) and node.input[0] in kept:
            tensor = kept[node.input[0]]
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, node.output[0]))
        else:
            nodes.append(node)
    if len(nodes) < len(model.graph.node):
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    return model


def _float32(tensor: TensorProto) -> Array | None:
    return numpy_helper.to_array(tensor) if tensor.data_type == TensorProto.FLOAT else None


def _is_to_float32(node: NodeProto) -> bool:
    to = next((attribute.i for attribute in node.attribute if attribute.name == "to"), None)
    return node.op_type == "Cast" and to == TensorProto.FLOAT
