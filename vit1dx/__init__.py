"""ViT-1D features of music: class tokens, sequence tokens and attention maps.

`Extractor` gives those of an array or a file; `open` reads what ``vit1dx extract`` wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Extractor", "TrackTokens", "Vit1dxError", "__version__", "open"]

if TYPE_CHECKING:
    from .errors import Vit1dxError
    from .extractor import Extractor
    from .store.shards import open_features as open
    from .tokens import TrackTokens

_HOMES = {
    "Extractor": ("extractor", "Extractor"),
    "TrackTokens": ("tokens", "TrackTokens"),
    "Vit1dxError": ("errors", "Vit1dxError"),
    "open": ("store.shards", "open_features"),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then, so that the command line starts at once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _HOMES[name]
    return getattr(import_module(f".{module}", __name__), attribute)
