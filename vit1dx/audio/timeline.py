"""Frames on one time axis: gaps in their timestamps become silence, and overlaps are left out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .._types import Array
from ..errors import AudioWarning

#: Timestamps may be so far off, s, as containers round them and recorders jitter; so in FFmpeg.
TOLERANCE = 0.1
#: The same where something is known to be missing.
TOLERANCE_AFTER_DAMAGE = 0.002
#: What goes back further than this, s, begins anew: a stream behind another.
MAX_OVERLAP = 1.0
#: Seconds of silence that are put into one file at most, on the word of its timestamps.
MAX_SILENCE = 3600.0
#: Silence is given in blocks of so many frames.
SILENCE_BLOCK = 1 << 16


class Timeline:
    """Where the frames of a stream belong.

    Parameters
    ----------
    end : float or None
        Seconds, by the stream's clock, behind which nothing is believed to lie.
    """

    def __init__(self, end: float | None) -> None:
        self._latest = end
        self._expected: float | None = None
        self._gaps: list[tuple[float, float]] = []
        self._overlaps: list[tuple[float, float]] = []

    def place(
        self, samples: Array, rate: int, time: float | None, at: float, damaged: bool
    ) -> Iterator[Array]:
        """Give a frame's samples, after silence or without their beginning.

        Parameters
        ----------
        samples : (n, channels) array
        rate : int
            Hz.
        time : float or None
            Of the first sample by the stream's clock, s, if it is known.
        at : float
            Seconds given so far.
        damaged : bool
            Whether something before it was lost.
        """
        expected = time if self._expected is None else self._expected
        if time is not None and expected is not None:
            gap = time - expected
            if gap > (TOLERANCE_AFTER_DAMAGE if damaged else TOLERANCE):
                yield from self._filled(gap, samples, rate, at, time)
                expected = time
            elif gap < -MAX_OVERLAP:
                expected = time
            elif gap < -TOLERANCE:
                dropped = min(len(samples), round(-gap * rate))
                self._overlaps.append((at, dropped / rate))
                samples, expected = samples[dropped:], time + dropped / rate
        if expected is not None:
            self._expected = expected + len(samples) / rate
        if len(samples):
            yield samples

    def _filled(
        self, gap: float, like: Array, rate: int, at: float, time: float
    ) -> Iterator[Array]:
        """Silence for a gap that can be believed."""
        silent = sum(seconds for _, seconds in self._gaps)
        if silent + gap > MAX_SILENCE or (self._latest is not None and time > self._latest):
            return
        self._gaps.append((at, gap))
        left = round(gap * rate)
        while left > 0:
            yield np.zeros((min(left, SILENCE_BLOCK), like.shape[1]), np.float32)
            left -= SILENCE_BLOCK

    def warnings(self) -> list[AudioWarning]:
        """What was filled, and what was left out."""
        found = []
        for code, places, what in (
            ("gap", self._gaps, "without audio, filled with silence"),
            ("overlap", self._overlaps, "of audio at times already filled, left out"),
        ):
            if places:
                seconds = sum(seconds for _, seconds in places)
                text = f"{seconds:.3f} s {what}; {len(places)} in all, the first at "
                found.append(AudioWarning(code, f"{text}{places[0][0]:.3f} s"))
        return found
