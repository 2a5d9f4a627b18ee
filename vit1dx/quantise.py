"""An ONNX model's weights on eight bits."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import onnx


def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model whose matrix products with weights are of 8-bit integers.

    Weights have a scale for each column, activations one for each call, taken as they come. The
    same model gives the same integers everywhere; seven bits of them are used, as processors
    without VNNI instructions would saturate on eight.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it recommends steps that change nothing here
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.onnx"
            quantize_dynamic(
                model,
                path,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
            )
            return onnx.load(str(path))
    finally:
        root.setLevel(level)
