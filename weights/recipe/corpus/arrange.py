"""Fit a song to an ensemble: leave out parts that nobody plays, and write those that are missing.

Written parts follow the song's own chords and beats, so its labels stay true.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from weights.recipe.corpus.orchestra import Ensemble
from weights.recipe.corpus.parts import (
    ARPEGGIO_SHAPES,
    Bar,
    BeatChord,
    BeatNote,
    Score,
    arpeggio_part,
    bass_part,
    comp_part,
    drum_part,
    pad_part,
    perform_part,
)
from weights.recipe.corpus.patterns import BASSES, BEATS, COMPS, names_for
from weights.recipe.corpus.song import Song, Track

COMMON, TRIPLE = 4, 3
HARMONY = ("chords", "arpeggio", "pad")
WRITTEN = ("bass", "drums", "pad", "arpeggio")  # roles that can be written from labels
COMPED_SHARE = 0.3  # of renditions in which written comping replaces the source's chords
FAST_BEAT = 0.45  # s; faster beats get two arpeggio notes a beat, slower ones up to four
SECTION_BARS = 8  # where sections are not known, drums fill and crash at this period
SWINGS = (0.5, 0.5, 0.5, 0.58, 2 / 3)


def arrange(song: Song, ensemble: Ensemble, rng: np.random.Generator) -> Song:
    """Give a song the parts that an ensemble plays.

    Parameters
    ----------
    song : Song
        Songs that come with their whole band (`accompanied`) only lose parts.
    ensemble : Ensemble
        Who plays.
    rng : np.random.Generator
        Draws patterns; two draws are two arrangements of the same bars.

    Returns
    -------
    Song
        The same song and labels with other tracks; harmony always has a player.
    """
    if song.accompanied or not song.chords:
        return replace(song, tracks=_kept(song.tracks, ensemble, padded=False))
    tracks = list(_kept(song.tracks, ensemble, padded=ensemble.plays("pad")))
    score = score_of(song, float(rng.choice(SWINGS)))
    if ensemble.plays("chords") and rng.random() < COMPED_SHARE:
        tracks = [track for track in tracks if track.role != "chords"]
        tracks.append(_written("chords", score, rng))
    tracks += [_written(role, score, rng) for role in WRITTEN if ensemble.plays(role)]
    return replace(song, tracks=tuple(tracks))


def drums_of(song: Song, rng: np.random.Generator) -> Track | None:
    """A song's own drums, or some written for it; None where its harmony is not known either."""
    own = [track for track in song.tracks if track.role == "drums"]
    if own or not song.chords:
        return own[0] if own else None
    return _written("drums", score_of(song, float(rng.choice(SWINGS))), rng)


def _kept(tracks: tuple[Track, ...], ensemble: Ensemble, padded: bool) -> tuple[Track, ...]:
    """Tracks that have a player, and all harmony where none has and no pad will be written.

    A source's bass always plays: without it C:maj7 sounds as E:min, and the label would not hold.
    """
    kept = tuple(track for track in tracks if track.role == "bass" or ensemble.plays(track.role))
    if padded or any(track.role in HARMONY for track in kept):
        return kept
    # Drums that play alone have nobody to leave it to.
    return kept + tuple(track for track in tracks if track.role in HARMONY) or tracks


def score_of(song: Song, swing: float) -> Score:
    """Bars and chords of a song in beats; chord changes snap to a sixteenth of a beat."""
    return Score(song.grid, _bars(song), _beat_chords(song), swing)


def _bars(song: Song) -> tuple[Bar, ...]:
    return tuple(Bar(first, beats) for first, beats in song.grid.bars())


def _beat_chords(song: Song) -> tuple[BeatChord, ...]:
    spans = song.chords or ()
    edges = np.round(song.grid.position(np.array([span[:2] for span in spans])) * 16) / 16
    return tuple(
        BeatChord(float(start), float(end), span.label)
        for (start, end), span in zip(edges, spans, strict=True)
        if end > start
    )


def _metre(score: Score) -> int:
    lengths = [bar.beats for bar in score.bars]
    return TRIPLE if np.median(lengths) == TRIPLE else COMMON


def _written(role: str, score: Score, rng: np.random.Generator) -> Track:
    notes = _write(role, score, rng)
    return Track(role, perform_part(notes, score, rng))


def _write(role: str, score: Score, rng: np.random.Generator) -> list[BeatNote]:
    metre = _metre(score)
    if role == "bass":
        return bass_part(str(rng.choice(names_for(BASSES, metre))), score, rng)
    if role == "chords":
        return comp_part(str(rng.choice(names_for(COMPS, metre))), score, rng)
    if role == "drums":
        starts = frozenset(bar.first for bar in score.bars[::SECTION_BARS])
        return drum_part(str(rng.choice(names_for(BEATS, metre))), score, rng, starts)
    if role == "arpeggio":
        steps = 2 if score.grid.period < FAST_BEAT else int(rng.choice((2, 3, 4)))
        return arpeggio_part(str(rng.choice(ARPEGGIO_SHAPES)), steps, score, rng)
    return pad_part(score, rng)
