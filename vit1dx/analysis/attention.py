"""Attention maps over time: curves by layer and head, rollout, and how far heads look.

Query and key 0 of a map are the class token, 1 + i frame i of the window. Maps come as (window,
head, query, key), the full form, or as (window, head, key), the class token's rows alone.

Abnar and Zuidema, "Quantifying attention flow in transformers", ACL 2020; Raghu et al., "Do vision
transformers see like convolutional neural networks?", NeurIPS 2021 (mean attention distance).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._types import Array
from ..errors import UsageError
from ..tokens import Track
from .track import attention_blocks, frame_range, frame_rate, frame_times

#: Attention below which logarithms are not told apart.
LEAST = 1e-8
#: Frames on either side that the reading "novelty" compares: 128 ms at the default rate.
KERNEL = 4


def require_full(maps: Array, what: str) -> Array:
    """Maps, if all their rows are there.

    Raises
    ------
    UsageError
        If only the class token's are.
    """
    if maps.ndim < 4:
        raise UsageError(f"{what} needs all rows of the attention maps; extract --attention full")
    return maps


def _frames(maps: Array, what: str) -> Array:
    """Attention of frames to frames: (window, head, query, key)."""
    return require_full(maps, what)[:, :, 1:, 1:]


def _from_second(change: Array) -> Array:
    """Values of a window's second query and those that follow; the first has the second's, or 0."""
    first = change[:, :, :1] if change.shape[-1] else np.zeros((*change.shape[:2], 1), np.float32)
    return np.concatenate([first, change], axis=-1)


def class_row(maps: Array) -> Array:
    """Attention of the class token to each frame: (window, head, frame). Either form will do."""
    return maps[..., 1:] if maps.ndim == 3 else maps[:, :, 0, 1:]


def received(maps: Array) -> Array:
    """Attention that each frame gets from the window's, on average: (window, head, frame)."""
    return _frames(maps, "attention received").mean(2)


def change(maps: Array) -> Array:
    """1 - cosine of each frame's row of attention and that of the frame before.

    Returns
    -------
    (window, head, frame) array
        0 to 1; a window's first frame has the second's value.
    """
    rows = _frames(maps, "change")
    unit = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), LEAST)
    return _from_second(1 - (unit[:, :, 1:] * unit[:, :, :-1]).sum(-1))


def log_change(maps: Array) -> Array:
    """Deviation, over keys, of how logarithms of attention changed since the frame before.

    Faint attention counts as much as strong. Returns (window, head, frame) as `change` does.
    """
    logarithms = np.log(_frames(maps, "log change") + np.float32(LEAST))
    return _from_second(np.diff(logarithms, axis=2).std(-1))


def novelty(maps: Array) -> Array:
    """Foote's checkerboard on the map: how much more the frames on either side attend to their own.

    Of `KERNEL` frames a side; returns (window, head, frame).
    """
    rows, half = _frames(maps, "novelty"), KERNEL
    padded = np.pad(rows, ((0, 0), (0, 0), (half, half), (half, half)), mode="edge")
    total = np.pad(padded.cumsum(-1).cumsum(-2), ((0, 0), (0, 0), (1, 0), (1, 0)))
    low = np.arange(rows.shape[-1])
    middle = low + half

    def block(top: Array, left: Array) -> Array:
        bottom, right = top + half, left + half
        inside = total[:, :, bottom, right] + total[:, :, top, left]
        return inside - total[:, :, top, right] - total[:, :, bottom, left]

    return block(low, low) + block(middle, middle) - block(low, middle) - block(middle, low)


#: Curves (window, head, frame) that can be read off maps, by name.
READINGS: dict[str, Callable[[Array], Array]] = {
    "class": class_row,
    "received": received,
    "change": change,
    "log change": log_change,
    "novelty": novelty,
}


def window_cuts(first: Array, length: int, n: int) -> Array:
    """Where one window's frames end and the next one's begin.

    A frame is taken from the window in which it lies furthest from an edge: of windows with
    overlap, from the one whose token is kept; where the last window was moved back, it and the one
    before share what both see half and half.

    Parameters
    ----------
    first : (window,) int array
        First frame of each window, ascending.
    length : int
        Frames of a window.
    n : int
        Frames of the track.

    Returns
    -------
    (window + 1,) int array
        Window w gives frames ``cuts[w]`` up to ``cuts[w + 1]``.
    """
    return np.concatenate([[0], (first[1:] + first[:-1] + length) // 2, [n]])


def curves(maps: Array, reading: str, first: Array, n: int) -> Array:
    """A reading of all windows of a track, on its frames.

    Parameters
    ----------
    maps : array
        Of one layer, in either form.
    reading : str
        One of `READINGS`.
    first : (window,) int array
        First frame of each window.
    n : int
        Frames of the track.

    Returns
    -------
    (head, time) float32 array

    Raises
    ------
    UsageError
        If the reading is unknown, or needs rows that the form has not.
    """
    values = read_off(maps, reading)
    return _joined(values, first, window_cuts(first, values.shape[-1], n))


def read_off(maps: Array, reading: str) -> Array:
    """A reading by its name, (window, head, frame); raises as `curves` does."""
    if reading not in READINGS:
        raise UsageError(f"reading {reading!r}; choose from {', '.join(READINGS)}")
    return READINGS[reading](maps)


def _joined(values: Array, first: Array, cuts: Array) -> Array:
    """Values (window, ..., frame) of some windows, each between its cuts: (..., time)."""
    windows = zip(values, first, cuts[:-1], cuts[1:], strict=True)
    parts = [value[..., a - start : b - start] for value, start, a, b in windows]
    return np.concatenate(parts, axis=-1).astype(np.float32, copy=False)


def rollout(maps: Array) -> Array:
    """Attention rollout (Abnar and Zuidema 2020): where information came from, through all blocks.

    Parameters
    ----------
    maps : (layer, window, head, query, key) array
        Of blocks 1, 2, and so on, none left out.

    Returns
    -------
    (layer, window, query, key) float32 array
        Up to and with each block: the mean over heads, half of it given to the residual stream,
        multiplied through the blocks. Rows sum to 1.
    """
    mean = require_full(maps[0], "rollout").mean(1)
    flow = np.broadcast_to(np.eye(mean.shape[-1], dtype=np.float32), mean.shape)
    found = np.empty((len(maps), *mean.shape), np.float32)
    for layer, of_heads in enumerate(maps):
        flow = _mixed(of_heads) @ flow
        found[layer] = flow
    return found


def _mixed(maps: Array) -> Array:
    mixed = 0.5 * maps.mean(1) + 0.5 * np.eye(maps.shape[-1], dtype=np.float32)
    return mixed / mixed.sum(-1, keepdims=True)


def mean_distance(maps: Array, frame_rate: float) -> Array:
    """How far from each frame a head looks, on average over all frames (Raghu et al. 2021).

    Parameters
    ----------
    maps : (window, head, query, key) array
    frame_rate : float
        Hz.

    Returns
    -------
    (head,) float64 array
        s: the distance of keys from their query, weighted by attention; the class token left out.
    """
    rows = _frames(maps, "mean attention distance")
    frame = np.arange(rows.shape[-1])
    apart = np.abs(frame[:, None] - frame) / frame_rate
    shares = rows / np.maximum(rows.sum(-1, keepdims=True), LEAST)
    return (shares * apart).sum(-1, dtype=np.float64).mean((0, 2))


def attention_curve(
    track: Track,
    layer: int,
    reading: str,
    *,
    start: float | None = None,
    stop: float | None = None,
) -> Array:
    """A reading of a track's attention in one layer, on the frames from `start` to `stop` (s).

    Returns
    -------
    (head, time) float32 array

    Raises
    ------
    UsageError
        If the track has no attention maps of the layer, or not the rows that the reading needs.
    """
    return _over_windows(
        track, layer, lambda window, maps: read_off(maps, reading), start=start, stop=stop
    )


def rollout_curve(track: Track, *, start: float | None = None, stop: float | None = None) -> Array:
    """Rollout from the class token to each frame, up to and with each layer: (layer, time) float32.

    Raises
    ------
    UsageError
        If a layer from the first on is missing, or the maps are not whole.
    """
    layers = track.attended_layers
    if layers != tuple(range(1, len(layers) + 1)):
        kept = ", ".join(map(str, layers))
        raise UsageError(f"rollout needs all layers from 1 on, not {kept}; extract --layers all")

    def of_class(window: int, maps: Array) -> Array:
        end = window + len(maps)
        above = [next(attention_blocks(track, layer, window, end))[1] for layer in layers[1:]]
        return rollout(np.stack([maps, *above]))[:, :, 0, 1:].swapaxes(0, 1)

    return _over_windows(track, 1, of_class, start=start, stop=stop)


def head_distance(track: Track, layer: int, *, most: int = 64) -> Array:
    """Mean attention distance of each head of a layer, s: (head,).

    Over at most so many windows, evenly spread over the track.
    """
    n = len(track.read("window_start"))
    chosen = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
    rate = frame_rate(frame_times(track))
    maps = (next(attention_blocks(track, layer, int(w), int(w) + 1))[1] for w in chosen)
    return np.mean([mean_distance(one, rate) for one in maps], axis=0)


def form(track: Track) -> str:
    """What a track keeps of its attention maps: ``"none"``, ``"class"`` (rows) or ``"full"``."""
    try:
        maps = next(attention_blocks(track, track.attended_layers[0], 0, 1))[1]
    except (IndexError, UsageError):
        return "none"
    return "full" if maps.ndim == 4 else "class"


def has_curves(track: Track) -> bool:
    """Whether a track keeps maps, and the times of its frames, so that they go over time."""
    return track.pool is None and form(track) != "none"


def first_frames(track: Track) -> Array:
    """First frame of each window: (window,) int."""
    return np.searchsorted(frame_times(track), track.read("window_start") - 1e-6)


def _over_windows(
    track: Track,
    layer: int,
    values: Callable[[int, Array], Array],
    *,
    start: float | None,
    stop: float | None,
) -> Array:
    """Values (window, ..., frame) of blocks of maps, on the frames of a range: (..., time)."""
    frames, first = frame_range(track, start, stop), first_frames(track)
    length = next(attention_blocks(track, layer, 0, 1))[1].shape[-1] - 1
    cuts = window_cuts(first, length, len(frame_times(track)))
    begin = int(np.searchsorted(cuts[1:], frames.start, side="right"))
    end = int(np.searchsorted(cuts[:-1], frames.stop))
    parts = [
        _joined(values(window, maps), first[window:][: len(maps)], cuts[window:][: len(maps) + 1])
        for window, maps in attention_blocks(track, layer, begin, end)
    ]
    inside = slice(frames.start - int(cuts[begin]), frames.stop - int(cuts[begin]))
    return np.concatenate(parts, axis=-1)[..., inside]
