"""What a feature file, an ONNX model or a weights file holds, as plain values."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from ..errors import StoreError
from ..model.guide import Advice, guide_for, guide_of
from ..model.weights import SUFFIXES, read_info
from ..remote import AnyPath, path_of, require_here
from ..store.folder import open_features
from ..store.format import count_codes
from ..store.place import feature_files
from ..store.reader import Features
from .config import write_config

#: What a feature file's `model_trained` says; anything else is unknown.
TRAINED = {1: True, 0: False}


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Describe a file, or a folder of shards, by its kind.

    Returns
    -------
    dict
        ``kind`` (``"features"``, ``"onnx"`` or ``"weights"``), ``path``, ``bytes``, and what a file
        of that kind says.

    Raises
    ------
    Vit1dxError
        If there is no such file, or it is none of these.
    """
    path = path_of(path)
    if not (path.is_file() or path.is_dir()):
        raise StoreError(f"no file at {path}")
    files = feature_files(path)
    kind, values = _weights(path) if path.suffix in SUFFIXES else _features(path)
    size = sum(file.stat().st_size for file in files)
    return {"kind": kind, "path": str(path), "bytes": size, **values}


def shown(values: dict[str, Any]) -> dict[str, Any]:
    """The same for people: the layer guide a line a task, or that there is none."""
    lines = {task: str(Advice(task, **row)) for task, row in values["guide"].items()}
    return {**values, "guide": lines or "none for these weights"}


def failures_of(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """The files that gave no track: ``id`` and ``reason`` of each, in the order of ids.

    Raises
    ------
    Vit1dxError
        If there are no features at this path.
    """
    with open_features(path) as features:
        return [{"id": key, "reason": text} for key, text in sorted(features.failures.items())]


def config_of(path: str | os.PathLike[str]) -> str:
    """The options that made features, as TOML.

    Raises
    ------
    Vit1dxError
        If there are no features at this path.
    """
    with open_features(path) as features:
        return write_config(features.attributes, features.config)


def _features(path: AnyPath) -> tuple[str, dict[str, Any]]:
    with open_features(path) as features:
        return "features", {
            **({"shards": len(feature_files(path))} if path.is_dir() else {}),
            **({"parts": dataclasses.asdict(features.parts)} if features.parts else {}),
            **{key: value for key, value in features.attributes.items() if key != "config"},
            "model_trained": TRAINED.get(features.attributes.get("model_trained", -1)),
            **_contents(features),
            "guide": _plain(guide_of(features.attributes)),
            "config": features.config,
        }


def _contents(features: Features) -> dict[str, Any]:
    rows = features.index().values()
    durations = [float(row["duration"]) for row in rows]
    return {
        "layers": list(features.layers),
        "tracks": len(durations),
        "audio_hours": sum(durations) / 3600,
        "failures": len(features.failures),
        "warnings": count_codes(row.get("warnings", "") for row in rows),
    }


def _weights(path: AnyPath) -> tuple[str, dict[str, Any]]:
    require_here(path, "weights")
    info = read_info(path)
    return "onnx" if path.suffix == ".onnx" else "weights", {
        "name": info.name,
        "trained": info.trained,
        "sha256": info.sha256,
        **({"exported_from": info.exported_from} if info.exported_from else {}),
        "precision": info.precision,
        "layers": list(info.layers),
        "attention": info.attention,
        "attention_layers": list(info.attention_layers),
        "guide": _plain(guide_for(info.sha256, info.exported_from)),
        "config": info.config.to_dict(),
    }


def _plain(guide: Mapping[str, Advice]) -> dict[str, dict[str, Any]]:
    """A guide as plain values, by task."""
    rows = {task: dataclasses.asdict(advice) for task, advice in guide.items()}
    return {task: {k: v for k, v in row.items() if k != "task"} for task, row in rows.items()}
