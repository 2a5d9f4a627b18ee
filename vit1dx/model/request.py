"""What a user can ask for: every choice by its name, and layers as a model has them."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from ..config import ModelConfig
from ..errors import UsageError
from ..tokens import attended

Attention: TypeAlias = Literal["none", "class", "full"]
#: What is kept of attention maps where nothing is asked for, and there are any.
USUAL_ATTENTION: Attention = "class"
DType: TypeAlias = Literal["float32", "float16"]
BackendName: TypeAlias = Literal["auto", "onnx", "openvino", "torch"]
Device: TypeAlias = Literal["auto", "cpu", "cuda"]
Precision: TypeAlias = Literal["fp32", "int8", "bf16", "fp16"]
ExportPrecision: TypeAlias = Literal["fp32", "int8"]

#: The names of each choice, each choice by the option that makes it.
CHOICES: dict[str, tuple[str, ...]] = {
    "attention": get_args(Attention),
    "dtype": get_args(DType),
    "backend": get_args(BackendName),
    "device": get_args(Device),
    "precision": get_args(Precision),
}
#: How layers are spelled.
LAYERS = "'all', 'last', or numbers such as 4,8 or 1-12"


def require_choice(option: str, value: str, choices: Iterable[str] = ()) -> None:
    """Raise `UsageError` unless a value is one of an option's, or of some of them."""
    names = list(choices) or CHOICES[option]
    if value not in names:
        raise UsageError(f"{option} {value!r}; choose from {', '.join(names)}")


#: Smallest file that a folder of shards may be made of: what holds no track counts, too.
LEAST_SHARD = 1_000_000

_SIZE = re.compile(r"([\d.]+)\s*([kmgt]?)(i?)b", re.IGNORECASE)


@dataclass(frozen=True)
class Request:
    """Layers whose tokens, and kind of attention maps, that a run keeps.

    Attributes
    ----------
    layers : tuple of int
        Ascending; 0 is the embedding, which has no attention maps.
    attention : {"none", "class", "full"}
        Attention maps of the layers from 1 on: none, the class token's rows, or all rows.
    """

    layers: tuple[int, ...]
    attention: str = "none"

    def __post_init__(self) -> None:
        require_choice("attention", self.attention)
        if self.attention != "none" and not any(self.layers):
            raise UsageError(
                f"attention {self.attention} of layer 0 alone, which has no attention maps, being "
                "the embedding before the first block; add a layer, or ask for attention none"
            )

    @property
    def attention_layers(self) -> tuple[int, ...]:
        """The layers whose attention maps are kept."""
        return () if self.attention == "none" else attended(self.layers)


def usual_attention(layers: Iterable[int], mapped: Iterable[int]) -> Attention:
    """What is kept of attention where nothing is asked for.

    `USUAL_ATTENTION`; ``"none"`` where none of the layers is one of `mapped`, those whose maps a
    model gives.
    """
    return USUAL_ATTENTION if set(attended(layers)) & set(mapped) else "none"


def parse_layers(spec: str | int | Iterable[str | int], model: ModelConfig) -> tuple[int, ...]:
    """Layers asked for: ``"all"`` (1 to the depth), ``"last"``, ``"4,8"``, ``"1-12"``, a whole
    number of Python's or NumPy's, or several of these.

    Returns
    -------
    tuple of int
        Ascending, each once.

    Raises
    ------
    UsageError
        If the words cannot be read, or the model has no such layer.
    """
    layers: set[int] = set()
    for part in _parts(spec):
        layers |= _from_text(part, model.depth) if isinstance(part, str) else {_whole(part)}
    wrong = sorted(layer for layer in layers if not 0 <= layer <= model.depth)
    if wrong:
        raise UsageError(f"layer {wrong[0]}; this model has layers 0 to {model.depth}")
    if not layers:
        raise UsageError(f"no layer asked for; give {LAYERS}")
    return tuple(sorted(layers))


def _parts(spec: Any) -> list[Any]:
    if isinstance(spec, (str, bytes)):
        return [spec]
    try:
        return list(spec)
    except TypeError:
        return [spec]


def _whole(value: Any) -> int:
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise UsageError(f"layer {value!r}; give 'all', 'last', or whole numbers such as 4 or 8")


def _from_text(text: str, depth: int) -> set[int]:
    words = text.strip().lower()
    if words == "all":
        return set(range(1, depth + 1))
    if words == "last":
        return {depth}
    layers: set[int] = set()
    for part in words.split(","):
        first, dash, last = part.partition("-")
        try:
            bounds = int(first), int(last if dash else first)
        except ValueError:
            raise UsageError(f"layers {text!r}; give {LAYERS}") from None
        if bounds[0] > bounds[1]:
            raise UsageError(f"layers {part!r} run backwards; give the smaller number first")
        layers.update(range(bounds[0], min(bounds[1], depth + 1) + 1))
    return layers


def parse_bytes(text: str) -> int:
    """The size of a shard, given as ``"4GiB"`` or ``"500MB"``.

    Raises
    ------
    UsageError
        If it cannot be read, or is too small for a shard.
    """
    match = _SIZE.fullmatch(text.strip())
    try:
        number, unit, binary = match.groups() if match else ("", "", "")
        size = float(number) * (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " ")
    except ValueError:
        raise UsageError(f"size {text!r}; give a number with a unit, as 4GiB or 500MB") from None
    if size < LEAST_SHARD:
        raise UsageError(f"size {text!r} is too small for a shard; give 1MB or more")
    return int(size)
