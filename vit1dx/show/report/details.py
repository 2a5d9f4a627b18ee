"""What a page shows of one track, pooled and quantised to bytes, so that many fit."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._types import Array
from ...analysis import attention, similarity
from ...analysis.onsets import best_curve, onset_strength
from ...analysis.peaks import height, pick
from ...analysis.track import frame_rate, pooled
from ...errors import UsageError
from ...tokens import Track

#: Bins on a side of a self-similarity matrix, of which a page takes the most that fit.
SIDES = (240, 200, 160, 128, 96, 64)
#: Bins of curves over time.
CURVE_BINS = 320
#: Onsets that can still be told apart on a page; of more only the curve is shown.
MOST_ONSETS = 4000
#: Attention is shown from this share of even attention to as many times it.
MOST_ATTENTION = 10.0
#: Heights of an onset curve that are told apart, standard deviations.
MOST_HEIGHT = 6.0


def packed(values: Array) -> str:
    """Numbers as base64 of their little-endian bytes."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def quantised(values: Array, low: float, high: float) -> Array:
    """Numbers from `low` to `high` as 0 to 255, those beyond at the ends."""
    scaled = (np.asarray(values, np.float64) - low) * (255 / (high - low))
    return np.clip(np.round(scaled), 0, 255).astype(np.uint8)


def expected_bytes(side: int, layers: int, heads: int) -> int:
    """About what the details of a track take in a page whose matrices have this side."""
    return round(4 / 3 * (layers * (side * (side + 1) // 2 + side + heads * CURVE_BINS) + 4000))


def details(track: Track, layers: Sequence[int], side: int) -> dict[str, Any]:
    """Self-similarity, novelty, attention and onsets of a track, as JSON can have them.

    Parameters
    ----------
    track : Track
    layers : sequence of int
    side : int
        Bins of a self-similarity matrix at most.
    """
    return {
        "layers": list(layers),
        "similarity": _similarity(track, layers, side),
        "attention": _attention(track, [layer for layer in layers if layer]),
        "onsets": _onsets(track),
    }


def _similarity(track: Track, layers: Sequence[int], side: int) -> dict[str, Any] | None:
    """Each layer's matrix (its upper triangle, row by row), novelty and boundaries.

    None where sequence tokens were not kept.
    """
    try:
        track.read("sequence_tokens", layer=layers[0], stop=0.0)
    except UsageError:
        return None
    matrices, curves, bounds = [], [], []
    for layer in layers:
        matrix, time = similarity.layer_similarity(track, layer, most=side)
        curve = similarity.layer_novelty(matrix, time)
        matrices.append(quantised(matrix[np.triu_indices(len(matrix))], -1, 1))
        curves.append(quantised(curve, 0, max(float(curve.max()), 1e-6)))
        bounds.append([round(float(t), 2) for t in similarity.boundaries(curve, time)])
    width = -(-len(track.time) // side)
    return {
        "bins": len(time),
        "step": width / frame_rate(track.time),
        "matrices": packed(np.concatenate(matrices)),
        "novelty": packed(np.concatenate(curves)),
        "boundaries": bounds,
    }


def _attention(track: Track, layers: Sequence[int]) -> dict[str, Any] | None:
    """The class token's attention to each frame, by layer and head, over even attention."""
    if not layers or not attention.has_curves(track):
        return None
    width = -(-len(track.time) // CURVE_BINS)
    limit, rows = np.log(MOST_ATTENTION), []
    for layer in layers:
        curve = pooled(attention.attention_curve(track, layer, "class"), width, axis=1)
        ratio = curve / np.maximum(curve.mean(1, keepdims=True), attention.LEAST)
        rows.append(quantised(np.log(np.maximum(ratio, 1e-6)), -limit, limit))
    heads, bins = rows[0].shape
    return {
        "layers": list(layers),
        "heads": heads,
        "bins": bins,
        "step": width / frame_rate(track.time),
        "most": MOST_ATTENTION,
        "rows": packed(np.stack(rows)),
    }


def _onsets(track: Track) -> dict[str, Any]:
    """The onset curve, the highest of each bin, and its peaks; or why there is none."""
    try:
        curve = best_curve(track)
        strength = onset_strength(track, curve)
    except UsageError as error:
        return {"none": str(error)}
    rate = frame_rate(track.time)
    above, times = height(strength, rate), pick(strength, curve.least, rate, curve.lag)[0]
    times = np.clip(times, 0, track.duration)
    width = -(-len(above) // CURVE_BINS)
    highest = np.maximum.reduceat(above, np.arange(0, len(above), width))
    few = times if len(times) <= MOST_ONSETS else times[:0]
    return {
        "curve": str(curve),
        "bins": len(highest),
        "step": width / rate,
        "lag": curve.lag / rate,
        "heights": packed(quantised(highest, 0, MOST_HEIGHT)),
        "count": len(times),
        "times": packed(np.round(few * 1000).astype("<u4")),  # ms
    }
