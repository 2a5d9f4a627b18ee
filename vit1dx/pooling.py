"""Tokens averaged over stretches of time, as they come."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from ._types import Array
from .errors import UsageError


def exact(seconds: float) -> Fraction:
    """A time as it is written in decimals, so that multiples of 0.1 s are just that."""
    return Fraction(repr(float(seconds)))


class Bins:
    """Mean tokens of bins of equal length.

    Bin k holds the frames whose centres lie from k to k + 1 times its length, and counts them all
    alike. The last one ends with the track.

    Parameters
    ----------
    seconds : float
        Length of a bin.
    frame_rate : Fraction
        Frames a second.
    origin : Fraction
        Where the first bin begins, s.

    Raises
    ------
    UsageError
        If a bin is shorter than a frame.
    """

    def __init__(
        self, seconds: float, frame_rate: Fraction, origin: Fraction = Fraction(0)
    ) -> None:
        self._length, self._rate, self._origin = exact(seconds), frame_rate, origin
        if self._length * frame_rate < 1:
            raise UsageError(
                f"pool {seconds} s; one frame, {float(1 / frame_rate)} s, is the least"
            )
        self._sum: Array = np.zeros((1, 1))  # over the bin that is not full yet
        self._count = 0
        self._bin = self._next = 0

    def add(self, tokens: Array, first: int) -> tuple[Array, Array]:
        """Take the next frames' tokens, and give the bins that are full.

        Parameters
        ----------
        tokens : (layer, frame, feature) array
        first : int
            The first frame's number, in the track.

        Returns
        -------
        (layer, bin, feature) array
        (bin,) float64 array
            Centres of the bins, s.
        """
        count = tokens.shape[1]
        self._next = first + count
        last = self._bin_of(self._next)  # which the next frame is in
        starts = [0, *(self._first_of(k) - first for k in range(self._bin + 1, last + 1))]
        counts = np.diff([*starts, count])
        # The last bin may have no frame yet.
        sums = np.add.reduceat(tokens, starts[: len(starts) - (starts[-1] == count)], axis=1)
        sums = sums.astype(np.float64)
        if sums.shape[1] < len(starts):
            sums = np.concatenate([sums, np.zeros_like(sums[:, :1])], axis=1)
        sums[:, 0] += self._sum
        counts[0] += self._count
        self._sum, self._count = sums[:, -1], int(counts[-1])
        times = [self._centre(number) for number in range(self._bin, last)]
        self._bin = last
        return _means(sums[:, :-1], counts[:-1]), np.array(times)

    def end(self) -> tuple[Array, Array]:
        """Give the bin that is not full, as `add` does: of no or of one bin."""
        if not self._count:
            return np.empty_like(self._sum[:, None][:, :0], np.float32), np.empty(0)
        mean = _means(self._sum[:, None], np.array([self._count]))
        return mean, np.array([self._centre(self._bin)])

    def _bin_of(self, frame: int) -> int:
        return math.floor((frame / self._rate - self._origin) / self._length)

    def _first_of(self, number: int) -> int:
        """The first frame of a bin."""
        return math.ceil((self._origin + number * self._length) * self._rate)

    def _centre(self, number: int) -> float:
        """The middle of what a bin holds: of all of it, unless the track ends in it."""
        start = number * self._length
        end = min(start + self._length, self._next / self._rate - self._origin)
        return float(self._origin + (start + end) / 2)


def _means(sums: Array, counts: Array) -> Array:
    return (sums / counts[:, None]).astype(np.float32)
