"""The command `vit1dx export-onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from ..model.request import LAYERS, Attention, ExportPrecision
from .options import AsJson

EXAMPLES = """Examples:

vit1dx export-onnx --weights mine.safetensors -o mine.onnx

vit1dx export-onnx --layers 4,8 --attention none --precision int8 -o small.onnx"""


def export_onnx(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="MODEL.onnx", help="Model to write.")
    ] = Path("model.onnx"),
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="W.safetensors",
            help="Weights to export instead of the bundled ones, or the name of bundled ones.",
        ),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(help=f"Layers the model gives: {LAYERS}; by default 0 to the last."),
    ] = None,
    attention: Annotated[
        Attention, typer.Option(help="Attention maps it gives of those layers.")
    ] = "full",
    precision: Annotated[
        ExportPrecision, typer.Option(help="int8 quantises the weights, and activations at run.")
    ] = "fp32",
    as_json: AsJson = False,
) -> None:
    """Export weights to ONNX, and compare every output with PyTorch's (needs the extra 'torch')."""
    from ..model.request import parse_layers
    from ..model.weights import located, read_info
    from .printing import print_json, print_table

    try:
        from ..model.export import export
    except ImportError as error:
        raise UsageError(f"export needs PyTorch ({error}); pip install 'vit1dx[torch]'") from None

    source = located(weights, ".safetensors")
    wanted = None if layers is None else parse_layers(layers, read_info(source).config.model)
    agreements = export(source, output, wanted, attention, precision)
    if as_json:
        print_json({"output": str(output), "outputs": [vars(a) for a in agreements]})
    else:
        rows = [[a.output, f"{a.max_error:.2e}", f"{a.cosine:.6f}"] for a in agreements]
        print_table(["output", "max abs error", "min cosine similarity"], rows)
        print(f"{output}: every output compared with PyTorch's")
