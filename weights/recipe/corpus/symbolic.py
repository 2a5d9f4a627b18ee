"""Three collections of scores and performances: folk tunes, art songs, drums.

- Nottingham: folk tunes as melody and chords (Jukedeck's cleaning of the Nottingham Music Database,
  GPL-3). The file's name begins with the kind of tune.
- OpenScore's Lieder: songs for voice and piano (CC0). Chords and keys are not known.
- Groove: drums as they were played to a metronome (Gillick et al., "Learning to groove with inverse
  sequence transformations", ICML 2019, CC BY 4.0). Fills, and what is too short, are left out.

A song's number is its place among its collection's files by name, and decides its split.
"""

from __future__ import annotations

import csv
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from mido import MidiFile

from weights.recipe.corpus.freedoom import grid_of, role_of
from weights.recipe.corpus.harte import PITCH_NAMES, QUALITIES
from weights.recipe.corpus.midi import MidiTrack, bar_and_beat_ticks, read_tracks
from weights.recipe.corpus.song import Song, Span, Track
from weights.recipe.corpus.split import wanted

ARCHIVE = "symbolic.tar.xz"
SHORTEST = 15.0  # s
TOGETHER = 0.02  # s; notes that begin so close are one chord
#: What Roland's electronic kit plays that General MIDI has not, or has elsewhere.
KIT_KEYS = {22: 42, 26: 46, 58: 43, 40: 38}
INFO = "symbolic/groove-midi/info.csv"

Files = dict[str, bytes]
Read = Callable[[int, str, MidiFile], Song]


def nottingham_songs(data: Path, split: str) -> Iterator[Song]:
    """Folk tunes of a split."""
    files = _files(data / ARCHIVE, r"symbolic/nottingham/MIDI/(\w.*)\.mid")
    return _long_enough(files, split, tune_of_midi)


def tune_of_midi(number: int, name: str, midi: MidiFile) -> Song:
    """Build a song from a file of a melody and its chords."""
    melody, *harmony = [part for part in read_tracks(midi) if len(part.notes)]
    grid = grid_of(midi, compound=True)
    chords = chords_of(harmony[0].notes) if harmony else None
    ends = [float(part.notes["offset"].max()) for part in (melody, *harmony)]
    kind = re.sub(r"[\d-].*", "", name)
    return Song(
        source="nottingham",
        number=number,
        title=name,
        style="reels" if kind.startswith("reels") else kind,
        tracks=(Track("melody", melody.notes), *(Track("chords", h.notes) for h in harmony[:1])),
        grid=grid,
        start=float(grid.beats[0]),
        end=min(max(ends), float(grid.beats[-1])),
        chords=chords,
        # Written parts are in twos and threes of a beat, not in a jig's sixths of a bar.
        accompanied=_is_compound(midi),
    )


def chords_of(notes: np.ndarray) -> tuple[Span, ...]:
    """Harte labels of notes (n,) that are struck together, each until the next."""
    onsets = notes["onset"]
    firsts = np.flatnonzero(np.diff(onsets, prepend=-np.inf) > TOGETHER)
    groups = np.split(notes, firsts[1:])
    starts = [float(group["onset"][0]) for group in groups]
    ends = [float(group["offset"].max()) for group in groups]
    stops = [min(end, start) for end, start in zip(ends, [*starts[1:], np.inf], strict=True)]
    labels = [_label(group["pitch"]) for group in groups]
    return tuple(Span(*row) for row in zip(starts, stops, labels, strict=True))


def _label(pitches: np.ndarray) -> str:
    """The chord of pitches, its root the lowest if that makes one."""
    found = {int(pitch) % 12 for pitch in pitches}
    for root in [int(pitches.min()) % 12, *sorted(found)]:
        above = {(pitch - root) % 12 for pitch in found}
        for quality, tones in QUALITIES.items():
            if above == set(tones):
                return f"{PITCH_NAMES[root]}:{quality}"
    return "X"


def lieder_songs(data: Path, split: str) -> Iterator[Song]:
    """Songs for voice and piano of a split."""
    files = _files(data / ARCHIVE, r"symbolic/lieder/(.+)/[^/]+\.mid")
    return _long_enough(files, split, lied_of_midi)


def lied_of_midi(number: int, name: str, midi: MidiFile) -> Song:
    """Build a song from a score of voices and a piano."""
    parts = [part for part in read_tracks(midi) if len(part.notes)]
    grid = grid_of(midi, compound=True)
    last = max(float(part.notes["offset"].max()) for part in parts)
    return Song(
        source="lieder",
        number=number,
        title=name,
        style="lied",
        tracks=tuple(Track(role_of(part), part.notes, part.program, part.pedal) for part in parts),
        grid=grid,
        start=float(grid.beats[0]),
        end=min(last, float(grid.beats[-1])),
    )


def groove_songs(data: Path, split: str) -> Iterator[Song]:
    """Drum performances of a split."""
    files = _files(data / ARCHIVE, r"symbolic/groove-midi/(.+\.mid|info\.csv)")
    rows = list(csv.DictReader(io.StringIO(files.pop("info.csv").decode())))
    played = {row["midi_filename"]: row for row in rows if row["beat_type"] == "beat"}
    for number, name in _numbered(played):
        if wanted(number, split) and float(played[name]["duration"]) >= SHORTEST:
            style = played[name]["style"].partition("/")[0]
            yield groove_of_midi(number, name, style, _midi(files[name]))


def groove_of_midi(number: int, name: str, style: str, midi: MidiFile) -> Song:
    """Build a song from a performance on drums."""
    part = _joined(read_tracks(midi))
    grid = grid_of(midi, compound=True)
    return Song(
        source="groove",
        number=number,
        title=name,
        style=style,
        tracks=(Track("drums", part),),
        grid=grid,
        start=float(grid.beats[0]),
        end=min(float(part["offset"].max()), float(grid.beats[-1])),
    )


def _joined(parts: list[MidiTrack]) -> np.ndarray:
    """All notes as one part, on General MIDI's keys."""
    notes = np.concatenate([part.notes for part in parts])
    notes["pitch"] = [KIT_KEYS.get(int(pitch), int(pitch)) for pitch in notes["pitch"]]
    return np.asarray(notes[np.lexsort((notes["pitch"], notes["onset"]))])


def _is_compound(midi: MidiFile) -> bool:
    return bar_and_beat_ticks(midi) != bar_and_beat_ticks(midi, compound=True)


def _midi(content: bytes) -> MidiFile:
    return MidiFile(file=io.BytesIO(content))


def _long_enough(files: Files, split: str, read: Read) -> Iterator[Song]:
    """Songs of a split, as they are read from their files."""
    for number, name in _numbered(files):
        if wanted(number, split):
            song = read(number, name, _midi(files[name]))
            if song.end - song.start >= SHORTEST:
                yield song


def _numbered(names: Iterable[str]) -> list[tuple[int, str]]:
    """Names with their numbers, in an order that has all kinds among the first."""
    return sorted(enumerate(sorted(names), 1), key=lambda pair: zlib.crc32(pair[1].encode()))


def _files(archive: Path, pattern: str) -> Files:
    """Content of the archive's files whose name matches, by the pattern's group."""
    files: Files = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            found = re.fullmatch(pattern, member.name)
            stream = tar.extractfile(member) if found and member.isfile() else None
            if found and stream:
                files[found[1]] = stream.read()
    return files
