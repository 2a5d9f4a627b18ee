"""Modules with exact rows: a module made by hand has its onsets where its notes stand."""

from __future__ import annotations

import ctypes.util
import struct

import numpy as np
import pytest

from benchmarks.modules import RATE, delays_note, render, starts_note

#: A row at ProTracker's first speed and tempo: 6 ticks of 2.5 / 125 s.
ROW = 6 * 2.5 / 125


def protracker(notes: dict[int, tuple[int, int]], channel: int = 1) -> bytes:
    """A module of one pattern: by row, a note's period and its effect (12 bits)."""
    wave = bytes([64, 64, 192, 192] * 16)
    empty = struct.pack(">22sHBBHH", b"", 0, 0, 0, 0, 1)
    sample = struct.pack(">22sHBBHH", b"square", len(wave) // 2, 0, 64, 0, len(wave) // 2)
    cells = bytearray(64 * 4 * 4)
    for row, (period, effect) in notes.items():
        number = 1 if period else 0
        cell = struct.pack(">HH", period, number << 12 | effect)
        cells[16 * row + 4 * channel : 16 * row + 4 * channel + 4] = cell
    orders = bytes([1, 127, *[0] * 128])
    return b"".join((b"test".ljust(20, b"\0"), sample, empty * 30, orders, b"M.K.", cells, wave))


@pytest.mark.skipif(ctypes.util.find_library("openmpt") is None, reason="no libopenmpt")
def test_onsets_are_where_notes_stand() -> None:
    notes = {0: (428, 0), 4: (381, 0), 6: (381, 0xC20), 9: (339, 0x305), 11: (0, 0xA0F)}
    found = render(protracker(notes), by_letter=False)
    assert found is not None
    samples, onsets = found
    # Row 9 is glided to, and row 11 has a volume slide alone.
    np.testing.assert_allclose(onsets, [0, 4 * ROW, 6 * ROW], atol=1e-3)
    assert len(samples) == pytest.approx(64 * ROW * RATE, rel=0.01)
    assert np.abs(samples[round(4 * ROW * RATE) :][:2000]).max() > 0.01
    assert render(protracker({0: (428, 0xED3)}), by_letter=False) is None


def test_cells() -> None:
    assert starts_note(60, "", False)
    assert not starts_note(0, "A", True)
    assert not starts_note(254, "", True)
    assert not starts_note(60, "G", True)
    assert starts_note(60, "G", False)
    assert delays_note("S", 0xD2, True)
    assert not delays_note("S", 0xC2, True)
