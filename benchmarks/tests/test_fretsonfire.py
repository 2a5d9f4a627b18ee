"""Beats of charts, and of excerpts."""

from __future__ import annotations

from pathlib import Path

import mido
import numpy as np
import pytest

from benchmarks.fretsonfire import SECONDS, beats_of, excerpt


def chart(path: Path, *tempi: tuple[int, int]) -> Path:
    """A chart of tempi, each after so many ticks, in microseconds a beat."""
    midi = mido.MidiFile(ticks_per_beat=96)
    changes = [mido.MetaMessage("set_tempo", tempo=tempo, time=time) for time, tempo in tempi]
    midi.tracks.append(mido.MidiTrack(changes))
    midi.save(path)
    return path


def test_beats_are_the_chart_s_quarter_notes(tmp_path: Path) -> None:
    constant = beats_of(chart(tmp_path / "a.mid", (0, 400_000)), 2.1)
    assert constant.tolist() == pytest.approx([0.0, 0.4, 0.8, 1.2, 1.6, 2.0])
    slowing = beats_of(chart(tmp_path / "b.mid", (0, 400_000), (192, 500_000)), 2.0)
    assert slowing.tolist() == pytest.approx([0.0, 0.4, 0.8, 1.3, 1.8])


@pytest.mark.parametrize("seconds", [20.0, 90.0])
def test_beats_of_an_excerpt_are_at_the_same_samples(seconds: float) -> None:
    rate, beats = 1000, np.arange(0.5, seconds, 0.5)
    samples = np.zeros((round(seconds * rate), 2))
    samples[np.rint(beats * rate).astype(int)] = 1.0
    music, there = excerpt(samples, rate, beats)
    assert len(music) == min(seconds, SECONDS) * rate
    np.testing.assert_array_equal(np.flatnonzero(music[:, 0]), np.rint(there * rate).astype(int))
