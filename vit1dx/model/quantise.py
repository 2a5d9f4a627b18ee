"""An ONNX model's weights on eight bits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper
from onnx.helper import make_node

from .._types import Array

#: Seven bits: processors without VNNI instructions would saturate on eight.
LARGEST = 64


def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn a model's matrix products with weights, in place, into products of 8-bit integers.

    Weights have a scale for each column, activations one for each call, taken as they come. The
    same model gives the same integers everywhere. This is what `onnxruntime.quantization` makes of
    it, which needs a folder for temporary files.
    """
    matrices = {tensor.name: tensor for tensor in model.graph.initializer if len(tensor.dims) == 2}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in matrices:
            nodes += _integer_product(*node.input, *node.output)
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    for name in sorted({*matrices} - used):
        kept += _integers(name, numpy_helper.to_array(matrices[name]))
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(kept)
    return model


def _integer_product(left: str, right: str, output: str) -> Iterator[NodeProto]:
    """Nodes for ``output = left @ right``; ONNX Runtime makes one of them."""
    quantised, scale, zero = (f"{output}_left{part}" for part in ("", "_scale", "_zero"))
    yield make_node("DynamicQuantizeLinear", [left], [quantised, scale, zero])
    matrix = [f"{right}_int8", zero, f"{right}_zero"]
    yield make_node("MatMulInteger", [quantised, *matrix], [f"{output}_int32"])
    yield make_node("Cast", [f"{output}_int32"], [f"{output}_whole"], to=TensorProto.FLOAT)
    yield make_node("Mul", [scale, f"{right}_scale"], [f"{output}_scale"])
    yield make_node("Mul", [f"{output}_whole", f"{output}_scale"], [output])


def _integers(name: str, matrix: Array) -> Iterator[TensorProto]:
    """A matrix as integers, their zero and their scale, by column."""
    largest = np.abs(matrix).max(axis=0)
    scale = np.where(largest > 0, largest / LARGEST, 1).astype(np.float32)
    arrays: dict[str, Array] = {
        "int8": np.round(matrix / scale).astype(np.int8),
        "zero": np.zeros(len(scale), np.int8),
        "scale": scale,
    }
    for part, array in arrays.items():
        yield numpy_helper.from_array(array, f"{name}_{part}")
