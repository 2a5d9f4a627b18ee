"""Ground truth of renders in the forms that `vit1dx probe` takes: files over time, and a table."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.probes.collection import LOCAL_FIT, Render

TABLE = "tracks.csv"
COLUMNS = (
    *("track", "split", "song", "source", "instruments", "key", "tempo"),
    *("style", "tune", "drumming"),
)
STYLED = {"composed": "style", "nottingham": "tune", "groove": "drumming"}  # column by source
SLOWEST = (80, 100, 120, 140)  # beats a minute, between classes of tempo

Truth = dict[str, Any]
Lines = Iterable[Sequence[object]]


def write_labels(local: Iterable[Render], everything: Iterable[Render], folder: Path) -> Path:
    """Write files of `local` renders, a folder a task, and a table of all; give the table."""
    shutil.rmtree(folder, ignore_errors=True)  # those of an earlier, larger share
    for render in local:
        truth = render.labels()
        for task, (ending, lines) in FILES.items():
            _write(lines(truth), folder / task / f"{render.id}{ending}")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / TABLE).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(_row(render, render.labels()) for render in everything)
    return folder / TABLE


def _write(lines: Lines, path: Path) -> None:
    """Write a file, unless nothing is known."""
    text = "".join("\t".join(map(str, line)) + "\n" for line in lines)
    if text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _spans(name: str) -> Callable[[Truth], Lines]:
    return lambda truth: truth[name] or ()


def _events(name: str, *more: object) -> Callable[[Truth], Lines]:
    return lambda truth: [(time, *more) for time in truth[name] or ()]


def notes_of(truth: Truth) -> Lines:
    """Start, end and MIDI number of notes, drums left out."""
    notes, voices = truth["notes"], truth["voices"]
    columns = (notes[name] for name in ("onset", "offset", "pitch", "voice"))
    return [
        (onset, offset, pitch)
        for onset, offset, pitch, voice in zip(*columns, strict=True)
        if not voices[voice]["drums"]
    ]


#: Ending and lines of files over time, by task.
FILES: dict[str, tuple[str, Callable[[Truth], Lines]]] = {
    "chords": (".lab", _spans("chords")),
    "keys": (".lab", _spans("keys")),
    "beats": (".beats", _events("beats")),
    "downbeats": (".beats", _events("downbeats", 1)),
    "onsets": (".onsets", _events("onsets")),
    "notes": (".notes", notes_of),
}


def _row(render: Render, truth: Truth) -> list[str]:
    """A row of the table; other sources say no style that a probe could learn.

    Tunes and drums are for tasks of their own, so that figures of the others stay comparable.
    """
    row = {"track": render.id, "split": render.split, "song": render.song, "source": render.source}
    if render.source in LOCAL_FIT:
        families = sorted({family for family, _, _ in truth["instruments"]})
        row |= {"instruments": "|".join(families), "tempo": tempo_class(truth["tempo"])}
        row["key"] = truth["key"] or ""
    if render.source in STYLED:
        row[STYLED[render.source]] = truth["style"]
    return [row.get(column, "") for column in COLUMNS]


def tempo_class(tempo: float | None) -> str:
    """Class of a tempo in beats a minute; nothing where it is not known."""
    if tempo is None:
        return ""
    above = [f"over {bound}" for bound in SLOWEST if tempo > bound]
    return above[-1] if above else f"to {SLOWEST[0]}"
