"""Freedoom's game music: MIDI by many authors, for whole bands (BSD licence).

Beats come from the files' tempo and time signatures. Chords, keys and sections are not known.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from mido import MidiFile

from weights.recipe.corpus.midi import (
    DRUM_CHANNEL,
    MidiTrack,
    TempoMap,
    bar_and_beat_ticks,
    read_tracks,
)
from weights.recipe.corpus.orchestra import family_of
from weights.recipe.corpus.song import Grid, Song, Track
from weights.recipe.corpus.split import wanted

ARCHIVE = "freedoom-midi.tar.xz"
SHORTEST = 20.0  # s; jingles are left out
BASS_BELOW = 48  # median MIDI pitch
MELODY_ABOVE = 66
ON_GRID, OFF_GRID = 0.15, 0.6  # of a twelfth of a beat; share of notes on it, below which
# the file was played without regard to its own beats (two files are: at chance, 0.3 and 0.43)
CHORDS_FROM = 1.6  # notes that begin together, on average
HELD_FROM = 1.2  # s, median length
HELD_FAMILIES = frozenset({"ensemble", "synth pad", "strings", "synth effects"})

# A song's number keeps the number in its file's name, so that it decides the split.
NUMBERED: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], int]], ...] = (
    (re.compile(r"d_dm(\d\d)"), lambda found: 100 + int(found[1])),
    (re.compile(r"d_map(\d\d)"), lambda found: 200 + int(found[1])),
    (re.compile(r"d_e(\d)m(\d)"), lambda found: 300 + 10 * int(found[1]) + int(found[2])),
)
# Files without a number, in an order that must not change.
NAMED = (
    "d_bunny d_dm2int d_dm2ttl d_fdmint d_fdmrdm d_fdmttl d_inter d_intro d_introa d_read_m "
    "d_victor dummy"
).split()
NAMED_FROM = 401


def freedoom_songs(data: Path, split: str) -> Iterator[Song]:
    """Read the archive's songs of a split, by rising number; short ones are left out."""
    files = _read_files(data / ARCHIVE)
    for number, title in sorted((number_of(title), title) for title in files):
        if wanted(number, split):
            song = song_of_midi(number, title, MidiFile(file=io.BytesIO(files[title])))
            if song.end - song.start >= SHORTEST:
                yield song


def number_of(title: str) -> int:
    """Number of a song by its file's name without suffix."""
    for pattern, number in NUMBERED:
        if found := pattern.fullmatch(title):
            return number(found)
    if title not in NAMED:
        raise ValueError(f"file {title!r} is none of Freedoom's that are known")
    return NAMED_FROM + NAMED.index(title)


def song_of_midi(number: int, title: str, midi: MidiFile) -> Song:
    """Build a song from a file for a band."""
    parts = [part for part in read_tracks(midi) if len(part.notes)]
    grid = grid_of(midi)
    last = max(float(part.notes["offset"].max()) for part in parts)
    first = min(float(part.notes["onset"].min()) for part in parts)
    return Song(
        source="freedoom",
        number=number,
        title=title,
        style="game",
        tracks=tuple(Track(role_of(part), part.notes, part.program, part.pedal) for part in parts),
        grid=grid,
        start=max(first, float(grid.beats[0])),
        end=min(last, float(grid.beats[-1])),
        beats_known=keeps_time(parts, grid),
    )


def grid_of(midi: MidiFile, compound: bool = False) -> Grid:
    """Beats of a file, a beat being the unit of its time signature, or three where that is asked.

    A file without a time signature has beats of a quarter note, and its bars are not known.
    """
    bars, beats = bar_and_beat_ticks(midi, compound)
    times = TempoMap(midi).seconds(np.array(beats, dtype=float))
    return Grid(times, np.searchsorted(beats, bars))


def keeps_time(parts: list[MidiTrack], grid: Grid) -> bool:
    """Whether notes begin on the twelfths of the file's beats, and so its beats are heard."""
    twelfths = 12 * grid.position(np.concatenate([part.notes["onset"] for part in parts]))
    return bool(np.mean(np.abs(twelfths - np.round(twelfths)) < ON_GRID) >= OFF_GRID)


def role_of(part: MidiTrack) -> str:
    """Role of a track, from its channel, instrument, register and texture."""
    if part.channel == DRUM_CHANNEL:
        return "drums"
    family, middle = family_of(part.program), float(np.median(part.notes["pitch"]))
    if family == "bass" or middle < BASS_BELOW:
        return "bass"
    held = float(np.median(part.notes["offset"] - part.notes["onset"])) >= HELD_FROM
    if held and family in HELD_FAMILIES:
        return "pad"
    if len(part.notes) / len(np.unique(np.round(part.notes["onset"], 2))) >= CHORDS_FROM:
        return "chords"
    return "melody" if middle >= MELODY_ABOVE else "counter"


def _read_files(archive: Path) -> dict[str, bytes]:
    """Content of each different MIDI file, by name without suffix; copies keep the first name."""
    files: dict[str, bytes] = {}
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.name.endswith(".mid")]
        for member in sorted(members, key=lambda member: member.name):
            stream = tar.extractfile(member)
            content = stream.read() if stream else b""
            if content and content not in files.values():
                files[Path(member.name).stem] = content
    return files
