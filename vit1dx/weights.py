"""Weights and model files: where they are and what they say of themselves, read without PyTorch."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import Config
from .errors import WeightsError

if TYPE_CHECKING:
    import onnx
    from google.protobuf.message import Message

#: Name of the bundled weights, less the ending.
BUNDLED = "vit1d-tiny"
SUFFIXES = (".onnx", ".safetensors")
#: A safetensors header longer than this is a damaged file's.
MAX_HEADER_BYTES = 100_000_000
#: What ONNX's serialisation can hold.
MAX_ONNX_BYTES = 2**31 - 1


@dataclass(frozen=True)
class WeightsInfo:
    """What a weights or model file says of itself.

    Attributes
    ----------
    path : Path
    config : Config
    name : str
    trained : bool
        False for seeded random weights.
    sha256 : str
        Of the safetensors file; an ONNX model carries that of the file it was exported from.
    precision : str
        ``"fp32"``, or ``"int8"`` for a quantised ONNX model.
    layers : tuple of int
        The layers that the file can give.
    attention : str
        The attention maps that it can give: ``"none"``, ``"class"`` or ``"full"``.
    attention_layers : tuple of int
        The layers of which it can give them.
    """

    path: Path
    config: Config
    name: str
    trained: bool
    sha256: str
    precision: str
    layers: tuple[int, ...]
    attention: str
    attention_layers: tuple[int, ...]


def bundled(suffix: str) -> Path:
    """The weights that come with vit1dx: ``.onnx`` or ``.safetensors``."""
    package = Path(str(files("vit1dx")))
    # In the wheel they lie inside the package, in a checkout beside it.
    for folder in (package / "weights", package.parent / "weights"):
        path = folder / (BUNDLED + suffix)
        if path.is_file():
            return path
    raise WeightsError(f"the bundled weights {BUNDLED}{suffix} are missing; reinstall vit1dx")


def read_info(path: str | os.PathLike[str]) -> WeightsInfo:
    """Read what a ``.safetensors`` or ``.onnx`` file says of itself.

    Raises
    ------
    WeightsError
        If there is no such file, or it is neither, or does not carry a vit1dx config.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise WeightsError(f"weights {path}; a file ending in {' or '.join(SUFFIXES)} is needed")
    if not path.is_file():
        raise WeightsError(f"no weights at {path}")
    return _onnx_info(path) if path.suffix == ".onnx" else _safetensors_info(path)


def read_safetensors_metadata(path: Path) -> dict[str, str]:
    """The ``__metadata__`` of a safetensors file."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > min(MAX_HEADER_BYTES, path.stat().st_size):
            raise WeightsError(f"{path} is not a safetensors file")
        try:
            header = json.loads(file.read(size))
            return dict(header.get("__metadata__", {}))
        except (ValueError, AttributeError, RecursionError):
            raise WeightsError(f"{path} is not a safetensors file") from None


def load_onnx(path: Path) -> onnx.ModelProto:
    """Load a self-contained ONNX model; data outside the file is refused."""
    import onnx
    from google.protobuf.message import DecodeError

    if path.stat().st_size > MAX_ONNX_BYTES:
        raise WeightsError(f"{path} has {path.stat().st_size} bytes; at most {MAX_ONNX_BYTES} do")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError) as error:
        raise WeightsError(f"{path} is not an ONNX model: {error}") from None
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise WeightsError(f"{path} keeps {tensor.name} in another file; export it in one")
    return model


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """All tensors of a model, wherever they are: in attributes, subgraphs and functions too."""
    from google.protobuf.message import Message

    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if isinstance(value, Message) else value:
                if field.message_type.name == "TensorProto":
                    yield inner
                else:
                    yield from _tensors(inner)


@functools.lru_cache(maxsize=8)
def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _safetensors_info(path: Path) -> WeightsInfo:
    metadata = read_safetensors_metadata(path)
    config = _config(path, metadata)
    depth = config.model.depth
    return WeightsInfo(
        path=path,
        config=config,
        name=metadata.get("name", path.stem),
        trained=_flag(metadata.get("trained")),
        sha256=sha256(path),
        precision="fp32",
        layers=tuple(range(depth + 1)),
        attention="full",
        attention_layers=tuple(range(1, depth + 1)),
    )


def _onnx_info(path: Path) -> WeightsInfo:
    return onnx_info(load_onnx(path), path)


def onnx_info(model: onnx.ModelProto, path: Path) -> WeightsInfo:
    """What a loaded ONNX model says of itself."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    outputs = [output.name for output in model.graph.output]
    return WeightsInfo(
        path=path,
        config=_config(path, metadata),
        name=metadata.get("name", path.stem),
        trained=_flag(metadata.get("trained")),
        sha256=metadata.get("weights_sha256", ""),
        precision=metadata.get("precision", "fp32"),
        layers=_numbers(outputs, "layer_"),
        attention=metadata.get("attention", "none"),
        attention_layers=_numbers(outputs, "attention_"),
    )


def _numbers(names: list[str], prefix: str) -> tuple[int, ...]:
    return tuple(sorted(int(n.removeprefix(prefix)) for n in names if n.startswith(prefix)))


def _config(path: Path, metadata: Mapping[str, Any]) -> Config:
    if "config" not in metadata:
        raise WeightsError(f"{path} carries no vit1dx config (metadata key 'config')")
    return Config.from_json(metadata["config"])


def _flag(value: str | None) -> bool:
    return str(value).lower() == "true"
