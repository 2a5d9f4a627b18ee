"""Pictures of a track: an overview on one page, and its parts closer. Needs matplotlib.

A track of hours is read through pooled blocks, and takes no more memory than one of minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from .._types import Array
from ..analysis import attention, similarity
from ..analysis.onsets import OnsetCurve, best_curve, onset_strength
from ..analysis.peaks import height, pick
from ..analysis.track import attention_blocks, frame_range, frame_rate, frame_times, pooled
from ..errors import UsageError
from ..tokens import Track, attended
from ..whole import whole
from . import panels
from .panels import LIGHT, Mel, Theme

#: Suffixes of pictures.
SUFFIXES = (".png", ".svg", ".pdf", ".webp")
#: Bins of a picture's width, and on a side of a self-similarity matrix.
BINS, SIMILARITY_BINS = 1200, 600
#: Width of a picture, inches.
WIDTH = 10.0

#: What is shown of each head over time.
HEADS_TITLES = {
    "class": "Attention of the class token to each frame, by layer and head",
    "received": "Attention that each frame gets from the others, by layer and head",
    "log change": "Change of each frame's attention since the one before, by layer and head",
}


@dataclass(frozen=True)
class Shown:
    """What a picture shows, and how.

    Attributes
    ----------
    track : Track
    layers : tuple of int
    start, stop : float
        Part of the track, s.
    curve : OnsetCurve or None
        What onsets are read off; without, none are shown.
    mel : Mel or None
        Of the music, where that is at hand.
    theme : Theme
    """

    track: Track
    layers: tuple[int, ...]
    start: float
    stop: float
    curve: OnsetCurve | None = None
    mel: Mel | None = None
    theme: Theme = LIGHT

    @property
    def attended(self) -> tuple[int, ...]:
        """Its layers that have attention maps; all, which then says why not, if none has."""
        return attended(self.layers) or self.layers


def spread(layers: Sequence[int], most: int = 4) -> tuple[int, ...]:
    """At most so many of some layers, evenly spread from the first to the last."""
    chosen = np.linspace(0, len(layers) - 1, min(most, len(layers))).round().astype(int)
    return tuple(layers[i] for i in chosen)


def draw(shown: Shown, kind: str, title: str) -> Figure:
    """Draw a picture of a track.

    Parameters
    ----------
    shown : Shown
    kind : str
        One of `KINDS`.
    title : str

    Raises
    ------
    UsageError
        If the kind is unknown, or the track lacks what it shows.
    """
    if kind not in KINDS:
        raise UsageError(f"kind {kind!r}; choose from {', '.join(KINDS)}")
    with mpl.rc_context(look(shown.theme)):
        figure = Figure(layout="constrained")
        KINDS[kind](figure, shown)
        figure.suptitle(title, fontsize=11, x=0.01, ha="left", fontweight="bold")
    return figure


def require_suffix(path: Path) -> None:
    """Raise `UsageError` unless a picture can have this name."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: pictures are written as {', '.join(SUFFIXES)}")


def save(figure: Figure, path: Path, theme: Theme = LIGHT, dpi: float = 150) -> None:
    """Write a picture, `WIDTH` inches wide.

    The same one is the same file, but for the last digits of places in SVG and PDF: the solver that
    lays out goes by where objects lie in memory.

    Raises
    ------
    UsageError
        If it cannot be written there.
    """
    require_suffix(path)
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    try:
        with mpl.rc_context(look(theme)), whole(path) as unfinished:
            figure.savefig(unfinished, dpi=dpi, metadata=undated.get(path.suffix.lower()))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None


def look(theme: Theme) -> Any:  # matplotlib's own type names every key
    """Settings of all pictures, for `matplotlib.rc_context`."""
    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys(inked, theme.ink),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), theme.paper),
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "text.parse_math": False,
        "svg.hashsalt": "vit1dx",
        "pdf.fonttype": 42,
    }


def _overview(figure: Figure, shown: Shown) -> None:
    rows: list[Callable[[Axes, Shown], None]] = [_mel_row] if shown.mel else []
    rows += [_onset_row] if shown.curve else []
    maps = any(shown.layers) and attention.has_curves(shown.track)
    rows += [_heads_row] if maps else []
    top, below = 1.75 * len(rows), 3.0
    figure.set_size_inches(WIDTH, top + below)
    if not rows:
        _similarities(figure, shown)
        return
    above, under = figure.subfigures(2, 1, squeeze=False, height_ratios=[top, below])[:, 0]
    _stack(above, shown, rows)
    _similarities(under, shown)


def _stack(figure: FigureBase, shown: Shown, rows: Sequence[Callable[[Axes, Shown], None]]) -> None:
    """Panels over one axis of time."""
    places = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, row in zip(places, rows, strict=True):
        row(axes, shown)
        panels.time_axis(axes, shown.start, shown.stop)
    for axes in places[:-1]:
        axes.set_xlabel("")


def _onset_picture(figure: Figure, shown: Shown) -> None:
    rows = [_mel_row, _onset_row] if shown.mel else [_onset_row]
    figure.set_size_inches(WIDTH, 2.1 * len(rows) + 0.5)
    _stack(figure, shown, rows)


def _mel_row(axes: Axes, shown: Shown) -> None:
    assert shown.mel is not None
    panels.mel_panel(axes, shown.mel)
    axes.set_title("Log-mel spectrogram")


def _onset_row(axes: Axes, shown: Shown) -> None:
    track, curve = shown.track, shown.curve or best_curve(shown.track)
    strength, rate = onset_strength(track, curve), frame_rate(frame_times(track))
    picked = pick(strength, curve.least, rate, curve.lag)[0]
    frames = frame_range(track, shown.start, shown.stop)
    above = height(strength, rate)[frames]
    inside = picked[(picked >= shown.start) & (picked < shown.stop)]
    late = track.time[frames] - curve.lag / rate
    panels.onset_panel(axes, above, late, inside, curve.least, shown.theme)
    axes.set_title(f"Onset strength from attention: {curve}; {len(inside)} onsets")


def _heads_row(axes: Axes, shown: Shown, reading: str = "class", most: float = 10.0) -> None:
    """A reading of each head over time, each in multiples of its own mean."""
    track, span = shown.track, {"start": shown.start, "stop": shown.stop}
    time = track.time[frame_range(track, **span)]
    width = -(-len(time) // BINS)
    rows = []
    for layer in shown.attended:
        curves = pooled(attention.attention_curve(track, layer, reading, **span), width, axis=1)
        rows.append(curves / np.maximum(curves.mean(1, keepdims=True), attention.LEAST))
    centres = pooled(time - time[0], width).astype(np.float64) + time[0]
    panels.heads_panel(axes, np.concatenate(rows), centres, shown.attended, most)
    axes.set_title(HEADS_TITLES[reading])


def _similarity_picture(figure: Figure, shown: Shown) -> None:
    columns = min(4, len(shown.layers))
    rows = -(-len(shown.layers) // columns)
    width = WIDTH if columns > 1 else 0.6 * WIDTH
    side = (width - 1.2) / columns - 0.3
    figure.set_size_inches(width, 0.4 + rows * (1.27 * side + 0.75))
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[4, 1] * rows, hspace=0)
    for place, layer in enumerate(shown.layers):
        row, column = divmod(place, columns)
        above = figure.add_subplot(grid[2 * row, column])
        matrix, time = _matrix(shown, layer)
        image = panels.similarity_panel(above, matrix, time, layer, shown.theme)
        curve = similarity.layer_novelty(matrix, time)
        found = similarity.boundaries(curve, time)
        below = figure.add_subplot(grid[2 * row + 1, column])
        panels.novelty_panel(below, curve, time, found, shown.theme, above)
    label = "Self-similarity (cosine)"
    figure.colorbar(image, ax=figure.axes, label=label, pad=0.01, aspect=20 * rows)


def _similarities(figure: FigureBase, shown: Shown) -> None:
    """Self-similarity of some layers side by side."""
    layers = spread(shown.layers)
    cells = figure.subplots(1, len(layers), squeeze=False)[0]
    for layer, axes in zip(layers, cells, strict=True):
        image = panels.similarity_panel(axes, *_matrix(shown, layer), layer, shown.theme)
        axes.set_title(f"Self-similarity, layer {layer}")
    for axes in cells[1:]:
        axes.tick_params(labelleft=False)
    figure.colorbar(image, ax=cells, label="Cosine", pad=0.01, aspect=16, shrink=0.8)


def _matrix(shown: Shown, layer: int) -> tuple[Array, Array]:
    return similarity.layer_similarity(
        shown.track, layer, most=SIMILARITY_BINS, start=shown.start, stop=shown.stop
    )


def _attention_picture(figure: Figure, shown: Shown) -> None:
    def row(reading: str, most: float) -> Callable[[Axes, Shown], None]:
        return lambda axes, shown: _heads_row(axes, shown, reading, most)

    each = max(1.7, 0.4 * len(shown.attended) + 0.6)
    if attention.form(shown.track) != "full":
        figure.set_size_inches(WIDTH, each + 0.6)
        _stack(figure, shown, [row("class", 10)])
        return
    rows = [row("class", 10), row("received", 10), row("log change", 3)]
    maps = 3 * WIDTH / (len(spread(shown.attended)) + 0.5)
    figure.set_size_inches(WIDTH, 3 * each + maps)
    heights = [3 * each, maps]
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    _stack(above, shown, rows)
    _maps(below, shown)


def _maps(figure: FigureBase, shown: Shown) -> None:
    """The whole maps of the window in the middle: a column a layer, a row a head."""
    track, layers = shown.track, spread(shown.attended)
    starts, rate = track.read("window_start"), frame_rate(frame_times(track))
    window = int(np.searchsorted(starts, (shown.start + shown.stop) / 2, side="right")) - 1
    blocks = [next(attention_blocks(track, layer, window, window + 1))[1] for layer in layers]
    cells = figure.subplots(blocks[0].shape[1], len(layers), squeeze=False)
    for (head, column), axes in np.ndenumerate(cells):
        one = blocks[column][0, head, 1:, 1:]
        image = panels.map_panel(axes, one * len(one), float(starts[window]), rate)
        axes.set_title(f"Layer {layers[column]}, head {head}")
        axes.set_xlabel("Key (s)" if head == len(cells) - 1 else "")
        axes.set_ylabel("Query (s)" if column == 0 else "")
        axes.tick_params(labelbottom=head == len(cells) - 1, labelleft=column == 0)
    panels.log_bar(figure, cells, image, "Times even attention", 10, aspect=40)


def _layers_picture(figure: Figure, shown: Shown) -> None:
    track, layers = shown.track, shown.layers
    likeness = similarity.layer_likeness(track, layers, start=shown.start, stop=shown.stop)
    is_full = any(layers) and attention.form(track) == "full"
    figure.set_size_inches(WIDTH, 4.0)
    left, right = figure.subplots(1, 2) if is_full else (figure.subplots(1, 1), None)
    panels.likeness_panel(left, likeness, layers)
    left.set_title("Likeness of layers' tokens")
    if right is not None:
        distances = [attention.head_distance(track, layer) for layer in shown.attended]
        panels.distance_panel(right, np.stack(distances), shown.attended, shown.theme)
        right.set_title("Mean attention distance of each head (line: of all)")


#: Pictures, by name.
KINDS: dict[str, Callable[[Figure, Shown], None]] = {
    "overview": _overview,
    "ssm": _similarity_picture,
    "attention": _attention_picture,
    "onsets": _onset_picture,
    "layers": _layers_picture,
}
