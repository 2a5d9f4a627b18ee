"""Ground truth of a render, on the render's own time axis."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from weights.recipe.corpus.harte import transpose
from weights.recipe.corpus.rendition import Rendition, Timeline, Voice, render_name
from weights.recipe.corpus.song import Floats, Span

FORMAT = "vit1dx-corpus-labels"
FORMAT_VERSION = 1
DECIMALS = 4  # of seconds
SAME_ONSET = 0.02  # s; onsets of several instruments closer than this are one
SAME_PASSAGE = 1.0  # s; an instrument that rests for less is still playing
AUDIO_SUFFIX, LABELS_SUFFIX = ".flac", ".json.gz"


def labels_path(audio: Path) -> Path:
    """Where the labels of a render's audio are."""
    return audio.with_name(audio.name.removesuffix(AUDIO_SUFFIX) + LABELS_SUFFIX)


def labels_of(rendition: Rendition, seed: int) -> dict[str, Any]:
    """All labels of a render, ready for JSON.

    Parameters
    ----------
    rendition : Rendition
        What was rendered.
    seed : int
        The corpus's seed.

    Returns
    -------
    dict
        `source`, `song`, `number`, `title`, `style`, `split`; `render` (how it was made);
        `duration` (s), `tempo` (beats a minute), `beats`, `downbeats`,
        `onsets` (s, ascending; beats are null where not known);
        `chords`, `keys`, `sections` (lists of [start, end, label], null where the source does not
        say); `key` (the longest); `voices` (instruments, by index); `instruments` (family, start,
        end); `notes` (columns onset, offset, pitch, velocity, voice).
    """
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **_identity(rendition),
        "render": _render_of(rendition, seed),
        "duration": _seconds(rendition.timeline.seconds),
        **_rhythm_of(rendition),
        **_harmony_of(rendition),
        "sections": _spans(rendition.song.sections, rendition.timeline, 0),
        "voices": [_voice(voice) for voice in rendition.voices],
        "instruments": _instruments(rendition.voices),
        "notes": _notes(rendition.voices),
    }


def _identity(rendition: Rendition) -> dict[str, Any]:
    song = rendition.song
    return {
        "source": song.source,
        "song": song.identifier,
        "number": song.number,
        "title": song.title,
        "style": song.style,
        "split": song.split,
    }


def _render_of(rendition: Rendition, seed: int) -> dict[str, Any]:
    timeline, ensemble = rendition.timeline, rendition.ensemble
    return {
        "id": render_name(rendition.song, rendition.group, rendition.index),
        "seed": seed,
        "index": rendition.index,
        "aligned_group": rendition.group,
        "start": _seconds(timeline.start),
        "transposition": timeline.semitones,
        "tempo_scale": round(timeline.tempo_scale, 6),
        "ensemble": ensemble.index,
        "soundfont": ensemble.soundfont,
        "sampled_drums": ensemble.sampled_kit and any(v.is_drums for v in rendition.voices),
        "reverb": [round(ensemble.room, 3), round(ensemble.reverb_level, 3)],
        "chorus": round(ensemble.chorus_level, 3),
        "level": round(rendition.level, 2),
    }


def _rhythm_of(rendition: Rendition) -> dict[str, Any]:
    grid = rendition.song.grid
    beats = _inside(grid.beats, rendition.timeline)
    bars = grid.beats[grid.downbeats]
    known = rendition.song.beats_known
    return {
        "tempo": round(60 / float(np.median(np.diff(beats))), 3) if known else None,
        "beats": beats if known else None,
        "downbeats": _inside(bars, rendition.timeline) if known and len(bars) else None,
        "onsets": merged_onsets(np.concatenate([v.notes["onset"] for v in rendition.voices])),
    }


def _harmony_of(rendition: Rendition) -> dict[str, Any]:
    song, timeline = rendition.song, rendition.timeline
    keys = _spans(song.keys, timeline, timeline.semitones)
    longest = max(keys, key=lambda span: span[1] - span[0], default=None) if keys else None
    return {
        "chords": _spans(song.chords, timeline, timeline.semitones),
        "keys": keys,
        "key": longest[2] if longest else None,
    }


def _spans(
    spans: tuple[Span, ...] | None, timeline: Timeline, semitones: int
) -> list[tuple[float, float, str]] | None:
    """Spans cut to the render; the same label twice running is one span."""
    if spans is None:
        return None
    edges = timeline.on_render(np.array([span[:2] for span in spans]))
    cut: list[tuple[float, float, str]] = []
    clipped = np.clip(edges, 0, timeline.seconds)
    for (start, end), span in zip(clipped, spans, strict=True):
        label = transpose(span.label, semitones) if semitones else span.label
        if end <= start:
            continue
        if cut and cut[-1][2] == label and start - cut[-1][1] < 1e-6:
            start = cut.pop()[0]
        cut.append((_seconds(start), _seconds(end), label))
    return cut


def merged_onsets(times: Floats) -> list[float]:
    """Onsets, ascending, those within `SAME_ONSET` of the first of a cluster being that one."""
    merged: list[float] = []
    for time in np.sort(times):
        if not merged or time - merged[-1] > SAME_ONSET:
            merged.append(float(time))
    return [_seconds(time) for time in merged]


def _inside(times: Floats, timeline: Timeline) -> list[float]:
    moved = timeline.on_render(times)
    return [_seconds(t) for t in moved[(moved >= 0) & (moved < timeline.seconds)]]


def _voice(voice: Voice) -> dict[str, Any]:
    return {
        "role": voice.role,
        "program": voice.program,
        "family": voice.family,
        "drums": voice.is_drums,
        "volume": voice.volume,
    }


def _instruments(voices: tuple[Voice, ...]) -> list[tuple[str, float, float]]:
    """(family, start, end) of passages in which an instrument family plays."""
    passages: list[tuple[str, float, float]] = []
    for family in sorted({voice.family for voice in voices}):
        notes = np.concatenate([v.notes for v in voices if v.family == family])
        passages += [(family, start, end) for start, end in _passages(np.sort(notes))]
    return passages


def _passages(notes: np.ndarray) -> list[tuple[float, float]]:
    if not len(notes):  # a part may rest for as long as is rendered
        return []
    reached = np.maximum.accumulate(notes["offset"])
    breaks = np.flatnonzero(notes["onset"][1:] - reached[:-1] > SAME_PASSAGE)
    firsts, lasts = np.append(0, breaks + 1), np.append(breaks, len(notes) - 1)
    ranges = zip(firsts, lasts, strict=True)
    return [(_seconds(notes["onset"][a]), _seconds(reached[b])) for a, b in ranges]


def _notes(voices: tuple[Voice, ...]) -> dict[str, list[Any]]:
    table = np.concatenate([voice.notes for voice in voices])
    owner = np.repeat(np.arange(len(voices)), [len(voice.notes) for voice in voices])
    order = np.lexsort((table["pitch"], owner, table["onset"]))
    columns = {name: table[name][order] for name in ("onset", "offset", "pitch", "velocity")}
    rounded = {name: _plain(values) for name, values in columns.items()}
    return {**rounded, "voice": owner[order].tolist()}


def _plain(values: np.ndarray) -> list[Any]:
    plain: list[Any] = values.tolist()
    return [_seconds(value) for value in plain] if values.dtype.kind == "f" else plain


def _seconds(time: float) -> float:
    return round(float(time), DECIMALS)


def write_labels(labels: dict[str, Any], path: Path) -> None:
    """Write labels so that the same labels give the same bytes."""
    text = json.dumps(labels, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def read_labels(path: Path) -> dict[str, Any]:
    """Read what `write_labels` wrote."""
    labels: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    if labels.get("format") != FORMAT or labels.get("format_version") != FORMAT_VERSION:
        raise ValueError(f"{path}: not labels of format {FORMAT} {FORMAT_VERSION}")
    return labels
