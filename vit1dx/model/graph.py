"""The outputs of an exported graph: their names, and which of them a request takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .._types import Array
from ..errors import WeightsError
from .request import Request
from .weights import WeightsInfo


def layer_name(layer: int) -> str:
    """Name of a layer's output in the graph."""
    return f"layer_{layer:02d}"


def attention_name(layer: int) -> str:
    """Name of an attention map's output in the graph."""
    return f"attention_{layer:02d}"


@dataclass(frozen=True)
class Outputs:
    """Names of the outputs that a request takes from a graph, by layer."""

    tokens: dict[int, str]
    maps: dict[int, str]

    @classmethod
    def of(cls, request: Request, info: WeightsInfo) -> Outputs:
        """Where only the class token's rows are asked of whole maps, an output of those.

        Raises
        ------
        WeightsError
            Unless the model was exported with all that is asked for.
        """
        require_outputs(info, request)
        cut = "_class" if request.attention == "class" and info.attention == "full" else ""
        return cls(
            {layer: layer_name(layer) for layer in request.layers},
            {layer: attention_name(layer) + cut for layer in request.attention_layers},
        )

    @property
    def names(self) -> list[str]:
        """All of them, tokens first."""
        return [*self.tokens.values(), *self.maps.values()]

    def by_layer(self, arrays: Sequence[Array]) -> tuple[dict[int, Array], dict[int, Array]]:
        """Arrays in the order of `names` as `Backend.run` gives them."""
        count = len(self.tokens)
        return (
            dict(zip(self.tokens, arrays[:count], strict=True)),
            dict(zip(self.maps, arrays[count:], strict=True)),
        )


def require_outputs(info: WeightsInfo, request: Request) -> None:
    """Raise `WeightsError` unless the model was exported with all that is asked for."""
    has_layers = set(request.layers) <= set(info.layers)
    has_maps = set(request.attention_layers) <= set(info.attention_layers)
    has_rows = request.attention != "full" or info.attention != "class"
    if not (has_layers and has_maps and has_rows):
        has = ", ".join(map(str, info.layers))
        asked = ", ".join(map(str, request.layers))
        raise WeightsError(
            f"{info.path} was exported with layers {has} and attention {info.attention}; "
            f"layers {asked} and attention {request.attention} were asked for"
        )
