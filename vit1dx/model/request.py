"""What a user can ask for: every choice by its name, and layers as a model has them."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from ..config import ModelConfig
from ..errors import UsageError
from ..tokens import attended

Attention: TypeAlias = Literal["none", "class", "full"]
TokenKind: TypeAlias = Literal["mean", "class", "sequence"]
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
    "tokens": get_args(TokenKind),
    "dtype": get_args(DType),
    "backend": get_args(BackendName),
    "device": get_args(Device),
    "precision": get_args(Precision),
}
#: All kinds of tokens, in the order in which they are written.
ALL_TOKENS = CHOICES["tokens"]
#: How kinds of tokens are spelled.
TOKENS = f"'all', or some of {', '.join(ALL_TOKENS)}"
#: How layers are spelled.
LAYERS = "'all', 'last', or numbers such as 4,8 or 1-12"


_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def require_device(device: str) -> None:
    """Raise `UsageError` unless a text names a device: one of those, or ``"cuda:1"``."""
    if not _DEVICE.fullmatch(device):
        raise UsageError(f"device {device!r}; choose from auto, cpu, cuda, or cuda:N by number")


def device_kind(device: str) -> str:
    """A device without its number."""
    return device.partition(":")[0]


def device_number(device: str) -> int:
    """The number of a graphics processor; that of the first if none was named."""
    return int(device.partition(":")[2] or 0)


def require_choice(option: str, value: str, choices: Iterable[str] = ()) -> None:
    """Raise `UsageError` unless a value is one of an option's, or of some of them."""
    names = list(choices) or CHOICES[option]
    if value not in names:
        raise UsageError(f"{option} {value!r}; choose from {', '.join(names)}")


@dataclass(frozen=True)
class Request:
    """What a run keeps: kinds of tokens, and of attention maps, of some layers.

    Attributes
    ----------
    layers : tuple of int
        Ascending; 0 is the embedding, which has no attention maps.
    attention : {"none", "class", "full"}
        Attention maps of the layers from 1 on: none, the class token's rows, or all rows.
    tokens : tuple of {"mean", "class", "sequence"}
        Kinds of tokens, in this order.
    pool : float or None
        Seconds that sequence tokens are averaged over; None keeps each.
    """

    layers: tuple[int, ...]
    attention: str = "none"
    tokens: tuple[str, ...] = ALL_TOKENS
    pool: float | None = None

    def __post_init__(self) -> None:
        require_choice("attention", self.attention)
        if self.pool is not None and not (0 < self.pool < math.inf):
            raise UsageError(f"pool {self.pool} s; a number above 0 is accepted")
        if self.pool is not None and "sequence" not in self.tokens:
            raise UsageError(
                f"pool {self.pool} s averages sequence tokens, and only {', '.join(self.tokens)} "
                "tokens are kept; add sequence to the tokens, or leave pool out"
            )
        if self.attention != "none" and not any(self.layers):
            raise UsageError(
                f"attention {self.attention} of layer 0 alone, which has no attention maps, being "
                "the embedding before the first block; add a layer, or ask for attention none"
            )

    @property
    def attention_layers(self) -> tuple[int, ...]:
        """The layers whose attention maps are kept."""
        return () if self.attention == "none" else attended(self.layers)

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays that grow with a track, of those that are kept."""
        kept = {
            "class_token": "class" in self.tokens,
            "sequence_tokens": "sequence" in self.tokens,
            "time": "sequence" in self.tokens,
            "window_start": "class" in self.tokens or self.attention != "none",
            "attention": self.attention != "none",
        }
        return tuple(name for name, is_kept in kept.items() if is_kept)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for a feature file: what is as in the first files is left out."""
        return {
            "layers": list(self.layers),
            "attention": self.attention,
            **({} if self.tokens == ALL_TOKENS else {"tokens": list(self.tokens)}),
            **({} if self.pool is None else {"pool": self.pool}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Request:
        """What `to_dict` gave, and other keys."""
        return cls(
            tuple(values["layers"]),
            values["attention"],
            tuple(values.get("tokens", ALL_TOKENS)),
            values.get("pool"),
        )


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


def usual_attention(
    layers: Iterable[int], mapped: Iterable[int], tokens: Iterable[str] = ALL_TOKENS
) -> Attention:
    """What is kept of attention where nothing is asked for.

    `USUAL_ATTENTION`; ``"none"`` where no sequence tokens are kept, which the rows go with, and
    where none of the layers is one of `mapped`, those whose maps a model gives.
    """
    has_maps = bool(set(attended(layers)) & set(mapped))
    return USUAL_ATTENTION if has_maps and "sequence" in tokens else "none"


def parse_tokens(spec: str | Iterable[str]) -> tuple[str, ...]:
    """Kinds of tokens asked for: ``"all"``, ``"mean,class"``, or several words.

    Returns
    -------
    tuple of str
        Each once, in the order in which they are written.

    Raises
    ------
    UsageError
        If there is none, or one is no kind of token.
    """
    words = spec.split(",") if isinstance(spec, str) else list(spec)
    words = [word.strip().lower() for word in words]
    if words == ["all"]:
        return ALL_TOKENS
    for word in words:
        if word not in ALL_TOKENS:
            raise UsageError(f"tokens {word!r}; give {TOKENS}")
    if not words:
        raise UsageError(f"no tokens asked for; give {TOKENS}")
    return tuple(kind for kind in ALL_TOKENS if kind in words)


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
