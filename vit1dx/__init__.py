"""ViT-1D features of music: class tokens, sequence tokens and attention maps.

`extract` writes those of folders of music into a feature file, as ``vit1dx extract`` does; `open`
reads them. `Extractor` gives those of one array or file.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import errors
from ._version import __version__

if TYPE_CHECKING:
    from .errors import (
        AudioError,
        BackendError,
        ClusterError,
        ClusterLostError,
        ForeignFileError,
        LockedError,
        NoFilesError,
        SpaceError,
        StoreError,
        TokensError,
        TrackError,
        TrainingError,
        UsageError,
        Vit1dxError,
        WeightsError,
        WriteError,
    )
    from .extractor import Extractor
    from .run.extract import extract
    from .store.folder import open_features as open
    from .store.reader import Features
    from .tokens import Track

__all__ = [
    "AudioError",
    "BackendError",
    "ClusterError",
    "ClusterLostError",
    "Extractor",
    "Features",
    "ForeignFileError",
    "LockedError",
    "NoFilesError",
    "SpaceError",
    "StoreError",
    "TokensError",
    "Track",
    "TrackError",
    "TrainingError",
    "UsageError",
    "Vit1dxError",
    "WeightsError",
    "WriteError",
    "__version__",
    "extract",
    "open",
]

_HOMES = {
    "Extractor": ("extractor", "Extractor"),
    "Features": ("store.reader", "Features"),
    "Track": ("tokens", "Track"),
    "extract": ("run.extract", "extract"),
    "open": ("store.folder", "open_features"),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then, so that the command line starts at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in _HOMES:
        return getattr(errors, name)
    module, attribute = _HOMES[name]
    return getattr(import_module(f".{module}", __name__), attribute)


def __dir__() -> list[str]:
    return __all__
