"""A track as the analysis needs it, read in pieces so that its length does not matter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .._types import Array
from ..errors import UsageError
from ..tokens import Track

#: Frames, and windows, read at once: some megabytes of one layer.
FRAMES_AT_ONCE, WINDOWS_AT_ONCE = 8192, 32


def require_range(
    start: float | None, stop: float | None, duration: float, begin: float = 0.0
) -> None:
    """Raise `UsageError` unless some of a track, from `begin` on, is between `start` and `stop`."""
    first = begin if start is None else start
    if first < 0 or (stop is not None and stop <= first):
        raise UsageError(
            f"from {first:g} to {duration if stop is None else stop:g} s; the start must be 0 or "
            "more and come before the end"
        )
    if first >= begin + duration:
        where = f", from {begin:g} s of its file on" if begin else ""
        raise UsageError(f"from {first:g} s; the track is {duration:.2f} s long{where}")


def frame_range(track: Track, start: float | None = None, stop: float | None = None) -> slice:
    """The frames whose centres lie from `start` up to, not including, `stop`.

    Raises
    ------
    UsageError
        If there is none.
    """
    require_range(start, stop, track.duration, track.start)
    bounds = (-np.inf if start is None else start, np.inf if stop is None else stop)
    first, end = np.searchsorted(track.time, bounds)
    if first == end:
        raise UsageError(f"no token from {bounds[0]:g} to {bounds[1]:g} s; take a longer part")
    return slice(int(first), int(end))


def frame_times(track: Track) -> Array:
    """Centre of each mel frame of a track, s, as attention over time needs them.

    Raises
    ------
    UsageError
        If they were not kept.
    """
    if track.pool is not None:
        raise UsageError(
            f"tokens of this track are averaged over {track.pool:g} s; attention over time needs "
            "one a frame: extract without --pool"
        )
    return track.time


def frame_rate(time: Array) -> float:
    """Frames a second of their centres, s; 1 where there is only one."""
    return float((len(time) - 1) / (time[-1] - time[0])) if len(time) > 1 else 1.0


def pooled(values: Array, width: int, axis: int = 0) -> Array:
    """Means of each `width` values along an axis; the last of what is left."""
    edges = np.arange(0, values.shape[axis], width)
    sums = np.add.reduceat(values, edges, axis=axis, dtype=np.float64)
    counts = np.diff(np.append(edges, values.shape[axis]))
    shape = [1] * values.ndim
    shape[axis] = -1
    return (sums / counts.reshape(shape)).astype(np.float32)


def pooled_tokens(
    track: Track,
    layer: int,
    *,
    most: int = 1500,
    start: float | None = None,
    stop: float | None = None,
) -> tuple[Array, Array]:
    """Sequence tokens of a layer, averaged over as few frames as leave at most `most` bins.

    Parameters
    ----------
    track : Track
    layer : int
    most : int
        Bins at most; a song of 48 s keeps its frames with 1,500.
    start, stop : float, optional
        Part of the track, s.

    Returns
    -------
    (bin, feature) float32 array
    (bin,) float64 array
        Centre of each bin, s.
    """
    frames = frame_range(track, start, stop)
    time = track.time[frames]
    width = -(-len(time) // most)
    step = max(1, FRAMES_AT_ONCE // width) * width
    parts = []
    for first in range(0, len(time), step):
        until = float(time[first + step]) if first + step < len(time) else stop
        part = track.read("sequence_tokens", layer=layer, start=float(time[first]), stop=until)
        parts.append(pooled(part, width))
    centres = [float(time[i : i + width].mean()) for i in range(0, len(time), width)]
    return np.concatenate(parts), np.array(centres)


def require_layer(track: Track, layer: int) -> None:
    """Raise `UsageError` unless a layer was kept."""
    if layer not in track.layers:
        kept = ", ".join(map(str, track.layers))
        raise UsageError(f"no layer {layer} here; layers {kept} were kept")


def attention_blocks(
    track: Track, layer: int, first: int = 0, end: int | None = None
) -> Iterator[tuple[int, Array]]:
    """A layer's attention maps, some windows at a time.

    Parameters
    ----------
    track : Track
    layer : int
    first, end : int, optional
        The first window, and the one to stop at.

    Yields
    ------
    int
        The first window of the block.
    array
        (window, head, query, key), or (window, head, key) of class rows alone; float32.

    Raises
    ------
    UsageError
        If there are none.
    """
    require_layer(track, layer)
    starts = track.read("window_start")
    end = len(starts) if end is None else end
    for window in range(first, end, WINDOWS_AT_ONCE):
        last = min(window + WINDOWS_AT_ONCE, end)
        until = float(starts[last]) if last < len(starts) else None
        maps = track.read("attention", layer=layer, start=float(starts[window]), stop=until)
        yield window, maps.astype(np.float32, copy=False)
