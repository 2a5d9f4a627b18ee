"""ViT-1D features of music: class tokens, sequence tokens and attention maps.

`extract` writes those of folders of music into a feature file, as ``vit1dx extract`` does; `open`
reads them. `Extractor` gives those of one array or file.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import errors
from ._version import __version__ as __version__

if TYPE_CHECKING:
    from .errors import *  # noqa: F403
    from .extractor import Extractor as Extractor
    from .run.extract import extract as extract
    from .store.reader import Features as Features
    from .store.reader import Track as Track
    from .store.shards import open_features as open  # noqa: F401

_HOMES = {
    "extract": ("run.extract", "extract"),
    "open": ("store.shards", "open_features"),
    "Extractor": ("extractor", "Extractor"),
    "Features": ("store.reader", "Features"),
    "Track": ("store.reader", "Track"),
    **{name: ("errors", name) for name in errors.__all__},
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """Import what is asked for only then, so that the command line starts at once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(f".{module}", __name__), attribute)


def __dir__() -> list[str]:
    return __all__
