"""The layer guide says what was measured of the bundled weights."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.probes.guide import guide
from vit1dx.model.guide import guide_for
from vit1dx.model.weights import bundled

ROOT = Path(__file__).parents[2]


def test_it_is_what_was_measured() -> None:
    """Whoever measures other weights makes it again: ``python -m benchmarks.probes.guide``."""
    found = json.loads((ROOT / "weights" / "probes.json").read_text())
    assert guide(found) == json.loads(bundled(".guide.json").read_text())
    chords = guide_for(found["about"]["sha256"])["chords"]
    frame = found["local"]["ViT-1D"][f"layer {chords.layer}"]["frame"]
    assert abs(chords.score - frame["test"]["chords"]["value"]) < 1e-6
    others = found["local"]["ViT-1D"].values()
    assert frame["held_out"]["chords"] == max(
        (scores["frame"]["held_out"]["chords"] for scores in others), key=lambda s: s["value"]
    )
