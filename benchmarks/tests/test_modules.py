"""Modules with exact rows: a module made by hand has its onsets where its notes stand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.modules import render
from weights.recipe.corpus.openmpt import RATE
from weights.recipe.tests.trackers import ROW, needs_openmpt, protracker


@needs_openmpt
def test_onsets_are_where_notes_stand() -> None:
    notes = {0: (428, 0), 4: (381, 0), 6: (381, 0xC20), 9: (339, 0x305), 11: (0, 0xA0F)}
    found = render(protracker({}, notes), by_letter=False)
    assert found is not None
    samples, onsets = found
    # Row 9 is glided to, and row 11 has a volume slide alone.
    np.testing.assert_allclose(onsets, [0, 4 * ROW, 6 * ROW], atol=1e-3)
    assert len(samples) == pytest.approx(64 * ROW * RATE, rel=0.01)
    assert np.abs(samples[round(4 * ROW * RATE) :][:2000]).max() > 0.01
    assert render(protracker({}, {0: (428, 0xED3)}), by_letter=False) is None
