"""Onsets in attention maps (claim C3): which head's curve shows them, against spectral flux.

Which head, reading, height and lag serve best is chosen on songs that the encoder was trained on,
and scored on songs that it was not. Spectral flux gets the same choices of height and lag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.probes.collection import Render
from benchmarks.probes.systems import CONFIG, log_mel
from vit1dx import Extractor
from vit1dx.analysis.attention import READINGS, curves
from vit1dx.analysis.peaks import pick
from vit1dx.probe.scores import TOLERANCE, Counts
from vit1dx.tokens import Track

RATE = CONFIG.mel.frame_rate
HEIGHTS = (-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4)
AS_GOOD = 0.01  # F
LAGS = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5)  # frames
TURNED = ("received", "class")  # readings that may dip where a note begins
CLASS_ROW = "class"
ROW = ", class token's row"  # after a layer, in tables
FLUX = "spectral flux"
ANYWHERE = "as many onsets anywhere"

Peaks = tuple[np.ndarray, np.ndarray]  # times (s), and heights
Heard = tuple[Mapping[str, Peaks], np.ndarray]  # peaks by curve, and when notes begin
Table = dict[str, dict[str, Any]]


def measure(weights: Path, layers: Iterable[int], fit: list[Render], test: list[Render]) -> Table:
    """F of the onsets of testing songs, by the curve of a layer that does best on other songs.

    A second row of each layer has the choice among the class token's rows of attention alone.
    """
    extractor = Extractor(list(layers), attention="full", tokens="sequence", weights=weights)
    before, after = (
        heard(lambda audio: head_curves(extractor(audio)), group) for group in (fit, test)
    )
    names = list(before[0][0])
    found: Table = {}
    for layer in layers:
        of_layer = [name for name in names if layer_of(name) == layer]
        rows = [name for name in of_layer if name.endswith(f", {CLASS_ROW}")]
        found[f"layer {layer}"] = best(before, after, of_layer)
        found[f"layer {layer}{ROW}"] = best(before, after, rows)
    return found


def measure_flux(fit: list[Render], test: list[Render]) -> Table:
    """The same of spectral flux."""
    before, after = (
        heard(lambda audio: {FLUX: spectral_flux(log_mel(audio))}, group) for group in (fit, test)
    )
    return {FLUX: best(before, after, [FLUX])}


def measure_chance(fit: list[Render], test: list[Render]) -> Table:
    """The same of as many onsets as there are, anywhere."""
    before, after = (_anywhere(heard(lambda _: {}, group)) for group in (fit, test))
    return {ANYWHERE: {"curve": ANYWHERE, "held_out": before, "test": after}}


def _anywhere(songs: list[Heard]) -> float:
    rng, counts = np.random.default_rng(0), Counts()
    for _, truth in songs:
        counts.add(truth, np.sort(rng.uniform(0, truth[-1], len(truth))), TOLERANCE["onsets"])
    return counts.f_measure


def layer_of(curve: str) -> int:
    """The layer that a curve is of."""
    return int(curve.removeprefix("-").split(",")[0].removeprefix("layer "))


def heard(
    curves_of: Callable[[Path], Mapping[str, np.ndarray]], renders: Iterable[Render]
) -> list[Heard]:
    """Peaks of all curves of renders, and when notes begin in them."""
    return [
        (
            {name: pick(c, HEIGHTS[0], RATE) for name, c in curves_of(render.audio).items()},
            np.asarray(render.labels()["onsets"], float),
        )
        for render in renders
    ]


def head_curves(track: Track) -> dict[str, np.ndarray]:
    """Curves (time,) of each layer, head and reading; a leading "-" turns one upside down."""
    assert track.attention is not None
    first = np.round(track.window_start * RATE).astype(int)
    n = len(track.time)
    found: dict[str, np.ndarray] = {}
    for layer, maps in zip(track.attended_layers, track.attention, strict=True):
        for reading in READINGS:
            for head, curve in enumerate(curves(maps, reading, first, n)):
                name = f"layer {layer}, head {head}, {reading}"
                found[name] = curve
                if reading in TURNED:
                    found[f"-{name}"] = -curve
    return found


def spectral_flux(mel: np.ndarray) -> np.ndarray:
    """Sum of what rises from frame to frame in log-mel (time, n_mels): (time,)."""
    rise = np.maximum(0, np.diff(mel, axis=0, prepend=mel[:1]))
    return np.asarray(rise.sum(1), dtype=np.float32)


def best(before: list[Heard], after: list[Heard], names: Iterable[str]) -> dict[str, Any]:
    """The curve that does best on some songs, and how it does on others."""
    f, name, height, lag = max(tuned(before, name) for name in names)
    found = {"curve": name, "least": height, "lag": lag, "held_out": f}
    return {**found, "test": score(after, name, height, lag)}


def tuned(songs: list[Heard], name: str) -> tuple[float, str, float, float]:
    """The best F of a curve, with the height and lag that give it."""
    of = partial(score, songs, name)
    # The lag matters little to which height is best: one after the other, not all pairs. Of heights
    # that are about as good the lowest: how many onsets there are, other music has otherwise.
    found = {least: max(of(least, lag) for lag in (0, 1)) for least in HEIGHTS}
    height = min(least for least in HEIGHTS if found[least] >= max(found.values()) - AS_GOOD)
    lag = max(LAGS, key=lambda late: of(height, late))
    return of(height, lag), name, height, lag


def score(songs: list[Heard], name: str, height: float, lag: float) -> float:
    """F of the peaks of one curve that are so high, `lag` frames earlier, of all songs together."""
    counts = Counts()
    for peaks, truth in songs:
        times, heights = peaks[name]
        counts.add(truth, times[heights >= height] - lag / RATE, TOLERANCE["onsets"])
    return counts.f_measure
