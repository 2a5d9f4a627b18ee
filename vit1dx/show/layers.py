"""Scores by layer as a picture. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from .panels import LIGHT, Theme
from .plot import WIDTH, look

#: Okabe and Ito's colours, which colour-blind eyes tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
DASHES = ("--", ":", "-.")


@dataclass(frozen=True)
class Curve:
    """Scores of one kind of tokens.

    Attributes
    ----------
    name : str
    layers : sequence of int
    scores : sequence of (float, float)
        Mean and standard deviation, a layer; nan where there is none.
    """

    name: str
    layers: Sequence[int]
    scores: Sequence[tuple[float, float]]


def draw_layers(
    curves: Sequence[Curve], levels: Mapping[str, float], title: str, theme: Theme = LIGHT
) -> Figure:
    """Draw scores by layer, with their deviations, and baselines as lines across.

    Parameters
    ----------
    curves : sequence of Curve
    levels : dict of float
        Of baselines, by name.
    title : str
    theme : Theme
    """
    with mpl.rc_context(look(theme)):
        figure = Figure(figsize=(WIDTH * 0.6, 3.8), layout="constrained")
        axes = figure.subplots()
        for curve, colour in zip(curves, COLOURS, strict=False):
            mean, deviation = np.array(curve.scores, float).T
            axes.plot(curve.layers, mean, "o-", color=colour, markersize=4, label=curve.name)
            spread = np.nan_to_num(deviation)
            axes.fill_between(
                curve.layers, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0
            )
        for place, (name, level) in enumerate(levels.items()):
            if not np.isnan(level):
                dash = DASHES[place % len(DASHES)]
                axes.axhline(level, linestyle=dash, color=theme.ink, linewidth=1, label=name)
        axes.set_xticks(sorted({layer for curve in curves for layer in curve.layers}))
        axes.set_xlabel("Layer")
        axes.set_title(title)
        axes.legend(frameon=False, fontsize="small")
    return figure
