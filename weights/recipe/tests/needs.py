"""What a test of the recipe needs, beside the checkout or installed."""

from __future__ import annotations

import shutil

import pytest

from weights.recipe import DEFAULT_DATA
from weights.recipe.corpus.fluidsynth import SOUNDFONTS

SMALL = "TimGM6mb"

needs_data = pytest.mark.skipif(
    not (DEFAULT_DATA / "pop909.tar.xz").exists(), reason=f"no POP909 in {DEFAULT_DATA}"
)
needs_synth = pytest.mark.skipif(
    shutil.which("fluidsynth") is None or not SOUNDFONTS[SMALL].exists(),
    reason=f"needs fluidsynth and {SOUNDFONTS[SMALL]}",
)
