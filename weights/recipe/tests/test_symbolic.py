"""Folk tunes, art songs and drums: what is read of them fits what is played."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from mido import Message, MetaMessage, MidiFile, MidiTrack

from weights.recipe import DEFAULT_DATA
from weights.recipe.corpus.harte import pitch_classes
from weights.recipe.corpus.midi import bar_and_beat_ticks
from weights.recipe.corpus.rendition import Plan, draw_rendition
from weights.recipe.corpus.song import Song, Span, note_array
from weights.recipe.corpus.symbolic import (
    ARCHIVE,
    SHORTEST,
    chords_of,
    groove_songs,
    lieder_songs,
    nottingham_songs,
    tune_of_midi,
)

TICKS = 480

needs_scores = pytest.mark.skipif(
    not (DEFAULT_DATA / ARCHIVE).exists(), reason=f"no {ARCHIVE} in {DEFAULT_DATA}"
)


def test_chords_are_named_by_their_notes() -> None:
    struck = [
        (0.0, 1.0, (43, 47, 50)),  # G
        (1.0, 2.0, (45, 49, 52, 55)),  # A7
        (2.0, 3.0, (47, 50, 55)),  # G over B: no chord has B for a root
        (3.5, 4.0, (44, 45, 46)),  # none that has a name
    ]
    notes = note_array((a + 0.01 * (p % 2), b, p, 90) for a, b, chord in struck for p in chord)
    labels = [span.label for span in chords_of(notes)]
    assert labels == ["G:maj", "A:7", "G:maj", "X"]
    times = [(span.start, span.end) for span in chords_of(notes)]
    np.testing.assert_allclose(times, [(0, 1), (1, 2), (2, 3), (3.5, 4)], atol=0.02)


def _midi(numerator: int, denominator: int) -> MidiFile:
    """Two bars of eighths, and a chord held under each."""
    signature = MetaMessage("time_signature", numerator=numerator, denominator=denominator)
    eighths = 2 * numerator * 8 // denominator
    melody = MidiTrack([signature])
    for _ in range(eighths):
        melody.append(Message("note_on", note=74, velocity=90))
        melody.append(Message("note_off", note=74, time=TICKS // 2))
    harmony = MidiTrack()
    for root in (43, 45):
        chord = [root, root + 4, root + 7]
        harmony += [Message("note_on", note=note, velocity=90) for note in chord]
        length = eighths // 2 * TICKS // 2
        harmony += [
            Message("note_off", note=n, time=0 if i else length) for i, n in enumerate(chord)
        ]
    midi = MidiFile(ticks_per_beat=TICKS)
    midi.tracks += [melody, harmony]
    return midi


@pytest.mark.parametrize(
    ("metre", "beats_a_bar", "beat"),
    [((4, 4), 4, 0.5), ((3, 4), 3, 0.5), ((6, 8), 2, 0.75), ((9, 8), 3, 0.75), ((3, 8), 3, 0.25)],
)
def test_beats_are_felt_as_the_metre_has_them(
    metre: tuple[int, int], beats_a_bar: int, beat: float
) -> None:
    midi = _midi(*metre)
    tune = tune_of_midi(1, "jigs12", midi)
    assert tune.grid.period == pytest.approx(beat)
    assert tune.grid.bars()[0] == (0, beats_a_bar)
    assert tune.accompanied == (beat == 0.75)
    assert tune.style == "jigs"
    bar = beats_a_bar * beat
    assert tune.chords == (Span(0, bar, "G:maj"), Span(bar, 2 * bar, "A:maj"))
    every_unit = bar_and_beat_ticks(midi)[1]
    assert len(every_unit) >= 2 * metre[0]


@pytest.fixture(scope="module")
def tunes() -> list[Song]:
    return list(nottingham_songs(DEFAULT_DATA, "test"))


@needs_scores
def test_tunes_fit_their_chords_and_bars(tunes: list[Song]) -> None:
    assert len(tunes) == 103
    assert all(song.number % 10 == 0 for song in tunes)
    assert len({song.style for song in tunes}) == 9
    assert _share_in_chords(tunes, 0.0) > _share_in_chords(tunes, 1.0) + 0.1
    at = np.concatenate(
        [song.grid.position(np.array([c.start for c in song.chords or ()])) for song in tunes]
    )
    assert np.mean(np.abs(at - np.round(at)) < 0.01) > 0.9  # chords change on beats
    first = [
        np.isin(np.round(song.grid.position(c.start)), song.grid.downbeats)
        for song in tunes
        for c in song.chords or ()
    ]
    expected = np.mean([len(s.grid.downbeats) / len(s.grid.beats) for s in tunes])
    assert np.mean(first) > 1.3 * expected


def _share_in_chords(songs: list[Song], later: float) -> float:
    """Of melody notes that begin in a chord, how many are of it; chords moved by some beats."""
    inside = []
    for song in songs:
        (melody, *_) = song.tracks
        for chord in song.chords or ():
            start, end = (t + later * song.grid.period for t in chord[:2])
            onsets = melody.notes["onset"]
            pitches = melody.notes["pitch"][(onsets >= start) & (onsets < end)]
            if ":" in chord.label:
                inside += [int(p) % 12 in pitch_classes(chord.label) for p in pitches]
    return float(np.mean(inside))


@needs_scores
def test_drums_keep_to_their_beats() -> None:
    songs = list(groove_songs(DEFAULT_DATA, "train"))
    assert len(songs) > 300
    assert Counter(song.style for song in songs).most_common(1)[0][0] == "rock"
    assert all(song.end - song.start >= SHORTEST - 1 for song in songs)
    near = []
    for song in songs:
        hits = 4 * song.grid.position(song.tracks[0].notes["onset"])
        near.append(np.mean(np.abs(hits - np.round(hits)) < 0.25))  # by chance 0.5
    assert np.median(near) > 0.65
    keys = {int(key) for song in songs for key in song.tracks[0].notes["pitch"]}
    assert keys <= set(range(35, 82))  # of General MIDI


@needs_scores
def test_every_collection_can_be_played() -> None:
    plan = Plan(0, 20.0, ("TimGM6mb",), aligned=2, shared_drums=0.5)
    for songs_of in (nottingham_songs, lieder_songs, groove_songs):
        for song in islice(songs_of(DEFAULT_DATA, "test"), 12):
            for index in range(2):
                rendition = draw_rendition(song, index, plan)
                assert sum(len(voice.notes) for voice in rendition.voices) > 5
                drums_alone = song.source == "groove"
                assert all(voice.is_drums for voice in rendition.voices) == drums_alone
