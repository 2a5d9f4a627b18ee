"""The layer guide says what was measured of the bundled weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.probes.guide import guide
from vit1dx.model.guide import SIMILARITY, Advice, guide_for
from vit1dx.model.weights import BUNDLED, bundled

ROOT = Path(__file__).parents[2]


def _line(name: str, held_out: float, score: float) -> dict[str, Any]:
    layer = int(name.split(",")[0].split()[1]) if name.startswith("layer") else None
    tokens = name.partition(", ")[2]
    scores = {"F": {"mean": score, "deviation": None}, "other": {"mean": 0.0, "deviation": None}}
    return {"name": name, "layer": layer, "tokens": tokens, "scores": scores, "held_out": held_out}


def _report(*lines: dict[str, Any]) -> dict[str, Any]:
    return {"ViT-1D": {"measures": ["F", "other"], "lines": [*lines, _line("log-mel", 1, 0.3)]}}


def _curve(name: str, held_out: float) -> dict[str, Any]:
    return {"curve": name, "least": 0.2, "lag": 1.0, "held_out": held_out, "test": 0.5}


def test_layers_are_chosen_on_songs_held_out_and_speak_of_tokens_that_files_have() -> None:
    chords = _report(_line("layer 1, sequence", 0.6, 0.55), _line("layer 2, sequence", 0.5, 0.9))
    key = _report(
        _line("layer 1, class", 0.4, 0.4),
        _line("layer 2, mean", 0.5, 0.5),
        _line("layer 2, class+mean", 0.9, 0.9),
    )
    retrieval = {
        "ViT-1D": {"layer 1, class": 0.9, "layer 1, mean": 0.5, "layer 2, mean": 0.6},
        "log-mel": {"log-mel": 0.4},
    }
    onsets = {
        "ViT-1D": {
            "layer 1": _curve("layer 1, head 0, log change", 0.6),
            "layer 1, class token's row": _curve("-layer 1, head 2, class", 0.54),
            "layer 2": _curve("layer 2, head 1, received", 0.7),
            "layer 2, class token's row": _curve("layer 2, head 0, class", 0.5),
        },
        "chance": {"as many onsets anywhere": _curve("as many onsets anywhere", 0.53)},
    }
    found = {
        "about": {"sha256": "abc"},
        "onsets": onsets,
        "local": {"chords": chords},
        "whole": {"key": key},
        "recordings": {"retrieval": retrieval},
        "halves": {},
    }
    made = guide(found)
    assert made["sha256"] == "abc"
    assert made["onset_curves"] == [
        {"layer": 2, "head": 1, "reading": "received", "falls": False, "least": 0.2, "lag": 1.0},
        {"layer": 1, "head": 0, "reading": "log change", "falls": False, "least": 0.2, "lag": 1.0},
        {"layer": 1, "head": 2, "reading": "class", "falls": True, "least": 0.2, "lag": 1.0},
    ]
    advice = {row["task"]: Advice(**row) for row in made["tasks"]}
    picked = {task: (a.layer, a.tokens, a.score, a.log_mel) for task, a in advice.items()}
    assert picked == {
        "chords": (1, "sequence", 0.55, 0.3),
        "key": (2, "mean", 0.5, 0.3),
        SIMILARITY: (2, "mean", 0.6, 0.4),
    }
    assert [row["task"] for row in guide({**found, "recordings": {}})["tasks"]] == ["chords", "key"]
    halves = {"ViT-1D": {"layer 1, mean": 0.8, "layer 2, mean": 0.7}, "log-mel": {"log-mel": 0.9}}
    (*_, last) = guide({**found, "halves": halves})["tasks"]
    assert (last["task"], last["layer"], last["log_mel"]) == (SIMILARITY, 1, 0.9)


@pytest.mark.parametrize("name", BUNDLED)
def test_it_is_what_was_measured(name: str) -> None:
    """Whoever measures other weights makes it again: ``python -m benchmarks.probes.guide``."""
    found = json.loads((ROOT / "weights" / f"{name}.probes.json").read_text())
    assert guide(found) == json.loads(bundled(".guide.json", name).read_text())
    assert guide_for(found["about"]["sha256"])
