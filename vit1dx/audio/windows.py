"""Frames cut into windows for the model, and the tokens of windows put back on one time grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .._types import Array
from ..config import WindowConfig


@dataclass(frozen=True)
class Windows:
    """Some windows of one track, in order.

    Attributes
    ----------
    mel : (window, time, n_mels) float32 array
    start : (window,) int array
        Frame of the track at which each window begins.
    keep : (window, 2) int array
        First and end frame, counted in the track, of the tokens that are kept of each window.
    """

    mel: Array
    start: Array
    keep: Array

    def kept(self, tokens: Array) -> list[Array]:
        """Of (window, time, feature) tokens those to keep: (kept, feature) of each window."""
        cuts = (self.keep - self.start[:, None]).tolist()
        return [one[first:end] for one, (first, end) in zip(tokens, cuts, strict=True)]


def cut(frames: Iterable[Array], config: WindowConfig, batch: int) -> Iterator[Windows]:
    """Cut a stream of frames into windows, `batch` of them at a time.

    Windows are `config.frames` long and `config.step` apart; none is padded. The last one is moved
    back to end with the track, and a shorter track is one shorter window. Each frame's token is
    kept once, from a window in which it has `config.overlap` frames of context, unless at an end.

    Parameters
    ----------
    frames : iterable of (n, n_mels) float32 arrays
        At least one frame in all.
    config : WindowConfig
    batch : int
        Most windows at once.
    """
    waiting: list[tuple[Array, int, int, int]] = []
    for window in _windows(frames, config):
        waiting.append(window)
        if len(waiting) == batch:
            yield _stack(waiting)
            waiting = []
    if waiting:
        yield _stack(waiting)


def _windows(
    frames: Iterable[Array], config: WindowConfig
) -> Iterator[tuple[Array, int, int, int]]:
    """Windows one by one: frames, start, first frame kept, end of the frames kept."""
    length = config.frames
    held: Array | None = None
    base = start = kept = 0  # the frame that `held` begins at; the next window's; the first unkept
    for block in frames:
        held = block if held is None else np.concatenate([held, block])
        # The last window is another matter, so a frame must follow for a window not to be the last.
        while base + len(held) > start + length:
            end = start + length - config.overlap
            yield held[start - base : start - base + length], start, kept, end
            start, kept = start + config.step, end
            # One window's frames stay, for the last one to reach back to.
            drop = max(0, start - config.step - base)
            held, base = held[drop:], base + drop
    assert held is not None, "a track has at least one frame"
    total = base + len(held)
    first = max(0, total - length)
    yield held[first - base :], first, kept, total


def _stack(windows: Sequence[tuple[Array, int, int, int]]) -> Windows:
    mel, start, kept, end = zip(*windows, strict=True)
    return Windows(np.stack(mel), np.array(start), np.stack([kept, end], axis=1))
