"""Modules made by hand."""

from __future__ import annotations

import ctypes.util
import struct

import pytest

#: A row at ProTracker's first speed and tempo: 6 ticks of 2.5 / 125 s.
ROW = 6 * 2.5 / 125

needs_openmpt = pytest.mark.skipif(
    ctypes.util.find_library("openmpt") is None, reason="no libopenmpt"
)

Cells = dict[int, tuple[int, int]]  # by row, a note's period and its effect (12 bits)


def protracker(*channels: Cells, patterns: int = 1) -> bytes:
    """A module of one pattern, played so many times; each channel has an instrument of its own."""
    wave = bytes([64, 64, 192, 192] * 16)
    empty = struct.pack(">22sHBBHH", b"", 0, 0, 0, 0, 1)
    sample = struct.pack(">22sHBBHH", b"square", len(wave) // 2, 0, 64, 0, len(wave) // 2)
    cells = bytearray(64 * 4 * 4)
    for channel, notes in enumerate(channels):
        for row, (period, effect) in notes.items():
            number = channel + 1 if period else 0
            at = 16 * row + 4 * channel
            cells[at : at + 4] = struct.pack(">HH", period, number << 12 | effect)
    orders = bytes([patterns, 127, *[0] * 128])
    head = b"test".ljust(20, b"\0"), sample * len(channels), empty * (31 - len(channels))
    return b"".join((*head, orders, b"M.K.", cells, wave * len(channels)))
