"""Features of systems by `vit1dx extract`, and probes of them by `vit1dx probe`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile
import torch

from benchmarks.probes.collection import Render
from benchmarks.probes.labels import TABLE
from benchmarks.probes.systems import CONFIG
from vit1dx import extract
from vit1dx.config import Config
from vit1dx.model.vit import ViT1D, save
from vit1dx.model.weights import read_info
from vit1dx.probe.options import Baselines, ProbeOptions
from vit1dx.probe.run import probe
from vit1dx.whole import whole

EVERY = 6  # frames between those that a probe is fitted on
Report = dict[str, Any]  # as `vit1dx.probe.report.Report.to_dict` has it


@dataclass(frozen=True)
class Task:
    """A task as tables show it.

    Parameters
    ----------
    options : dict
        Of `ProbeOptions`.
    says : str
        What the first score is.
    labels : str
        File or folder, in that of labels.
    tokens : str
        Which features it is probed on: "sequence" or "whole".
    """

    options: dict[str, Any]
    says: str
    labels: str = TABLE
    tokens: str = "whole"


def _over_time(task: str, says: str) -> Task:
    options = {"task": task, "split_column": "split", "group_by": "song"}
    return Task(options, says, task, "sequence")


def _of_tracks(task: str, column: str, says: str) -> Task:
    options = {"task": task, "label_column": column, "separator": "|"}
    return Task({**options, "split_column": "split", "group_by": "song"}, says)


LOCAL = {
    "chords": _over_time("chords", "share of time, majmin"),
    "local key": _over_time("keys", "MIREX's weighted score, by time"),
    "beats": _over_time("beats", "F, 70 ms, mean of tracks"),
    "downbeats": _over_time("downbeats", "F, 70 ms, mean of tracks"),
    "onsets": _over_time("onsets", "F, 50 ms, mean of tracks"),
    "notes": _over_time("notes", "F of frames"),
}
WHOLE = {
    "instruments": _of_tracks("tags", "instruments", "mean average precision"),
    "key": _of_tracks("keys", "key", "MIREX's weighted score"),
    "tempo": _of_tracks("classes", "tempo", "accuracy of five classes"),
    "style": _of_tracks("classes", "style", "accuracy"),
    "tune kind": _of_tracks("classes", "tune", "accuracy"),
    "drum style": _of_tracks("classes", "drumming", "accuracy"),
}
ALBUMS = {
    "album": Task({"task": "classes", "label_column": "album"}, "accuracy, 5 folds"),
    "artist": Task(
        {"task": "tags", "label_column": "artist", "separator": "\0"},
        "mean average precision, 5 folds",
    ),
}
TASKS = {**LOCAL, **WHOLE, **ALBUMS}


def untrained(folder: Path, config: Config = CONFIG, seed: int = 0) -> Path:
    """Weights of a ViT-1D that has heard nothing."""
    path = folder / "untrained.safetensors"
    if not path.exists() or read_info(path).config != config:
        torch.manual_seed(seed)
        save(ViT1D(config), path, "untrained", trained=False)
    return path


def extracted(tracks: Iterable[tuple[str, Path]], out: Path, **options: Any) -> Path:
    """A feature file of tracks, by id and audio; what is in it already is not done again.

    Raises
    ------
    RuntimeError
        If a file cannot be used.
    """
    listed = out.with_suffix(".jsonl")
    rows = (json.dumps({"id": track_id, "path": str(audio)}) + "\n" for track_id, audio in tracks)
    listed.write_text("".join(rows))
    done = extract([], out, files_from=listed, attention="none", **options)
    if done.failures:
        raise RuntimeError(f"{len(done.failures)} files failed, first {done.failures[0]}")
    return out


def of_renders(renders: Iterable[Render]) -> list[tuple[str, Path]]:
    """Renders as `extracted` takes them."""
    return [(render.id, render.audio) for render in renders]


def probed(
    name: str, features: Path, labels: Path, seeds: int = 1, baselines: Baselines = "all"
) -> Report:
    """What `vit1dx probe` finds of features for a task."""
    task = TASKS[name]
    options = ProbeOptions(
        **task.options,
        track_column="track",
        metadata=labels / TABLE,
        seeds=seeds,
        frames=_frames(features.with_suffix(".jsonl")) if name in LOCAL else 1,
        baselines=baselines,
    )
    return probe(features, labels / task.labels, options)[0].to_dict()


def _frames(listed: Path) -> int:
    """How many frames one of `EVERY` is."""
    paths = (json.loads(line)["path"] for line in listed.read_text().splitlines())
    seconds = sum(soundfile.info(path).duration for path in paths)
    return round(seconds * CONFIG.mel.frame_rate / EVERY)


def own(report: Report, line: Report) -> dict[str, float | None]:
    """Mean and deviation of the task's own score, of a line of a report."""
    found: dict[str, float | None] = line["scores"][report["measures"][0]]
    return found


def token_lines(report: Report) -> list[Report]:
    """Lines of layers."""
    return [line for line in report["lines"] if line["layer"] is not None]


class Kept:
    """What was found, kept in a folder, so that nothing is measured twice.

    Parameters
    ----------
    folder : Path
    of : dict
        What it is of; what was found of anything else is measured again.
    """

    def __init__(self, folder: Path, of: dict[str, Any]) -> None:
        self._folder, self._of = folder, json.loads(json.dumps(of))

    def once(self, names: Sequence[str], job: Callable[[], Any]) -> Any:
        """What a job found, before or now."""
        path = self._folder / ("; ".join(names) + ".json")
        if path.exists() and (before := json.loads(path.read_text()))["of"] == self._of:
            return before["found"]
        found = job()
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as unfinished:
            unfinished.write_text(json.dumps({"of": self._of, "found": found}))
        return found
