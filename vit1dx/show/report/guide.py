"""The layer guide: what was measured of each layer of the bundled weights (weights/probes.json)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from ...model.weights import bundled

_LAYER = re.compile(r"layer (\d+)(?:, (.*))?")
#: What a task's figure is, in the words of weights/README.md.
MEASURES = {
    "chords": "share of time, 25 classes",
    "local key": "share of time, 24 classes",
    "beats": "F, 70 ms",
    "downbeats": "F, 70 ms",
    "onsets": "F, 50 ms",
    "notes": "F of frames",
    "key": "accuracy",
    "instruments": "mean average precision",
    "style": "accuracy",
    "tempo": "accuracy of five classes",
}
BASELINES = ("untrained", "log-mel")


@cache
def _probes() -> dict[str, Any]:
    return dict(json.loads(bundled(".onnx").with_name("probes.json").read_text()))


def is_known(model_sha256: str) -> bool:
    """Whether these are the weights that the figures are of."""
    return str(_probes()["about"]["sha256"]) == model_sha256


def layer_guide() -> list[dict[str, Any]]:
    """A row a task: the layer that is best, by songs held back, and what it scores on test songs.

    Each has ``task``, ``measure``, ``unit`` (frame or track), ``layer``, ``pooling`` (of tasks
    of whole tracks), ``value`` and ``by_layer`` (0 to 1, of the layers of `layer`'s pooling, from
    1 on), and those of `BASELINES` by name.
    """
    return [*_rows(_probes()["local"], "frame"), *_rows(_probes()["whole"], "track")]


def _rows(systems: Mapping[str, Any], unit: str) -> Iterator[dict[str, Any]]:
    scores = {
        system: {name: found["frame"] if unit == "frame" else found for name, found in of.items()}
        for system, of in systems.items()
    }
    for task, measure in MEASURES.items():
        if not all(task in one["test"] for one in scores["ViT-1D"].values()):
            continue
        name = _best(scores["ViT-1D"], task)
        match = _LAYER.fullmatch(name)
        assert match
        pooling = match[2] or ""
        alike = {
            int(found[1]): one["test"][task]["value"]
            for key, one in scores["ViT-1D"].items()
            if (found := _LAYER.fullmatch(key)) and (found[2] or "") == pooling
        }
        yield {
            "task": task,
            "measure": measure,
            "unit": unit,
            "layer": int(match[1]),
            "pooling": pooling,
            "value": scores["ViT-1D"][name]["test"][task]["value"],
            "by_layer": [round(alike[layer], 4) for layer in sorted(alike)],
            **{
                system: scores[system][_best(scores[system], task)]["test"][task]["value"]
                for system in BASELINES
            },
        }


def _best(features: Mapping[str, Any], task: str) -> str:
    return max(features, key=lambda name: features[name]["held_out"][task]["value"])


def retrieval_layer() -> int:
    """The layer whose mean token most often finds the other half of a recording."""
    found = _probes()["recordings"]["ViT-1D"]["retrieval"]
    both = {name: value for name, value in found.items() if name.endswith(", both")}
    match = _LAYER.fullmatch(max(both, key=lambda name: both[name]))
    assert match
    return int(match[1])
