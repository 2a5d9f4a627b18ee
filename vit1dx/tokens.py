"""What the model says of a track: named arrays, as they are written and as the API returns them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ._types import Array
from .errors import AudioWarning, TokensError


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Tokens and attention of some consecutive windows of a track.

    Attributes
    ----------
    layers : tuple of int
        The layers kept, the first axis of every array; 0 is the embedding, k the raw residual
        stream after block k.
    class_token : (layer, window, feature) float32 array
    sequence_tokens : (layer, time, feature) float32 array
        One token a mel frame.
    time : (time,) float64 array
        Centre of each token's frame, s.
    window_start : (window,) float64 array
        Centre of each window's first frame, s.
    attention : float32 array or None
        (layer, window, head, query, key), or (layer, window, head, key) for the class token's row
        alone. Query and key 0 are the class token, 1 + i frame i of the window. Rows sum to 1.
    """

    layers: tuple[int, ...]
    class_token: Array
    sequence_tokens: Array
    time: Array
    window_start: Array
    attention: Array | None = None


@dataclass(frozen=True, kw_only=True)
class TrackTokens(Tokens):
    """Tokens and attention of a whole track.

    Attributes
    ----------
    mean_token : (layer, feature) float32 array
        Mean over class and sequence tokens, for tasks that ask about a track as a whole.
    duration : float
        Length of what was decoded, s.
    warnings : tuple of AudioWarning
        What looked wrong with the audio.
    """

    mean_token: Array
    duration: float
    warnings: tuple[AudioWarning, ...] = ()


class MeanToken:
    """Running mean over class and sequence tokens."""

    def __init__(self) -> None:
        self._sum: Array | float = 0.0
        self._count = 0

    def add(self, tokens: Tokens) -> None:
        """Take in some windows' tokens.

        Raises
        ------
        TokensError
            If they are not finite.
        """
        for part in (tokens.class_token, tokens.sequence_tokens):
            total = part.sum(axis=1)
            # A sum tells of every number in it, and tokens of the attention rows that weight them.
            if not np.isfinite(total).all():
                raise TokensError("the model gives tokens that are not finite")
            self._sum = self._sum + total.astype(np.float64)  # quicker, of so few
            self._count += part.shape[1]

    @property
    def value(self) -> Array:
        """The mean so far, (layer, feature) float32."""
        return np.asarray(self._sum / self._count, dtype=np.float32)


def join(batches: Iterable[Tokens], duration: float) -> TrackTokens:
    """Put a whole track's batches together."""
    parts, mean = [], MeanToken()
    for tokens in batches:
        parts.append(tokens)
        mean.add(tokens)
    maps = [part.attention for part in parts if part.attention is not None]
    return TrackTokens(
        layers=parts[0].layers,
        class_token=np.concatenate([part.class_token for part in parts], axis=1),
        sequence_tokens=np.concatenate([part.sequence_tokens for part in parts], axis=1),
        time=np.concatenate([part.time for part in parts]),
        window_start=np.concatenate([part.window_start for part in parts]),
        attention=np.concatenate(maps, axis=1) if maps else None,
        mean_token=mean.value,
        duration=duration,
    )
