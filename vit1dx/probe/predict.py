"""Labels of tracks by a saved probe: a row a track, or spans and events over time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from .._types import Array
from ..errors import UsageError
from ..store.reader import Features
from .features import TokenFeature, require_kept
from .frames import edges_of, runs
from .linear import sigmoid, softmax
from .local import event_peaks
from .notes import note_rows
from .saved import SavedProbe

#: Endings of files over time, by task.
ENDINGS = {
    "chords": ".lab",
    "keys": ".lab",
    "beats": ".beats",
    "downbeats": ".beats",
    "onsets": ".onsets",
    "notes": ".notes",
}
#: Columns of tables over time, by ending.
COLUMNS = {".lab": ("start", "end", "label"), ".notes": ("start", "end", "pitch")}
#: Tracks whose vectors are read at once.
BLOCK = 4096


@dataclass(frozen=True)
class Timeline:
    """What a probe says of a track over time.

    Attributes
    ----------
    track : str
        Its id.
    rows : list of tuple
        Start and end (s) and label, or pitch, of spans; times (s) of events.
    """

    track: str
    rows: list[tuple[float | str, ...]]


def vector_rows(
    features: Features, saved: SavedProbe, ids: Iterable[str] | None = None
) -> Iterator[list[str]]:
    """What a probe of whole tracks says of them: rows of text, the first of names.

    Classes and keys come with the probability of the likeliest, tags with one each, numbers alone.
    """
    about = saved.about
    head = {"classes": ["label", "probability"], "numbers": ["value"]}
    yield ["track", *head.get(about.kind, about.classes)]
    feature = TokenFeature(features.path, about.layer, about.tokens)  # type: ignore[arg-type]
    left = list(features if ids is None else ids)
    if left:
        require_kept(features, left[0], feature.tokens)
    for first in range(0, len(left), BLOCK):
        block = left[first : first + BLOCK]
        outputs = saved.probe.outputs(feature.vectors(block))
        for track_id, cells in zip(block, _cells(saved, outputs), strict=True):
            yield [track_id, *cells]


def _cells(saved: SavedProbe, outputs: Array) -> Iterator[list[str]]:
    about = saved.about
    if about.kind == "classes":
        found = softmax(outputs)
        for row in found:
            yield [about.classes[row.argmax()], f"{row.max():.4f}"]
    elif about.kind == "tags":
        yield from ([f"{value:.4f}" for value in row] for row in sigmoid(outputs))
    else:
        numbers = outputs[:, 0] * about.deviation + about.mean
        yield from ([f"{value:.6g}"] for value in numbers)


def timelines(
    features: Features, saved: SavedProbe, ids: Iterable[str] | None = None
) -> Iterator[Timeline]:
    """What a probe of frames says of tracks, one after the other."""
    feature = TokenFeature(features.path, saved.about.layer, "sequence")
    left = list(features if ids is None else ids)
    if left:
        require_kept(features, left[0], "sequence")
        saved.require_step(features)
    for track_id, (values, time) in zip(left, feature.frames(left), strict=True):
        outputs = saved.probe.outputs(values)
        yield Timeline(track_id, list(_rows(saved, time, outputs)) if len(time) else [])


def _rows(saved: SavedProbe, time: Array, outputs: Array) -> Iterator[tuple[float | str, ...]]:
    about = saved.about
    if about.kind == "classes":
        places, classes = runs(outputs.argmax(axis=1))
        edges = np.maximum(edges_of(time)[places], 0.0)
        for start, end, number in zip(edges[:-1], edges[1:], classes, strict=True):
            yield float(start), float(end), about.classes[number]
    elif about.task == "notes":
        yield from note_rows(time, outputs, about.classes, about.height or 0.0)
    else:
        times, _ = event_peaks(time, outputs[:, 0], about.height or 0.0)
        yield from ((float(moment),) for moment in times)


def as_text(line: Timeline) -> str:
    """A timeline as mir_eval reads it: a span or event a line."""
    return "".join("\t".join(map(_text, row)) + "\n" for row in line.rows)


def as_csv(task: str, lines: Iterable[Timeline]) -> Iterator[str]:
    """Timelines as one CSV table, line by line."""
    columns = COLUMNS.get(ENDINGS[task], ("time",))
    yield csv_line(["track", *columns])
    for line in lines:
        for row in line.rows:
            yield csv_line([line.track, *map(_text, row)])


def csv_line(cells: Iterable[str]) -> str:
    """A line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3f}"


def place_of(track_id: str, folder: Path, task: str, ids: frozenset[str]) -> Path:
    """Where the file of a track goes: its id with another ending, in the same folders.

    Tracks that differ in their endings alone keep them, so that none replaces another.

    Raises
    ------
    UsageError
        If the id leads out of the folder.
    """
    path = PurePosixPath(track_id)
    if path.is_absolute():
        path = PurePosixPath(*path.parts[1:])
    if ".." in path.parts:
        raise UsageError(f"track {track_id!r} leads out of {folder}; -o FILE.csv takes it")
    stem = path.with_suffix("") if path.suffix else path
    name = path.name if str(stem) in ids else stem.name
    return folder / path.parent / f"{name}{ENDINGS[task]}"


def shared_stems(ids: Iterable[str]) -> frozenset[str]:
    """Ids without their endings, of which there are several."""
    seen: set[str] = set()
    several: set[str] = set()
    for track_id in ids:
        path = PurePosixPath(track_id.lstrip("/"))
        stem = str(path.with_suffix("") if path.suffix else path)
        (several if stem in seen else seen).add(stem)
    return frozenset(several)
