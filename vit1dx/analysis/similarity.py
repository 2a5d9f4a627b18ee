"""Self-similarity of a track, layer by layer: matrices, novelty, boundaries, likeness of layers.

Foote, "Visualizing music and audio using self-similarity", ACM Multimedia 1999, and "Automatic
audio segmentation using a measure of audio novelty", ICME 2000; Goto, "A chorus-section detecting
method", ICASSP 2003; Kornblith et al., "Similarity of neural network representations revisited",
ICML 2019.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._types import Array
from ..tokens import Track
from .peaks import local_maxima
from .track import pooled_tokens

#: Seconds on either side of a boundary that novelty compares.
NOVELTY_SECONDS = 8.0
#: Smallest gap between boundaries, s.
LEAST_SECTION = 4.0


def self_similarity(features: Array) -> Array:
    """Cosine of each pair of features, their mean taken off.

    The mean of all goes first: tokens of one layer have most of their direction in common, and
    raw cosines would all be close to 1.

    Parameters
    ----------
    features : (n, feature) array

    Returns
    -------
    (n, n) float32 array
        Symmetric, within -1 to 1, with 1 on the diagonal (0 where a feature is the mean itself).
    """
    centred = features - features.mean(0, dtype=np.float64)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = (centred / np.maximum(norms, 1e-12)).astype(np.float32)
    return np.clip(unit @ unit.T, -1, 1)


def time_lag(similarity: Array) -> Array:
    """A self-similarity matrix by lag (Goto 2003): what repeats becomes a horizontal line.

    Parameters
    ----------
    similarity : (n, n) array

    Returns
    -------
    (n, n) float32 array
        Element (lag, i) is the similarity of i and i - lag; NaN where that is before the start.
    """
    n = len(similarity)
    lag, here = np.indices((n, n))
    values = similarity[here, np.maximum(here - lag, 0)]
    return np.where(lag <= here, values, np.nan).astype(np.float32)


def recurrence(similarity: Array, k: int | None = None, width: int = 1) -> Array:
    """Which bins are among the nearest of each: a recurrence plot with k neighbours.

    Parameters
    ----------
    similarity : (n, n) array
    k : int, optional
        Neighbours of each bin; ``2 * ceil(sqrt(n))`` by default, as librosa has it.
    width : int
        Bins closer than this, each itself by default, are no neighbours.

    Returns
    -------
    (n, n) bool array
        Row i has its k nearest; not symmetric: ``r & r.T`` has the mutual neighbours.
    """
    n = len(similarity)
    k = 2 * int(np.ceil(np.sqrt(n))) if k is None else k
    position = np.arange(n)
    near = np.abs(position[:, None] - position) < width
    ranked = np.argsort(np.where(near, -np.inf, similarity), axis=1, kind="stable")[:, ::-1]
    found = np.zeros((n, n), bool)
    np.put_along_axis(found, ranked[:, :k], True, axis=1)
    return found & ~near


def novelty(similarity: Array, half: int) -> Array:
    """How much a track changes at each bin: Foote's checkerboard along the diagonal (2000).

    What is before and what is after a bin are each like themselves and unlike each other at a
    boundary. The kernel is tapered by a Gaussian of standard deviation `half` / 2. The track is
    taken to go on mirrored at its ends, so that these are no boundaries.

    Parameters
    ----------
    similarity : (n, n) array
    half : int
        Bins on either side that are compared.

    Returns
    -------
    (n,) float32 array
        At bin i the boundary between i - 1 and i; 1 where either side is all alike and the two are
        opposite (cosine -1), 0 where nothing changes.
    """
    n, offsets = len(similarity), np.arange(-half, half) + 0.5
    side = np.sign(offsets) * np.exp(-0.5 * (offsets / (half / 2)) ** 2)
    side = (side / np.abs(side).sum()).astype(np.float32)
    # The kernel is an outer product, so that sums over it are two products with its one factor,
    # column i of `weights` being that factor centred on bin i.
    mirrored = np.pad(np.arange(n), half, mode="symmetric")
    weights = np.zeros((n, n), np.float32)
    for offset, weight in enumerate(side):
        np.add.at(weights, (mirrored[offset : offset + n], np.arange(n)), weight)
    return (weights * (similarity @ weights)).sum(0)


def boundaries(curve: Array, time: Array, least: float = 1.0) -> Array:
    """Times at which a novelty curve peaks.

    Parameters
    ----------
    curve : (n,) array
        Of `novelty`.
    time : (n,) array
        Centre of each bin, s.
    least : float
        Standard deviations of the curve that a peak stands above its mean.

    Returns
    -------
    (k,) float64 array
        s, at least `LEAST_SECTION` apart.
    """
    if len(time) < 3:
        return np.zeros(0)
    step = (time[-1] - time[0]) / (len(time) - 1)
    peaks = local_maxima(curve, max(1, round(LEAST_SECTION / step)))
    high = curve[peaks] > curve.mean() + least * curve.std() + 1e-9
    return time[peaks[high]] - step / 2


def linear_cka(one: Array, other: Array) -> float:
    """Linear centred kernel alignment of two layers' features (Kornblith et al. 2019).

    Parameters
    ----------
    one, other : (n, feature) arrays
        Of the same n moments; the numbers of features may differ.

    Returns
    -------
    float
        0 to 1; 1 if one is the other rotated, scaled and shifted. 0 if either never changes.
    """
    x, y = (a - a.mean(0, dtype=np.float64) for a in (one, other))
    cross = np.linalg.norm(y.T @ x) ** 2
    own = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(cross / own) if own > 0 else 0.0


def layer_similarity(
    track: Track,
    layer: int,
    *,
    most: int = 1500,
    start: float | None = None,
    stop: float | None = None,
) -> tuple[Array, Array]:
    """Self-similarity of a track's sequence tokens in one layer, averaged over bins.

    Parameters
    ----------
    track : Track
    layer : int
    most : int
        Bins at most, so that hours take no more room than minutes.
    start, stop : float, optional
        Part of the track, s.

    Returns
    -------
    (bin, bin) float32 array
    (bin,) float64 array
        Centre of each bin, s.
    """
    tokens, time = pooled_tokens(track, layer, most=most, start=start, stop=stop)
    return self_similarity(tokens), time


def layer_novelty(similarity: Array, time: Array, seconds: float = NOVELTY_SECONDS) -> Array:
    """Novelty of a self-similarity matrix with a kernel of `seconds` on either side: (bin,)."""
    span = time[-1] - time[0]
    half = round(seconds * (len(time) - 1) / span) if span > 0 else 1
    return novelty(similarity, int(np.clip(half, 1, max(1, len(time) // 2))))


def layer_likeness(
    track: Track,
    layers: Sequence[int],
    *,
    most: int = 1500,
    start: float | None = None,
    stop: float | None = None,
) -> Array:
    """Linear CKA of each pair of layers, of tokens averaged over bins: (layer, layer) float32."""
    options = {"start": start, "stop": stop}
    tokens = [pooled_tokens(track, layer, most=most, **options)[0] for layer in layers]
    likeness = np.eye(len(layers), dtype=np.float32)
    for i, one in enumerate(tokens):
        for j, other in enumerate(tokens[:i]):
            likeness[i, j] = likeness[j, i] = linear_cka(one, other)
    return likeness
