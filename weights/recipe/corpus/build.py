"""The whole corpus: every rendition of every song, in parallel, each file written once."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import soundfile

from vit1dx.whole import whole
from weights.recipe.corpus.fluidsynth import RenderError, Synth
from weights.recipe.corpus.labels import (
    AUDIO_SUFFIX,
    LABELS_SUFFIX,
    labels_of,
    read_labels,
    write_labels,
)
from weights.recipe.corpus.render import SAMPLE_RATE, render
from weights.recipe.corpus.rendition import Plan, draw_rendition
from weights.recipe.corpus.song import Song
from weights.recipe.corpus.split import role_of

MANIFEST = "manifest.jsonl"
FAILURES = "failures.jsonl"
QUEUED_PER_WORKER = 4
SUMMARY = ("song", "source", "number", "split", "style", "duration", "tempo", "key")


@dataclass(frozen=True)
class Job:
    """One render to make."""

    song: Song
    index: int
    plan: Plan
    out: Path
    data: Path
    synth: Synth = field(default_factory=Synth)

    def path(self, suffix: str) -> Path:
        """File of the render that has a suffix."""
        return self.out / (self.plan.name_of(self.song, self.index) + suffix)


@dataclass(frozen=True)
class Outcome:
    """What became of a job: `reason` says why it failed, and is None where it did not."""

    song: str
    index: int
    reason: str | None = None


def jobs_of(
    songs: Iterable[Song], renditions: int, plan: Plan, out: Path, data: Path
) -> Iterator[Job]:
    """Jobs of songs, the first renditions of all songs before the second ones."""
    known = list(songs)
    return (Job(song, index, plan, out, data) for index in range(renditions) for song in known)


def do(job: Job) -> Outcome:
    """Make one render, unless it is there. A render that exists is whole: labels are moved last."""
    try:
        if not job.path(LABELS_SUFFIX).exists():
            _write(job)
    except (RenderError, ValueError) as error:
        return Outcome(job.song.identifier, job.index, str(error))
    return Outcome(job.song.identifier, job.index)


def _write(job: Job) -> None:
    rendition = draw_rendition(job.song, job.index, job.plan)
    sound = render(rendition, job.data, job.plan.seed, job.synth)
    with whole(job.path(LABELS_SUFFIX)) as labels, whole(job.path(AUDIO_SUFFIX)) as audio:
        soundfile.write(audio, sound, SAMPLE_RATE, subtype="PCM_16", format="FLAC")
        write_labels(labels_of(rendition, job.plan.seed), labels)


def build(jobs: Iterator[Job], workers: int) -> Iterator[Outcome]:
    """Do jobs in `workers` processes, giving outcomes as they come; few jobs wait at a time."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context)
    try:
        running = {pool.submit(do, job) for job in islice(jobs, workers * QUEUED_PER_WORKER)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(do, job) for job in islice(jobs, len(done))}
            yield from map(Future.result, done)
    finally:
        pool.shutdown(cancel_futures=True)


def write_manifest(out: Path, label: str = "") -> int:
    """List every render in the folder, by name, in one JSON line each; return how many.

    The list is what `vit1dx train --groups` takes. With a label, that is the source, and it comes
    before the names of songs and ensembles.
    """
    paths = sorted(out.glob(f"*{LABELS_SUFFIX}"))
    rows = ({**row, **_labelled(row, label)} for row in map(_row, paths))
    write_lines(out / MANIFEST, rows)
    return len(paths)


def _labelled(row: dict[str, Any], label: str) -> dict[str, Any]:
    names = {key: f"{label}:{row[key]}" for key in ("song", "ensemble")}
    return {"source": label, **names} if label else {}


def _row(path: Path) -> dict[str, Any]:
    labels = read_labels(path)
    audio = path.name.removesuffix(LABELS_SUFFIX) + AUDIO_SUFFIX
    made = {
        key: labels["render"][key] for key in ("index", "aligned_group", "ensemble", "soundfont")
    }
    summary = {**{key: labels[key] for key in SUMMARY}, "split": role_of(labels["number"])}
    size = (path.parent / audio).stat().st_size
    return {"audio": audio, "labels": path.name, **summary, **made, "bytes": size}


def write_failures(out: Path, failed: Iterable[Outcome]) -> None:
    """List what could not be rendered in the last run, and why."""
    ordered = sorted(failed, key=lambda outcome: (outcome.song, outcome.index))
    write_lines(out / FAILURES, (vars(outcome) for outcome in ordered))


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as JSON lines, all or none."""
    with whole(path) as unfinished:
        unfinished.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
