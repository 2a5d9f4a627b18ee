"""Tracker modules: which channels are percussion, and what their halves add up to."""

from __future__ import annotations

import numpy as np
import pytest

from weights.recipe import DEFAULT_DATA
from weights.recipe.corpus.modules import TABLE, TESTED_BY, halves, parts_of, render, wanted
from weights.recipe.corpus.openmpt import Cell, delays_note, starts_note
from weights.recipe.tests.trackers import needs_openmpt, protracker

PERIODS = (428, 381, 339, 320, 285, 254, 226)


def _module(patterns: int = 4) -> bytes:
    """A drum on every fourth row, and two tunes; the fourth channel is empty."""
    drums = dict.fromkeys(range(0, 64, 4), (428, 0))
    tunes = [
        {row: (PERIODS[(row + shift) % 7], 0) for row in range(shift, 64, 8)} for shift in (1, 2)
    ]
    return protracker(drums, *tunes, patterns=patterns)


@needs_openmpt
def test_what_repeats_one_pitch_is_percussion() -> None:
    assert parts_of(_module(), by_letter=False) == ([0], [1, 2])


@needs_openmpt
def test_halves_share_the_percussion_and_add_up() -> None:
    content = _module()
    whole = render(content, [0, 1, 2])
    drums, first, second = (render(content, [channel]) for channel in (0, 1, 2))
    assert min(np.abs(part).max() for part in (drums, first, second)) > 0.01
    np.testing.assert_allclose(drums + first + second, whole, atol=2e-3)
    found = halves(content, by_letter=False, seed=0)
    np.testing.assert_allclose(found[0] + found[1], whole + drums, atol=2e-3)
    for one, other in zip(found, halves(content, by_letter=False, seed=0), strict=True):
        np.testing.assert_array_equal(one, other)


@needs_openmpt
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (_module(patterns=1), "7.7 s; 20 are needed"),
        (protracker({0: (428, 0), 4: (381, 0)}), "1 channels that are not percussion"),
        (b"no module", "no module that libopenmpt can read"),
    ],
)
def test_what_cannot_be_halved_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        halves(content, by_letter=False, seed=0)


def test_modules_to_test_by_are_not_trained_on() -> None:
    if not (DEFAULT_DATA / "real" / TABLE).exists():
        pytest.skip("needs the table of modules")
    rows = wanted(DEFAULT_DATA / "real")
    assert len(rows) > 20
    assert not rows.keys() & set(TESTED_BY)


def test_cells() -> None:
    def cell(note: int, effect: str, parameter: int = 0) -> Cell:
        return Cell(note, 1, effect, parameter)

    assert starts_note(cell(60, ""), False)
    assert not starts_note(cell(0, "A"), True)
    assert not starts_note(cell(254, ""), True)
    assert not starts_note(cell(60, "G"), True)
    assert starts_note(cell(60, "G"), False)
    assert delays_note(cell(60, "S", 0xD2), True)
    assert not delays_note(cell(60, "S", 0xC2), True)
