"""POP909: Chinese pop songs as piano arrangements, aligned with chords, beats and keys.

Wang et al., "POP909: a pop-song dataset for music arrangement generation" (ISMIR 2020), MIT
licence. A song's folder holds NNN.mid (tracks MELODY, BRIDGE, PIANO), chord_midi.txt (start, end,
Harte label, tiling time), beat_midi.txt (time, then 1 where a bar begins, counted in bars of two or
three beats in the second column and of four or six in the third) and key_audio.txt (start, end,
key).
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mido import MidiFile

from weights.recipe.corpus.harte import transpose
from weights.recipe.corpus.midi import MidiTrack, read_tracks
from weights.recipe.corpus.song import Grid, Song, Span, Track
from weights.recipe.corpus.split import wanted

ARCHIVE = "pop909.tar.xz"
ROLE_OF_TRACK = {"MELODY": "melody", "BRIDGE": "counter", "PIANO": "chords"}
TRIPLE = 3


def pop909_songs(data: Path, split: str) -> Iterator[Song]:
    """Read the archive's songs of a split, by rising number."""
    folders = _read_folders(data / ARCHIVE)
    for number in sorted(folders):
        if wanted(number, split):
            yield song_of_files(number, folders[number])


def song_of_files(number: int, files: dict[str, bytes]) -> Song:
    """Build a song from the bytes of its folder's files, by file name."""
    chords = _spans(files["chord_midi.txt"])
    midi = read_tracks(MidiFile(file=io.BytesIO(files[f"{number:03d}.mid"])))
    grid = read_grid(files["beat_midi.txt"])
    return Song(
        source="pop909",
        number=number,
        title=f"{number:03d}",
        style="pop",
        tracks=tuple(_track(part) for part in midi if len(part.notes)),
        grid=grid,
        start=float(max(chords[0].start, grid.beats[0])),
        end=float(min(chords[-1].end, grid.beats[-1])),
        chords=chords,
        keys=_spans(files["key_audio.txt"]),
        accompanied=False,
    )


def read_grid(content: bytes) -> Grid:
    """Read beats, choosing the column of bars that holds the song's metre.

    Bars of three are read from the second column: in those songs chords change on about 85 % of its
    bars' first beats and on 50 % of the six-beat ones. Else the third is read: on 99 % of its
    downbeats, averaged over songs, a chord begins, on 48 % of third beats.
    """
    rows = np.loadtxt(io.BytesIO(content))
    short, long = (np.flatnonzero(rows[:, column]) for column in (1, 2))
    triple = np.median(np.diff(short)) == TRIPLE
    return Grid(rows[:, 0], short if triple else long)


def _read_folders(archive: Path) -> dict[int, dict[str, bytes]]:
    folders: dict[int, dict[str, bytes]] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            found = re.fullmatch(r"pop909/(\d{3})/(.+)", member.name)
            stream = tar.extractfile(member) if found and member.isfile() else None
            if found and stream:
                folders.setdefault(int(found[1]), {})[found[2]] = stream.read()
    return folders


def _spans(content: bytes) -> tuple[Span, ...]:
    rows = (line.split() for line in content.decode().splitlines() if line.strip())
    return tuple(Span(float(a), float(b), transpose(label, 0)) for a, b, label in rows)


def _track(part: MidiTrack) -> Track:
    return Track(ROLE_OF_TRACK[part.name], part.notes, pedal=part.pedal)
