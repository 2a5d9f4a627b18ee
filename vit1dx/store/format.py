"""What a feature file says of how it was made, and the empty file that says so."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .. import __version__
from .axes import add_scale
from ..model.backend import BackendInfo
from ..config import Config
from .journal import sync_folder
from .resolved import beside, resolved
from ..model.request import Request
from .index import FAILURES, INDEX, create_table
from ..model.weights import WeightsInfo

FORMAT = "vit1dx-features"
FORMAT_VERSION = 1
#: `model_trained` of weights that do not say.
UNKNOWN_TRAINING = -1
#: "v108" makes groups compact, and lets attributes outgrow 64 KiB.
VERSIONS = ("v108", "v108")


@dataclass(frozen=True)
class Header:
    """What a feature file says of how it was made.

    Attributes
    ----------
    weights : WeightsInfo
    config : Config
        The weights' own, with the overlap that was asked for.
    request : Request
    dtype : {"float32", "float16"}
        Of the tokens and the attention.
    backend : BackendInfo or None
        What really ran; to be known when a file is made.
    precision : str or None
        What the model computes in; None where it is the weights' own.
    shard : int or None
        Which shard of a folder the file is; None where it is alone.
    """

    weights: WeightsInfo
    config: Config
    request: Request
    dtype: str = "float32"
    backend: BackendInfo | None = None
    precision: str | None = None
    shard: int | None = None

    @property
    def computes_in(self) -> str:
        """The precision of the run."""
        return self.precision or self.weights.precision

    def attributes(self) -> dict[str, Any]:
        """Attributes of the file's root."""
        assert self.backend is not None, "whoever makes a file has asked what runs"
        trained = self.weights.trained
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "generator": f"vit1dx {__version__}",
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "model_name": self.weights.name,
            "model_sha256": self.weights.sha256,
            "model_trained": np.int8(UNKNOWN_TRAINING if trained is None else trained),
            "backend": self.backend.name,
            "backend_version": self.backend.version,
            "device": self.backend.device,
            "precision": self.computes_in,
            "config": json.dumps(config_dict(self.config, self.request, self.dtype)),
            "finished": np.int8(0),
            **({"model_exported_from": source} if (source := self.weights.exported_from) else {}),
            **({} if self.shard is None else {"shard": self.shard}),
        }


def config_dict(config: Config, request: Request, dtype: str) -> dict[str, Any]:
    """The root's attribute ``config``, before it is JSON."""
    return {**config.to_dict(), "request": {**vars(request), "dtype": dtype}}


def create(path: Path, attributes: Mapping[str, Any]) -> None:
    """Make an empty feature file, at once; `attributes` are its root's."""
    config = json.loads(attributes["config"])
    new = beside(path, ".new")
    try:
        with h5py.File(new, "w", libver=VERSIONS) as file:
            file.attrs.update(attributes)
            add_scale(file, "layer", np.array(config["request"]["layers"]))
            add_scale(file, "feature", np.arange(config["model"]["dim"]))
            add_scale(file, "head", np.arange(config["model"]["heads"]))
            file.create_group("tracks")
            create_table(file, "index", INDEX)
            create_table(file, "failures", FAILURES)
        move_into_place(new, path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def move_into_place(new: Path, path: Path) -> None:
    """Give a file that is whole its name, lastingly; a link to it stays one."""
    with new.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(new, resolved(path))
    sync_folder(new.parent)
