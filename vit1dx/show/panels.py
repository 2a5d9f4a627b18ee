"""The parts of a picture: each draws one thing into one pair of axes. Needs matplotlib.

Maps are perceptually uniform or ColorBrewer's, lines Okabe and Ito's: all safe for colour-blind
eyes, and in grey.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm
from matplotlib.figure import FigureBase
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from .._types import Array
from ..audio.mel import mel_filters
from ..config import MelConfig

#: Distances between ticks on an axis of time, s.
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
#: Beyond so many seconds ticks are clock times.
CLOCK_FROM = 600
#: Frequencies marked beside a mel, Hz.
MARKED_HZ = (500, 1000, 2000, 4000, 8000, 16000)
#: Points of a line at most; of more, each stretch shows its highest.
MOST_POINTS = 3000


@dataclass(frozen=True)
class Theme:
    """Colours of a picture."""

    paper: str
    ink: str
    faint: str
    line: str
    mark: str
    similarity: str


LIGHT = Theme("#ffffff", "#1a1a1a", "#c8c8c8", "#0072b2", "#d55e00", "RdBu_r")
DARK = Theme("#15181d", "#e8e8e8", "#4a4f57", "#56b4e9", "#e69f00", "berlin")


@dataclass(frozen=True)
class Mel:
    """Log-mel of the music, for a picture.

    Attributes
    ----------
    frames : (bin, n_mels) float32 array
        dB.
    time : (bin,) float64 array
        s.
    config : MelConfig
    """

    frames: Array
    time: Array
    config: MelConfig


def time_axis(
    axes: Axes, start: float, stop: float, ticks: int = 12, *, both: bool = False
) -> None:
    """Ticks at round times, in seconds; in clock times where those would be large numbers."""
    step = next((s for s in STEPS if (stop - start) / s <= ticks), STEPS[-1])
    label, written = _clock(stop, step)
    for axis in (axes.xaxis, axes.yaxis) if both else (axes.xaxis,):
        axis.set_major_locator(MultipleLocator(step))
        axis.set_major_formatter(FuncFormatter(lambda value, _: written(value)))
    axes.set_xlim(start, stop)
    if both:
        axes.set_ylim(stop, start)
    axes.set_xlabel(label)


def _clock(stop: float, step: float) -> tuple[str, Callable[[float], str]]:
    """What an axis of time up to `stop` is called, and how a time on it is written."""
    if stop <= CLOCK_FROM:
        return "Time (s)", lambda value: f"{value:.10g}"
    if stop < 3600:
        return "Time (min:s)", lambda value: f"{value // 60:.0f}:{value % 60:02.0f}"
    if step >= 60:
        return "Time (h:min)", lambda value: f"{value // 3600:.0f}:{value // 60 % 60:02.0f}"
    return (
        "Time (h:min:s)",
        lambda value: f"{value // 3600:.0f}:{value // 60 % 60:02.0f}:{value % 60:02.0f}",
    )


def mel_panel(axes: Axes, mel: Mel) -> Colorbar:
    """Log-mel over time, with frequencies marked."""
    top = float(mel.frames.max())
    low = max(float(mel.frames.min()), top - 70)
    image = _over_time(axes, mel.frames.T, mel.time, cmap="magma", vmin=low, vmax=top)
    filters = mel_filters(mel.config)
    hz = np.linspace(0, mel.config.sample_rate / 2, len(filters))
    centres = (hz @ filters) / np.maximum(filters.sum(0), 1e-12)
    marked = [f for f in MARKED_HZ if mel.config.f_min < f <= mel.config.f_max]
    names = [f"{f // 1000}k" if f >= 1000 else str(f) for f in marked]
    axes.set_yticks(np.interp(marked, centres, np.arange(len(centres))), names)
    axes.set_ylabel("Mel band (Hz)")
    return _bar(axes, image, "dB")


def onset_panel(
    axes: Axes, strength: Array, time: Array, picked: Array, least: float, theme: Theme
) -> None:
    """Onset strength over time with the threshold, and a mark below each onset that was picked."""
    width = -(-len(strength) // MOST_POINTS)
    edges = np.arange(0, len(strength), width)
    axes.plot(time[edges], np.maximum.reduceat(strength, edges), color=theme.line, lw=0.8)
    axes.axhline(least, color=theme.faint, lw=0.8, ls="--", zorder=0)
    low, high = min(-1.0, float(strength.min())), max(least, float(strength.max())) * 1.05
    axes.set_ylim(low - 0.25 * (high - low), high)
    length = 0.16 * (high - low)
    axes.eventplot(
        picked, lineoffsets=low - 0.14 * (high - low), linelengths=length, lw=0.8, colors=theme.mark
    )
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_ylabel("Strength (SD)")


def heads_panel(
    axes: Axes, values: Array, time: Array, layers: Sequence[int], most: float
) -> Colorbar:
    """Something of each layer and head over its mean: (row, bin), heads of a layer together.

    Colours go from 1 / `most` to `most`.
    """
    heads = len(values) // len(layers)
    norm = LogNorm(1 / most, most)
    image = _over_time(axes, values, time, cmap="viridis", origin="upper", norm=norm)
    for edge in range(heads, len(values), heads):
        axes.axhline(edge - 0.5, color="white", lw=0.8)
    places = heads * np.arange(len(layers)) + (heads - 1) / 2
    axes.set_yticks(places, [f"{layer}" for layer in layers])
    axes.tick_params(axis="y", length=0)
    axes.set_ylabel("Layer")
    return log_bar(axes.figure, axes, image, "Times its mean", most)


def similarity_panel(
    axes: Axes, similarity: Array, time: Array, layer: int, theme: Theme
) -> AxesImage:
    """A self-similarity matrix."""
    start, stop = _edges(time)
    image = axes.imshow(
        similarity,
        extent=(start, stop, stop, start),
        cmap=theme.similarity,
        vmin=-1,
        vmax=1,
        interpolation="antialiased",
    )
    axes.set_title(f"Layer {layer}")
    time_axis(axes, start, stop, ticks=5, both=True)
    return image


def novelty_panel(
    axes: Axes, curve: Array, time: Array, found: Array, theme: Theme, above: Axes
) -> None:
    """Novelty over time, with the boundaries at its peaks, right below a similarity panel."""
    axes.plot(time, curve, color=theme.line, lw=0.9)
    for boundary in found:
        axes.axvline(boundary, color=theme.mark, lw=0.9)
    axes.set_ylim(0, max(1e-6, float(curve.max())) * 1.1)
    axes.set_yticks([])
    axes.set_ylabel("Novelty", fontsize=7)
    time_axis(axes, *_edges(time), ticks=5)
    axes.set_box_aspect(0.25)
    axes.set_anchor("N")
    above.set_anchor("S")
    above.tick_params(labelbottom=False)
    above.set_xlabel("")


def map_panel(axes: Axes, attention: Array, start: float, frame_rate: float) -> AxesImage:
    """One window's attention map of frames, (query, key), in multiples of even attention."""
    n = len(attention)
    first, last = start - 0.5 / frame_rate, start + (n - 0.5) / frame_rate
    image = axes.imshow(
        attention, extent=(first, last, last, first), cmap="viridis", norm=LogNorm(0.1, 10)
    )
    time_axis(axes, first, last, ticks=5, both=True)
    return image


def likeness_panel(axes: Axes, likeness: Array, layers: Sequence[int]) -> Colorbar:
    """Likeness of each pair of layers."""
    low = min(0.9, np.floor(likeness.min() * 10) / 10)
    image = axes.imshow(likeness, cmap="cividis", vmin=low, vmax=1, origin="lower")
    axes.set_xticks(range(len(layers)), [str(layer) for layer in layers])
    axes.set_yticks(range(len(layers)), [str(layer) for layer in layers])
    axes.set_xlabel("Layer")
    axes.set_ylabel("Layer")
    return _bar(axes, image, "Linear CKA")


def distance_panel(axes: Axes, distances: Array, layers: Sequence[int], theme: Theme) -> None:
    """Mean attention distance of each head, (layer, head), s."""
    heads = distances.shape[1]
    places = np.repeat(np.arange(len(layers)), heads)
    axes.plot(range(len(layers)), distances.mean(1), color=theme.line, lw=1)
    axes.scatter(places, distances.ravel(), color=theme.mark, s=14, zorder=3)
    axes.set_xticks(range(len(layers)), [str(layer) for layer in layers])
    axes.set_ylim(0, max(1e-3, float(distances.max()) * 1.15))
    axes.set_xlabel("Layer")
    axes.set_ylabel("Distance (s)")


def _over_time(
    axes: Axes, values: Array, time: Array, origin: Literal["lower", "upper"] = "lower", **look: Any
) -> AxesImage:
    """An image of (row, bin) values, rows at whole numbers."""
    start, stop = _edges(time)
    low, high = -0.5, len(values) - 0.5
    rows = (low, high) if origin == "lower" else (high, low)
    return axes.imshow(
        values,
        extent=(start, stop, *rows),
        aspect="auto",
        origin=origin,
        interpolation="antialiased",
        **look,
    )


def _edges(time: Array) -> tuple[float, float]:
    """Where the first bin begins and the last one ends, s, given their centres."""
    half = (time[1] - time[0]) / 2 if len(time) > 1 else 0.016
    return float(time[0] - half), float(time[-1] + half)


def log_bar(
    figure: FigureBase,
    axes: Axes | Array,
    image: AxesImage,
    label: str,
    most: float,
    aspect: float = 12,
) -> Colorbar:
    """A bar beside some axes for colours from 1 / `most` to `most`."""
    bar = figure.colorbar(image, ax=axes, label=label, pad=0.01, aspect=aspect)
    bar.set_ticks([1 / most, 1, most], labels=[f"1/{most:g}", "1", f"{most:g}"])
    bar.minorticks_off()
    return bar


def _bar(axes: Axes, image: AxesImage, label: str) -> Colorbar:
    return axes.figure.colorbar(image, ax=axes, label=label, pad=0.01, aspect=12)
