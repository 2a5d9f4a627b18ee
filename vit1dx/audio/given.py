"""Samples given as an array: what is accepted of them."""

from __future__ import annotations

import numpy as np

from .._types import Array
from ..errors import AudioError, UsageError
from .decode import MAX_AMPLITUDE
from .files import MAX_RATE, MIN_RATE


def checked(audio: Array, sample_rate: int | None) -> tuple[Array, int]:
    """Samples as (n, channels) float32, and their rate in Hz.

    Raises
    ------
    UsageError
        If they are no samples: by shape, by type, or without a rate.
    AudioError
        If they are not finite, or far out of scale.
    """
    if sample_rate is None:
        raise UsageError("an array needs its sample_rate, in Hz")
    if not MIN_RATE <= sample_rate <= MAX_RATE:
        raise UsageError(f"sample_rate {sample_rate} Hz; {MIN_RATE} to {MAX_RATE} is accepted")
    samples = np.asarray(audio)
    if not np.issubdtype(samples.dtype, np.floating):
        raise UsageError(f"samples of {samples.dtype}; floating-point ones, -1 to 1, are needed")
    if samples.ndim not in (1, 2) or not samples.size:
        raise UsageError(f"samples of shape {samples.shape}; (n,) or (n, channels) is needed")
    if samples.ndim == 2 and samples.shape[1] > samples.shape[0]:
        raise UsageError(f"samples of shape {samples.shape}; (n, channels) is needed: transpose it")
    if not (most := np.abs(samples).max()) <= MAX_AMPLITUDE:  # so that NaN fails too
        raise AudioError(
            f"samples up to {most}; finite ones up to {MAX_AMPLITUDE:g} are accepted, and -1 to 1 "
            "is full scale"
        )
    return samples.reshape(len(samples), -1).astype(np.float32, copy=False), sample_rate
