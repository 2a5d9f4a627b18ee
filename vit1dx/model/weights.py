"""Weights and model files: where they are and what they are, read without PyTorch.

What can be read off the numbers is: digest, precision, layers, attention. The metadata is taken
at its word only for what nothing else says: the name, the config, and whether they were trained.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._types import Array
from .._version import __version__
from ..config import Config
from ..errors import UsageError, WeightsError
from ..remote import AnyPath
from ..whole import require_apart
from . import cache

if TYPE_CHECKING:
    import onnx
    from google.protobuf.message import Message

#: Names of the bundled weights; the first are those that are used by default.
BUNDLED = ("vit1d-tiny-4", "vit1d-tiny")
SUFFIXES = (".onnx", ".safetensors")
#: A safetensors header longer than this is a damaged file's.
MAX_HEADER_BYTES = 100_000_000
#: The digest of a bundled .onnx file, and that of the .safetensors file it was exported from: one
#: model, whichever runs.
ONE_MODEL = {
    "344d60842c93c0b14628ea0246ccfadc61b65154da53d409ce06de0d9f198e88": (
        "7bc05a92ca36b667838970635efb142e03691be8a860d96d5ffe73a0ee85ab98"
    ),
    "d1c36daf1425afad7f56f5547dfa974e4a90fb285b2f633f6590a66ab951f84e": (
        "61416c95e310e7ebe389b4f164c09892fc3756a6a22a7c980abd3abba4c203a4"
    ),
}
#: Precisions by the codes of ONNX's types, the least precise first.
PRECISION_CODES = {"int8": {2, 3}, "bf16": {16}, "fp16": {10}}
#: What ONNX's serialisation can hold.
MAX_ONNX_BYTES = 2**31 - 1


@dataclass(frozen=True)
class WeightsInfo:
    """What a weights or model file is.

    Attributes
    ----------
    path : Path
    config : Config
    name : str
    trained : bool or None
        False for seeded random weights; None if the file does not say.
    sha256 : str
        Of the file's bytes. The bundled ONNX model has that of the weights it was exported from.
    precision : str
        Of its matrices: ``"fp32"``, or ``"int8"`` for a quantised ONNX model.
    layers : tuple of int
        The layers that the file can give.
    attention : str
        The attention maps that it can give: ``"none"``, ``"class"`` or ``"full"``.
    attention_layers : tuple of int
        The layers of which it can give them.
    exported_from : str
        What an ONNX model says it was exported from, the SHA-256 of a safetensors file; or nothing.
    """

    path: Path
    config: Config
    name: str
    trained: bool | None
    sha256: str
    precision: str
    layers: tuple[int, ...]
    attention: str
    attention_layers: tuple[int, ...]
    exported_from: str = ""


def bundled(suffix: str, name: str = BUNDLED[0]) -> Path:
    """The weights that come with vit1dx, by one of the names `BUNDLED`.

    Parameters
    ----------
    suffix : {".onnx", ".safetensors"}
    name : str
    """
    package = Path(str(files("vit1dx")))
    # In the wheel they lie inside the package, in a checkout beside it.
    for folder in (package / "weights", package.parent / "weights"):
        path = folder / (name + suffix)
        if path.is_file():
            return path
    raise WeightsError(f"the bundled weights {name}{suffix} are missing; reinstall vit1dx")


def bundled_name(path: Path) -> str | None:
    """Which of the bundled weights a file is; None if it is another."""
    name = path.name.removesuffix(path.suffix)
    is_theirs = path.suffix in SUFFIXES and name in BUNDLED
    return name if is_theirs and path == bundled(path.suffix, name) else None


def named(weights: str | os.PathLike[str]) -> bool:
    """Whether bundled weights are asked for, by one of the names `BUNDLED`, and not a file."""
    return os.fspath(weights) in BUNDLED


def located(weights: str | os.PathLike[str] | None, suffix: str) -> Path:
    """Where weights are that are asked for by name, by path or by default."""
    path = Path(BUNDLED[0] if weights is None else weights)
    return bundled(suffix, str(path)) if named(path) else path


def read_info(path: str | os.PathLike[str]) -> WeightsInfo:
    """Read what a ``.safetensors`` or ``.onnx`` file is.

    Raises
    ------
    WeightsError
        If there is no such file, or it is neither, or does not carry a vit1dx config.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise WeightsError(
            f"weights {path}; a file ending in {' or '.join(SUFFIXES)}, or one of "
            f"{', '.join(BUNDLED)}, is needed"
        )
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
            return {key: str(value) for key, value in header.get("__metadata__", {}).items()}
        except (ValueError, AttributeError, RecursionError):
            raise WeightsError(f"{path} is not a safetensors file") from None


def load_onnx(path: Path) -> onnx.ModelProto:
    """Load a self-contained ONNX model, its weights as float32; data outside is refused."""
    import onnx
    from google.protobuf.message import DecodeError

    from .half import whole

    if path.stat().st_size > MAX_ONNX_BYTES:
        raise WeightsError(f"{path} has {path.stat().st_size} bytes; at most {MAX_ONNX_BYTES} do")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError) as error:
        raise WeightsError(f"{path} is not an ONNX model: {error}") from None
    for tensor in tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise WeightsError(f"{path} keeps {tensor.name} in another file; export it in one")
    return whole(model)


def tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """All tensors of a model, wherever they are: in attributes, subgraphs and functions too."""
    from google.protobuf.message import Message

    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if isinstance(value, Message) else value:
                if field.message_type.name == "TensorProto":
                    yield inner
                else:
                    yield from tensors(inner)


def sha256(path: AnyPath, check: Callable[[], None] = lambda: None) -> str:
    """Hexadecimal SHA-256 of a file's bytes; `check` is called many times a second."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            check()
    return digest.hexdigest()


def require_digest(path: Path, expected: str) -> None:
    """Raise `WeightsError` if a file is not, or is no longer, the one with this digest."""
    if _identity(path) != expected:
        raise WeightsError(
            f"{path} is not the file it was: SHA-256 {_identity(path)}, expected {expected}"
        )


def require_replaceable(output: Path, inputs: Iterable[Path] = ()) -> None:
    """Raise `UsageError` unless a model may be written, in the place of what is there.

    Parameters
    ----------
    output : Path
        Nothing, an empty file, or a model; and none of the inputs, by whatever name.
    inputs : iterable of Path
    """
    if not output.exists():
        return
    require_apart(output, inputs)
    if output.is_dir():
        raise UsageError(f"output {output} is a folder; the name of a file is needed")
    if output.stat().st_size:
        try:
            read_info(output)
        except WeightsError as error:
            raise UsageError(
                f"output {output} is there, and is no model to replace ({error}); give another -o"
            ) from None


def require_finite(name: str, values: Array, path: Path) -> None:
    """Raise `WeightsError` unless all of a tensor's numbers are finite."""
    if not np.isfinite(values).all():
        raise WeightsError(f"{path} holds numbers in {name} that are not finite")


def _identity(path: Path) -> str:
    digest = sha256(path)
    return ONE_MODEL.get(digest, digest)


def _safetensors_info(path: Path) -> WeightsInfo:
    metadata = read_safetensors_metadata(path)
    config = _config(path, metadata)
    depth = config.model.depth
    return WeightsInfo(
        path=path,
        config=config,
        name=metadata.get("name", path.stem),
        trained=_flag(metadata.get("trained")),
        sha256=_identity(path),
        precision="fp32",
        layers=tuple(range(depth + 1)),
        attention="full",
        attention_layers=tuple(range(1, depth + 1)),
    )


def _onnx_info(path: Path) -> WeightsInfo:
    """What an ONNX model is, as an earlier start found it, or anew: reading it all takes long."""
    key = json.dumps(["info", __version__, path.stem, _identity(path)])
    kept = cache.read(key)
    if kept is not None:
        return _restored(json.loads(kept), path)
    info = onnx_info(load_onnx(path), path)
    known = {**vars(info), "config": info.config.to_json(), "path": None}
    cache.write(key, json.dumps(known).encode())
    return info


def _restored(known: dict[str, Any], path: Path) -> WeightsInfo:
    lists = {key: tuple(value) for key, value in known.items() if isinstance(value, list)}
    config = Config.from_json(known["config"])
    return WeightsInfo(**{**known, **lists, "config": config, "path": path})


def onnx_info(model: onnx.ModelProto, path: Path) -> WeightsInfo:
    """What a loaded ONNX model is."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    config = _config(path, metadata)
    tokens, maps = _outputs(model, "layer"), _outputs(model, "attention")
    _require_sizes(model, config, path)
    return WeightsInfo(
        path=path,
        config=config,
        name=metadata.get("name", path.stem),
        trained=_flag(metadata.get("trained")),
        sha256=_identity(path),
        precision=_precision(model),
        layers=tuple(tokens),
        attention=_attention(maps, path),
        attention_layers=tuple(maps),
        exported_from=metadata.get("weights_sha256", ""),
    )


def _outputs(model: onnx.ModelProto, kind: str) -> dict[int, list[int]]:
    """The shapes of outputs named ``layer_04`` or ``attention_04``, by layer; 0 is any size."""
    named = {output.name: output for output in model.graph.output}
    matches = {name: re.fullmatch(kind + r"_(\d{2,})", name) for name in named}
    return dict(
        sorted((int(match[1]), _shape(named[name])) for name, match in matches.items() if match)
    )


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]


def _precision(model: onnx.ModelProto) -> str:
    """The least precise type of a model's tensors."""
    kinds = {tensor.data_type for tensor in tensors(model)}
    return next((name for name, codes in PRECISION_CODES.items() if kinds & codes), "fp32")


def _attention(maps: Mapping[int, list[int]], path: Path) -> str:
    axes = {len(shape) for shape in maps.values()}
    if not axes <= {3} and not axes <= {4}:
        raise WeightsError(f"{path} has attention outputs of {axes} axes; all need 3, or all 4")
    return {frozenset(): "none", frozenset({3}): "class"}.get(frozenset(axes), "full")


def _require_sizes(model: onnx.ModelProto, config: Config, path: Path) -> None:
    """Raise `WeightsError` unless a graph's input and outputs are of the sizes of its config."""
    inputs = [value.name for value in model.graph.input]
    if inputs != ["mel"]:
        raise WeightsError(f"{path} takes {', '.join(inputs)}; one input, mel, is needed")
    expected = [("n_mels", config.mel.n_mels, _shape(model.graph.input[0])[2:])]
    expected += [("dim", config.model.dim, s[2:]) for s in _outputs(model, "layer").values()]
    expected += [
        ("heads", config.model.heads, s[1:2]) for s in _outputs(model, "attention").values()
    ]
    for name, size, found in expected:
        if found not in ([size], [0]):
            raise WeightsError(f"{path} is a graph with {name} {found}; its config says {size}")


def _config(path: Path, metadata: Mapping[str, Any]) -> Config:
    if "config" not in metadata:
        raise WeightsError(f"{path} carries no vit1dx config (metadata key 'config')")
    return Config.from_json(metadata["config"])


def _flag(value: str | None) -> bool | None:
    return {"true": True, "false": False}.get(str(value).lower())
