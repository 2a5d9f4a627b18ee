"""Onsets from attention: the curve of one head that peaks where notes begin, and its peaks.

Which head and reading serve best, how high a peak must be and by how much the curve is late were
chosen on songs for training, for each of the bundled weights (`vit1dx.model.guide`);
weights/README.md has what they come to on others. Spectral flux finds more: this is for seeing what
a model attends to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._types import Array
from ..errors import UsageError
from ..model.guide import onset_curves
from ..tokens import Track
from .attention import attention_curve, form
from .peaks import pick
from .track import frame_rate, frame_times, require_layer


@dataclass(frozen=True)
class OnsetCurve:
    """Which curve shows onsets, and how its peaks are picked.

    Attributes
    ----------
    layer, head : int
    reading : str
        One of `vit1dx.analysis.attention.READINGS`.
    falls : bool
        Whether it dips where a note begins: it is turned upside down then.
    least : float
        Height that a peak needs; see `vit1dx.analysis.peaks.height`.
    lag : float
        Frames that it comes late.
    """

    layer: int
    head: int
    reading: str
    falls: bool = False
    least: float = 0.0
    lag: float = 1.0

    def __str__(self) -> str:
        falls = ", turned" if self.falls else ""
        return f"layer {self.layer}, head {self.head}, {self.reading}{falls}"


def best_curve(
    track: Track, layer: int | None = None, head: int | None = None, reading: str | None = None
) -> OnsetCurve:
    """The curve that does best of those that a track's attention maps give.

    For weights of which nothing was measured, those that do best with the bundled ones.

    Parameters
    ----------
    track : Track
    layer, head : int, optional
    reading : str, optional
        Keep to these; a curve that was not measured then has the usual threshold.

    Raises
    ------
    UsageError
        If there are no attention maps, or tokens are pooled, or nothing was asked for and none of
        them shows onsets.
    """
    kept = form(track)
    if kept == "none":
        raise UsageError("no attention maps here; extract with --attention class or full")
    frame_times(track)  # of each frame, or refused
    attended = track.attended_layers
    measured = _measured(track, kept)
    for curve in measured:
        asked = ((layer, curve.layer), (head, curve.head), (reading, curve.reading))
        if curve.layer in attended and all(one in (None, its) for one, its in asked):
            return curve
    if layer is None and head is None and reading is None:
        layers = ", ".join(map(str, attended))
        others = " or ".join(map(str, sorted({curve.layer for curve in measured})))
        hint = f"layer {others}, or --attention full" if others else "--attention full"
        raise UsageError(f"class rows of layers {layers} show no onsets; extract {hint}")
    usual = "log change" if kept == "full" else "class"
    return OnsetCurve(attended[0] if layer is None else layer, head or 0, reading or usual)


def _measured(track: Track, kept: str) -> list[OnsetCurve]:
    """The curves that show onsets in maps of a form, the best first."""
    curves = [OnsetCurve(**fields) for fields in onset_curves(*track.model)]
    return [curve for curve in curves if kept == "full" or curve.reading == "class"]


def onset_strength(track: Track, curve: OnsetCurve) -> Array:
    """Onset strength on each frame of a track: (time,) float32.

    Raises
    ------
    UsageError
        If the track has no such layer or head, or not the rows that the reading needs.
    """
    require_layer(track, curve.layer)
    heads = attention_curve(track, curve.layer, curve.reading)
    if not 0 <= curve.head < len(heads):
        raise UsageError(f"no head {curve.head}; heads 0 to {len(heads) - 1} are there")
    return -heads[curve.head] if curve.falls else heads[curve.head]


def onsets(track: Track, curve: OnsetCurve | None = None) -> tuple[Array, Array]:
    """When notes begin in a track.

    Parameters
    ----------
    track : Track
    curve : OnsetCurve, optional
        By default what `best_curve` gives.

    Returns
    -------
    (k,) float64 array
        Times, s, ascending, within the track.
    (k,) float64 array
        How far each peak stands above its surroundings, in the curve's standard deviations.
    """
    curve = curve or best_curve(track)
    times, heights = pick(
        onset_strength(track, curve), curve.least, frame_rate(frame_times(track)), curve.lag
    )
    begin = track.start
    first = float(frame_times(track)[0])
    return np.clip(first + times, begin, begin + track.duration), heights
