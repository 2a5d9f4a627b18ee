"""What must be shown, and whether it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np

from benchmarks.throughput.curves import Point
from benchmarks.throughput.rounds import Results

Curves = Mapping[str, list[Point]]
Figure = Callable[[Results, Curves], float | None]


@dataclass(frozen=True)
class Target:
    """A figure and its bound.

    Attributes
    ----------
    what : str
    bound : float
    at_least : bool
        Whether the bound is the least that will do, or the most.
    figure : callable
        The figure, or None where what it needs was not measured.
    """

    what: str
    bound: float
    at_least: bool
    figure: Figure

    def met(self, measured: float) -> bool:
        """Whether a figure will do."""
        return measured >= self.bound if self.at_least else measured <= self.bound


def _faster(one: str, other: str) -> Figure:
    return lambda results, _: _ratio(results.rate(one), results.rate(other))


def _of_limit(precision: str) -> Figure:
    return lambda results, _: _ratio(results.rate(f"vit1dx {precision}"), results.limit(precision))


def _start(results: Results, curves: Curves) -> float | None:
    return results.start("vit1dx fp32")


def _help(results: Results, curves: Curves) -> float | None:
    return median(results.help) if results.help else None


def _departure_from_line(results: Results, curves: Curves) -> float | None:
    """How far times are from ``start + slope * audio``, at most, as a share of them."""
    points = curves.get("files", [])[1:]
    if len(points) < 3:
        return None
    seconds = np.array([point.seconds for point in points])
    terms = np.stack([np.ones(len(points)), [point.audio for point in points]], axis=1)
    fit, *_ = np.linalg.lstsq(terms / seconds[:, None], np.ones(len(points)), rcond=None)
    return float(np.abs(terms @ fit / seconds - 1).max())


def _memory_growth(results: Results, curves: Curves) -> float | None:
    points = curves.get("files", [])[1:]
    return points[-1].memory / points[0].memory if points else None


def _long_file(results: Results, curves: Curves) -> float | None:
    if "workers" not in curves:
        return None
    start, *points = curves["workers"]
    alone = [p.seconds - start.seconds for p in points if p.what.startswith("one file")]
    return alone[0] / alone[-1]


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other is not None else None


ALL, TWO = "vit1dx fp32", "vit1dx fp32, layers 4,8"
TARGETS = (
    Target("fp32, share of the sum-of-parts limit", 0.85, True, _of_limit("fp32")),
    Target("fp32, times the naive script", 3, True, _faster(ALL, "naive script")),
    Target("int8, times the naive script", 5, True, _faster("vit1dx int8", "naive script")),
    Target("bf16, times the naive script", 5, True, _faster("vit1dx bf16", "naive script")),
    Target("layers 4,8, times all 12", 1.35, True, _faster(TWO, ALL)),
    Target(
        "full attention, times the time of none", 1.5, False, _faster(TWO, f"{TWO}, full attention")
    ),
    Target("class rows, times the time of none", 1.05, False, _faster(TWO, f"{TWO}, class rows")),
    Target("files, departure from linear time", 0.1, False, _departure_from_line),
    Target("memory at most files, times that at fewest", 1.2, False, _memory_growth),
    Target("one long file on all cores, times one", 1.8, True, _long_file),
    Target("one-file extract, s", 1.5, False, _start),
    Target("vit1dx --help, s", 0.3, False, _help),
)
