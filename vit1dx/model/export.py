"""ViT-1D from PyTorch to ONNX, always compared with the model it came from."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from .._types import Array
from .._version import __version__
from ..errors import StoreError, UsageError, Vit1dxError
from ..tokens import attended
from ..whole import whole
from .graph import attention_name, layer_name
from .half import halved
from .onnx import OnnxBackend
from .quantise import quantised
from .request import ExportPrecision, Request, require_choice
from .torch import TorchBackend
from .vit import ViT1D, load
from .weights import WeightsInfo, read_info, require_replaceable

OPSET = 20
#: Most that an fp32 output may differ from PyTorch's, in root mean squares of it where above 1.
TOLERANCE = 1e-4
#: (batch, time) of the inputs that an export is checked with, beside the model's own window.
CHECKED_SHAPES = ((1, 1), (2, 7), (5, 50), (1, 500))


@dataclass(frozen=True)
class Agreement:
    """How an exported output compares with PyTorch's.

    Attributes
    ----------
    output : str
        Name in the graph.
    max_error : float
        Largest absolute difference, in root mean squares of the output where that is above 1.
    cosine : float
        Least cosine similarity of a token (or of an attention row).
    """

    output: str
    max_error: float
    cosine: float


def export(
    weights: str | os.PathLike[str],
    output: str | os.PathLike[str],
    layers: Sequence[int] | None = None,
    attention: str = "full",
    precision: str = "fp32",
) -> list[Agreement]:
    """Export weights to an ONNX model and compare the two.

    The model takes ``mel`` (batch, time, n_mels) with any batch and time, and gives ``layer_00`` to
    ``layer_12`` (batch, 1 + time, feature) and ``attention_01`` to ``attention_12`` (batch, head,
    query, key), or (batch, head, key) with the class token's rows.

    Parameters
    ----------
    weights : path
        A ``.safetensors`` file.
    output : path
        The ``.onnx`` file to write; it appears only once the comparison has passed.
    layers : sequence of int, optional
        Layers to give; all, 0 included, by default.
    attention : {"full", "class", "none"}
        Attention maps to give of those layers.
    precision : {"fp32", "int8"}
        int8 quantises the weights, and the activations as they come.

    Returns
    -------
    list of Agreement
        One an output.

    Raises
    ------
    UsageError
        If `output` is no name of a model, or there is something else than one.
    WeightsError
        If the weights cannot be read.
    StoreError
        If the model cannot be written.
    Vit1dxError
        If fp32 outputs differ by more than `TOLERANCE`.
    """
    require_choice("precision", precision, get_args(ExportPrecision))
    info, output = read_info(weights), Path(output)
    if output.suffix != ".onnx":
        raise UsageError(f"output {output}; a name ending in .onnx is needed")
    require_replaceable(output, [info.path])
    wanted = info.layers if layers is None else tuple(layers)
    # Layer 0 has no attention map; that is no reason not to export it beside the others'.
    maps = () if attention == "none" else attended(wanted)
    model = _to_onnx(load(info.path), wanted, maps, attention)
    model = quantised(model) if precision == "int8" else halved(model)
    _describe(model, info)
    onnx.checker.check_model(model, full_check=precision == "fp32")
    with _written(output), whole(output) as temporary:
        onnx.save(model, str(temporary))
        agreements = compare(info, read_info(temporary))
        worst = max(agreements, key=lambda agreement: agreement.max_error)
        # Written this way round, so that NaN fails too.
        if precision == "fp32" and not worst.max_error <= TOLERANCE:
            raise Vit1dxError(
                f"the exported {worst.output} differs by {worst.max_error:.2g} from PyTorch's; "
                f"at most {TOLERANCE:g} is allowed, and nothing was written"
            )
    return agreements


def compare(weights: WeightsInfo, exported: WeightsInfo) -> list[Agreement]:
    """Compare an exported model with its weights in PyTorch, output by output.

    Random frames are taken, at several batch sizes and lengths.
    """
    request = Request(exported.layers, exported.attention)
    ours, theirs = OnnxBackend(exported, request, "cpu"), TorchBackend(weights, request, "cpu")
    found: dict[str, list[tuple[float, float]]] = {}
    for mel in _inputs(weights):
        for name, got, expected in zip(
            (layer_name, attention_name), ours.run(mel), theirs.run(mel), strict=True
        ):
            for layer in got:
                figures = _difference(got[layer], expected[layer])
                found.setdefault(name(layer), []).append(figures)
    return [
        Agreement(name, max(f[0] for f in figures), min(f[1] for f in figures))
        for name, figures in found.items()
    ]


def _inputs(info: WeightsInfo) -> Iterator[Array]:
    generator = np.random.default_rng(0)
    for batch, time in (*CHECKED_SHAPES, (3, info.config.window.frames)):
        yield generator.standard_normal((batch, time, info.config.mel.n_mels), np.float32)


def _difference(got: Array, expected: Array) -> tuple[float, float]:
    norms = np.linalg.norm(got, axis=-1) * np.linalg.norm(expected, axis=-1)
    cosine = (got * expected).sum(axis=-1) / norms
    # A trained residual stream reaches 30 at a root mean square of 5; float32 errors grow alike.
    scale = max(1.0, float(np.sqrt(np.mean(expected**2))))
    return float(np.abs(got - expected).max()) / scale, float(cosine.min())


class _Graph(nn.Module):
    """The model with the outputs that a graph has: a flat tuple of tensors."""

    def __init__(
        self, model: ViT1D, layers: Sequence[int], maps: Sequence[int], attention: str
    ) -> None:
        super().__init__()
        self.model, self.layers, self.maps, self.attention = model, layers, maps, attention

    def forward(self, mel: Tensor) -> tuple[Tensor, ...]:
        tokens, maps = self.model(mel, self.layers, self.maps)
        rows = slice(None) if self.attention == "full" else 0
        return (*tokens.values(), *(weights[:, :, rows] for weights in maps.values()))


def _to_onnx(
    model: ViT1D, layers: Sequence[int], maps: Sequence[int], attention: str
) -> onnx.ModelProto:
    batch, time = torch.export.Dim("batch"), torch.export.Dim("time")
    with _quiet():
        program = torch.onnx.export(
            _Graph(model, layers, maps, attention).eval(),
            (torch.zeros(2, 3, model.config.mel.n_mels),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["mel"],
            output_names=[*map(layer_name, layers), *map(attention_name, maps)],
            dynamic_shapes={"mel": {0: batch, 1: time}},
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _describe(model: onnx.ModelProto, info: WeightsInfo) -> None:
    model.producer_name, model.producer_version = "vit1dx", __version__
    metadata = {
        "config": info.config.to_json(),
        "name": info.name,
        **({} if info.trained is None else {"trained": str(info.trained).lower()}),
        "weights_sha256": info.sha256,
    }
    del model.metadata_props[:]
    for node in model.graph.node:  # the exporter's stack traces, with the paths of this machine
        del node.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Raise `StoreError` if a file cannot be written, or not be moved."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's talk about its own internals from the user."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
