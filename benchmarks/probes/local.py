"""Local tasks (claim C2): linear probes on frames, for chords, keys, beats, onsets and notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.probes.collection import Memory, Render
from benchmarks.probes.events import Counts
from benchmarks.probes.linear import EXCLUDED, Probe, fit_classes, fit_tags
from benchmarks.probes.scores import Scores
from benchmarks.probes.systems import CONFIG, with_context
from benchmarks.probes.truth import CHORD_CLASSES, KEY_CLASSES, Truth
from vit1dx.analysis.peaks import peaks

RATE = CONFIG.mel.frame_rate
EVENTS = {"beats": 0.07, "downbeats": 0.07, "onsets": 0.05}  # s of tolerance
TASKS = ("chords", "local key", *EVENTS, "notes")
CONTEXTS = ("frame", "0.5 s")
EVERY = 6  # frames between those that a probe is fitted on
FITTED_SHARE = 0.75  # of the songs; the others choose thresholds
HEIGHTS = tuple(np.round(np.arange(0.0, 2.4, 0.3), 1))
NOTE_LOGITS = tuple(np.round(np.arange(-2.0, 1.0, 0.25), 2))


@dataclass
class Frames:
    """A render's frames and truth, ready for probes.

    Attributes
    ----------
    features : (time, dim) array
    chords, keys : (time,) arrays of classes
    tags : (time, outputs) array
        A column for each of `EVENTS`, then the notes.
    truth : Truth
    source : str
    """

    features: np.ndarray
    chords: np.ndarray
    keys: np.ndarray
    tags: np.ndarray
    truth: Truth
    source: str


def read(memory: Memory, system: str, name: str, context: str, render: Render) -> Frames:
    """A render's frames of one feature."""
    features = memory.read(system, render, "frames", name)
    if context != "frame":
        features = with_context(features)
    n, truth = len(features), render.truth
    events = [truth.event_frames(event, n)[:, None] for event in EVENTS]
    tags = np.concatenate([*events, truth.notes(n)], axis=1)
    return Frames(features, truth.chords(n), truth.keys(n), tags, truth, render.source)


def measure(
    memory: Memory,
    system: str,
    name: str,
    context: str,
    fit: Sequence[Render],
    test: Sequence[Render],
    seeds: int,
) -> list[Scores]:
    """Score one feature on every task; each seed draws songs and frames to fit.

    Returns
    -------
    list of Scores
        Accuracy of chords (25 classes, by duration) and of the local key (24); F of beats and
        downbeats (70 ms), onsets (50 ms) and notes (frames).
    """
    torch.set_num_threads(1)
    fitted = [read(memory, system, name, context, render) for render in fit]
    tested = [read(memory, system, name, context, render) for render in test]
    return [_score(fitted, tested, np.random.default_rng(seed)) for seed in range(seeds)]


def _score(fit: list[Frames], test: list[Frames], rng: np.random.Generator) -> Scores:
    order = [fit[i] for i in rng.permutation(len(fit))]
    part = round(FITTED_SHARE * len(order))
    fitted, held_out = order[:part], order[part:]
    offset = int(rng.integers(EVERY))

    def rows(name: str) -> np.ndarray:
        return np.concatenate([getattr(track, name)[offset::EVERY] for track in fitted])

    features = rows("features")
    chords = fit_classes(features, rows("chords"), CHORD_CLASSES)
    keys = fit_classes(features, rows("keys"), KEY_CLASSES)
    tags = fit_tags(features, rows("tags"))
    before, after = ([(t, tags.logits(t.features)) for t in group] for group in (held_out, test))
    choices = _choices(before)
    return Scores(
        held_out=_classes(chords, keys, held_out) | _tag_scores(before, choices),
        test=_classes(chords, keys, test) | _tag_scores(after, choices),
    )


def _classes(chords: Probe, keys: Probe, tracks: list[Frames]) -> dict[str, float]:
    sources = sorted({track.source for track in tracks if (track.chords != EXCLUDED).any()})
    by_source = {
        f"chords, {source}": _accuracy(chords, [t for t in tracks if t.source == source], "chords")
        for source in sources
    }
    return {
        "chords": _accuracy(chords, tracks, "chords"),
        **by_source,
        "local key": _accuracy(keys, tracks, "keys"),
    }


def _accuracy(probe: Probe, tracks: Sequence[Frames], kind: str) -> float:
    hits = known = 0
    for track in tracks:
        truth = getattr(track, kind)
        rows = truth != EXCLUDED
        if rows.any():
            hits += int((probe.classes(track.features[rows]) == truth[rows]).sum())
            known += int(rows.sum())
    return hits / known


Scored = list[tuple[Frames, np.ndarray]]


def _choices(tracks: Scored) -> dict[str, float]:
    """The height of a peak, or the logit of a note, that serves each task best."""
    heights = {
        event: max(HEIGHTS, key=lambda h: _event_f(tracks, column, event, h))
        for column, event in enumerate(EVENTS)
    }
    return {**heights, "notes": max(NOTE_LOGITS, key=lambda logit: _note_f(tracks, logit))}


def _tag_scores(tracks: Scored, choices: dict[str, float]) -> dict[str, float]:
    events = {
        event: _event_f(tracks, column, event, choices[event])
        for column, event in enumerate(EVENTS)
    }
    return {**events, "notes": _note_f(tracks, choices["notes"])}


def _event_f(tracks: Scored, column: int, event: str, height: float) -> float:
    counts = Counts()
    for track, logits in tracks:
        times = track.truth.events(event)
        if times is not None:
            activation = 1 / (1 + np.exp(-logits[:, column]))
            counts.add(times, peaks(activation, height, RATE), EVENTS[event])
    return counts.f_measure


def _note_f(tracks: Scored, least: float) -> float:
    hits = estimated = true = 0
    for track, logits in tracks:
        found, sounding = logits[:, len(EVENTS) :] >= least, track.tags[:, len(EVENTS) :] > 0
        hits += int((found & sounding).sum())
        estimated += int(found.sum())
        true += int(sounding.sum())
    return 2 * hits / (estimated + true) if estimated + true else 0.0
