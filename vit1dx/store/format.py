"""The feature file's format: names, axes, versions, and how text is stored."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import h5py
import numpy as np

from .._types import Array
from .._version import __version__
from ..config import Config
from ..errors import AudioWarning
from ..model.backend import BackendInfo
from ..model.request import Request
from ..model.weights import WeightsInfo
from . import objects

#: Axes of a track's arrays; each has a dimension scale of this name in the track's group or above.
AXES = {
    "class_token": ("layer", "window", "feature"),
    "sequence_tokens": ("layer", "time", "feature"),
    "mean_token": ("layer", "feature"),
    "time": ("time",),
    "window_start": ("window",),
}
ATTENTION_AXES = {
    "class": ("window", "head", "key"),
    "full": ("window", "head", "query", "key"),
}
#: First axes of arrays of all layers, and of attention where 0, which has none, is among them.
LAYER_AXES = ("layer", "attention_layer")
SHARED_SCALES = ("feature", "head")
GROWING = ("window", "time")


def axes_of(request: Request) -> dict[str, tuple[str, ...]]:
    """The arrays that each track has, with their axes."""
    names = [*request.arrays, *(["mean_token"] if "mean" in request.tokens else [])]
    first = LAYER_AXES[0 in request.layers]
    axes = {**AXES, "attention": (first, *ATTENTION_AXES.get(request.attention, ()))}
    return {name: axes[name] for name in names}


def scale_of(data: h5py.Dataset, name: str) -> h5py.Dataset:
    """Make a data set a dimension scale."""
    data.make_scale(name)
    return data


def add_scale(group: h5py.Group, name: str, values: Array) -> h5py.Dataset:
    """Write a dimension scale."""
    return scale_of(group.create_dataset(name, data=values), name)


def attach(data: h5py.Dataset, scales: Sequence[h5py.Dataset]) -> None:
    """Name the axes of `data`; see `vit1dx.store.objects.attach`."""
    objects.attach(data.id, [scale.ref for scale in scales])


def storable(text: str) -> str:
    """Text that HDF5 takes, on one line: without NUL or what is not UTF-8."""
    line = " ".join(text.replace("\0", " ").split())
    return line.encode("utf-8", "backslashreplace").decode()


def warning_texts(warnings: Iterable[AudioWarning]) -> list[str]:
    """Warnings as a track's attribute ``warnings`` has them."""
    return [storable(f"{warning.code}: {warning.text}") for warning in warnings]


def parse_warnings(texts: Iterable[str]) -> list[AudioWarning]:
    """Warnings from a track's attribute."""
    parts = (text.partition(": ") for text in texts)
    return [AudioWarning(code, text) for code, _, text in parts]


def warning_codes(texts: Iterable[str]) -> str:
    """The codes of a track's warnings as ``/index`` has them: ``"dc,clipping"``."""
    return ",".join(warning.code for warning in parse_warnings(texts))


def count_codes(codes: Iterable[str]) -> dict[str, int]:
    """How often each code occurs in what `warning_codes` gave, in order of the alphabet."""
    counts = Counter(code for text in codes for code in text.split(",") if code)
    return dict(sorted(counts.items()))


FORMAT = "vit1dx-features"
FORMAT_VERSION = 1
#: `model_trained` where it is not known.
UNKNOWN_TRAINING = -1
#: "v108" makes groups compact, and lets attributes outgrow 64 KiB.
VERSIONS = ("v108", "v108")


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """What two roots of feature files differ in: key, and the value of each."""
    ours, theirs = (dict(_flat("", json.loads(json.dumps(values)))) for values in (one, other))
    keys = sorted({*ours, *theirs})
    return [
        (key, ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key)
    ]


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if key == "config" and isinstance(value, str):
            value = json.loads(value)
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{key}.", value)
        else:
            yield prefix + key, value


class Heading(Protocol):
    """Says how a feature file that is to be made was made."""

    def attributes(self) -> Mapping[str, Any]:
        """Attributes of the root of a file, but for the number of a shard."""


@dataclass(frozen=True)
class Header:
    """How a feature file was made.

    Attributes
    ----------
    weights : WeightsInfo
    config : Config
        The weights' own, with the overlap that was asked for.
    request : Request
    dtype : {"float32", "float16"}
        Of the tokens and the attention.
    backend : BackendInfo or None
        What really runs; must be known when a file is made.
    precision : str or None
        What the model computes in; None where it is the weights' own.
    shares : str
        What tells how the collection was shared out to parts from other ways; empty where it is
        not.
    """

    weights: WeightsInfo
    config: Config
    request: Request
    dtype: str = "float32"
    backend: BackendInfo | None = None
    precision: str | None = None
    shares: str = ""

    @property
    def computes_in(self) -> str:
        """The precision of the run."""
        return self.precision or self.weights.precision

    def attributes(self) -> dict[str, Any]:
        """Attributes of the root of a file, but for the number of a shard."""
        assert self.backend is not None, "a file is made once the backend is known"
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
            **({"shares": self.shares} if self.shares else {}),
        }


def config_dict(config: Config, request: Request, dtype: str) -> dict[str, Any]:
    """The root's attribute ``config``, before it is JSON."""
    return {**config.to_dict(), "request": {**request.to_dict(), "dtype": dtype}}
