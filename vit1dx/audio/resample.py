"""Blocks of samples at any rate, to mono at one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from .._types import Array


def mono_at_rate(blocks: Iterable[Array], rate_in: int, rate_out: int) -> Iterator[Array]:
    """Mix blocks down to mono, then resample them as one stream (soxr, HQ).

    Parameters
    ----------
    blocks : iterable of (n, channels) float32 arrays
        Whose channels may change from one to the next.
    rate_in, rate_out : int
        Hz.

    Yields
    ------
    (n,) float32 arrays
        The same samples, to float rounding, however the input was cut.
    """
    mono = (_mixed_down(block) for block in blocks)
    if rate_in == rate_out:
        yield from mono
        return
    stream = Resampler(rate_in, rate_out, 1)
    for block in mono:
        yield stream.add(block)
    yield stream.end()


class Resampler:
    """One stream of samples at one rate, to another (soxr, HQ)."""

    def __init__(self, rate_in: int, rate_out: int, channels: int) -> None:
        self._empty = np.zeros((0, channels) if channels > 1 else 0, np.float32)
        self._stream = soxr.ResampleStream(
            rate_in, rate_out, channels, dtype="float32", quality=soxr.HQ
        )

    def add(self, samples: Array) -> Array:
        """Take the next samples, and give what is ready."""
        return self._stream.resample_chunk(samples)

    def end(self) -> Array:
        """Give the rest."""
        return self._stream.resample_chunk(self._empty, last=True)


def _mixed_down(block: Array) -> Array:
    """The mean of the channels, as a product: NumPy's own mean over so short an axis is slow."""
    channels = block.shape[1]
    return block @ np.full(channels, 1 / channels, np.float32)
