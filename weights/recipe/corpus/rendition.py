"""A rendition: one way to play a song (stretch, key, tempo, ensemble, mix), drawn by seed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np

from weights.recipe.corpus.arrange import arrange, drums_of
from weights.recipe.corpus.orchestra import (
    DECAYING,
    RANGE_OF_ROLE,
    Ensemble,
    draw_ensemble,
    draw_program,
    family_of,
)
from weights.recipe.corpus.samples import kit_notes
from weights.recipe.corpus.song import NOTE, Floats, Song, Track

SONG_STREAM, GROUP_STREAM = 2, 3  # apart from ensembles' stream, so that draws never coincide
TRANSPOSITIONS = range(-5, 7)
TEMPO_SCALES = (0.88, 1.14)
LEAD_IN = (0.05, 0.5)  # s of the render before the downbeat that it starts on
SHORTEST_RENDER = 10.0  # s
OWN_ORCHESTRATION_SHARE = 0.4  # of renditions of songs that come with programs of their own
PITCHED_CHANNELS = 15
DOUBLED_ROLES, DOUBLED_SHARE = ("melody", "counter", "bass"), 0.12  # played in octaves
RING = 0.02  # s of silence between two notes of one pitch, so that both are heard to start


@dataclass(frozen=True)
class Timeline:
    """What aligned renditions share: stretch, transposition and tempo.

    Parameters
    ----------
    start : float
        Where the render begins on the song's axis, in the song's seconds.
    seconds : float
        Length of the render.
    semitones : int
        Transposition.
    tempo_scale : float
        Above one plays faster: song seconds per render second.
    """

    start: float
    seconds: float
    semitones: int
    tempo_scale: float

    def on_render(self, seconds: Floats | float) -> Floats:
        """Render time of a time of the song."""
        return (np.asarray(seconds, dtype=float) - self.start) / self.tempo_scale


@dataclass(frozen=True)
class Voice:
    """One instrument of the render: its notes on the render's axis, and its mix.

    Parameters
    ----------
    role : str
        Role of the part.
    program : int
        General MIDI program, or drum kit where the role is "drums".
    notes : np.ndarray
        (n,) of `NOTE` in render seconds, sounding pitches.
    volume, pan, reverb, chorus : int
        MIDI controller values, 0 to 127.
    """

    role: str
    program: int
    notes: np.ndarray
    volume: int
    pan: int
    reverb: int
    chorus: int

    @property
    def is_drums(self) -> bool:
        """Whether pitches are percussion keys."""
        return self.role == "drums"

    @property
    def family(self) -> str:
        """General MIDI family, or "drums"."""
        return "drums" if self.is_drums else family_of(self.program)


@dataclass(frozen=True)
class Rendition:
    """A song as it will sound.

    Parameters
    ----------
    song : Song
        The song after arrangement; its labels are on its own axis.
    group, index : int
        The group of aligned renditions, and the rendition's number in the song.
    timeline : Timeline
        What the group shares.
    ensemble : Ensemble
        Sounds and effects.
    voices : tuple of Voice
        What is played, on the render's axis.
    level : float
        Loudness aimed at, RMS in dB of full scale.
    kit : int
        Number of the kit of recordings, where those play the drums.
    """

    song: Song
    group: int
    index: int
    timeline: Timeline
    ensemble: Ensemble
    voices: tuple[Voice, ...]
    level: float
    kit: int


def render_name(song: Song, group: int, index: int) -> str:
    """Name of the files of a render, without suffix."""
    return f"{song.identifier}-g{group}-r{index:02d}"


@dataclass(frozen=True)
class Plan:
    """What is the same for every render of a corpus.

    Parameters
    ----------
    seed : int
        Names the corpus: same seed, same bytes.
    seconds : float
        Length of a render, at most.
    soundfonts : tuple of str
        Names to choose from.
    ensembles : int
        How many orchestrations the corpus has; fewer are shared by more songs.
    aligned : int
        How many renditions of a song share a timeline.
    shared_drums : float
        Share of those groups in which all renditions have the same drums, of recordings.
    """

    seed: int
    seconds: float
    soundfonts: tuple[str, ...]
    ensembles: int = 96
    aligned: int = 3
    shared_drums: float = 0.0

    def group_of(self, index: int) -> int:
        """Group of aligned renditions that rendition `index` of a song belongs to."""
        return index // self.aligned

    def name_of(self, song: Song, index: int) -> str:
        """Name of the files of a render, without suffix."""
        return render_name(song, self.group_of(index), index)


def draw_rendition(song: Song, index: int, plan: Plan) -> Rendition:
    """Draw rendition `index` of a song; a function of its arguments alone."""
    group = plan.group_of(index)
    key = zlib.crc32(song.identifier.encode())
    shared = np.random.default_rng([plan.seed, GROUP_STREAM, key, group])
    timeline = draw_timeline(song, plan, shared)
    rng = np.random.default_rng([plan.seed, SONG_STREAM, key, index])
    ensemble = draw_ensemble(plan.seed, int(rng.integers(plan.ensembles)), plan.soundfonts)
    arranged, programs = _orchestrated(song, ensemble, rng)
    voices = _voices(arranged, programs, timeline, rng)
    kit = ensemble.index
    drums = drums_of(song, shared) if shared.random() < plan.shared_drums else None
    if drums:
        ensemble, kit = replace(ensemble, sampled_kit=True), key + group
        others = tuple(voice for voice in voices if not voice.is_drums)
        voices = (*others, _voice(drums, 0, timeline, shared))
    if ensemble.sampled_kit:
        voices = tuple(_sampled(voice) for voice in voices)
    level = float(rng.uniform(-26.0, -14.0))
    return Rendition(arranged, group, index, timeline, ensemble, voices, level, kit)


def draw_timeline(song: Song, plan: Plan, rng: np.random.Generator) -> Timeline:
    """Draw stretch, transposition and tempo; the stretch starts just before a downbeat."""
    tempo_scale = float(rng.uniform(*TEMPO_SCALES))
    length = min(plan.seconds, (song.end - song.start) / tempo_scale)
    if length < min(SHORTEST_RENDER, plan.seconds):
        raise ValueError(f"{song.identifier}: {length:.1f} s, need {SHORTEST_RENDER:g} s or more")
    latest = max(song.start, song.end - length * tempo_scale)
    starts = song.grid.beats[song.grid.downbeats]
    starts = starts[(starts >= song.start) & (starts <= latest)]
    start = float(rng.choice(starts)) if len(starts) else song.start
    lead_in = float(rng.uniform(*LEAD_IN)) * tempo_scale
    semitones = int(rng.choice(TRANSPOSITIONS))
    return Timeline(start - lead_in, length, semitones, tempo_scale)


def _orchestrated(
    song: Song, ensemble: Ensemble, rng: np.random.Generator
) -> tuple[Song, list[int]]:
    """Arrange the song, and give each of its tracks a program."""
    own = all(track.program is not None for track in song.tracks)
    if own and rng.random() < OWN_ORCHESTRATION_SHARE:
        return song, [track.program or 0 for track in song.tracks]
    arranged = arrange(song, ensemble, rng)
    return arranged, [_program(track, ensemble, rng) for track in arranged.tracks]


def _program(track: Track, ensemble: Ensemble, rng: np.random.Generator) -> int:
    if track.role == "drums":
        return ensemble.kit or 0
    program = ensemble.programs.get(track.role)
    return draw_program(track.role, rng) if program is None else program


def _voices(
    song: Song, programs: list[int], timeline: Timeline, rng: np.random.Generator
) -> tuple[Voice, ...]:
    voices = [
        _voice(track, program, timeline, rng)
        for track, program in zip(song.tracks, programs, strict=True)
    ]
    heard = [voice for voice in voices if len(voice.notes)]
    pitched = sorted((v for v in heard if not v.is_drums), key=lambda v: -len(v.notes))
    return tuple(pitched[:PITCHED_CHANNELS] + [v for v in heard if v.is_drums])


def _sampled(voice: Voice) -> Voice:
    return replace(voice, notes=kit_notes(voice.notes)) if voice.is_drums else voice


def _voice(track: Track, program: int, timeline: Timeline, rng: np.random.Generator) -> Voice:
    drums = track.role == "drums"
    notes = track.notes if drums else _pitched(track, program, timeline.semitones)
    if track.role in DOUBLED_ROLES and rng.random() < DOUBLED_SHARE:
        notes = doubled(notes)
    loudness = rng.uniform(0.8, 1.1)
    return Voice(
        role=track.role,
        program=program,
        notes=clipped(_scaled(notes, loudness), timeline),
        volume=int(rng.integers(70, 118)),
        pan=int(rng.integers(24, 104)),
        reverb=int(rng.integers(10, 90)),
        chorus=int(rng.integers(0, 60)),
    )


def _pitched(track: Track, program: int, semitones: int) -> np.ndarray:
    notes = track.notes.copy()
    if family_of(program) in DECAYING:
        notes["offset"] = sustained(track)
    notes["pitch"] += semitones + octave_shift(track, semitones)
    return notes[(notes["pitch"] >= 12) & (notes["pitch"] <= 115)]


def sustained(track: Track) -> Floats:
    """Ends (n,) of notes, put off to where the pedal that is down at their end is released."""
    offsets = track.notes["offset"].copy()
    for span in track.pedal:
        offsets[(offsets >= span.start) & (offsets < span.end)] = span.end
    return offsets


def octave_shift(track: Track, semitones: int) -> int:
    """Semitones, a multiple of 12, that bring the part's median pitch into its role's range."""
    if track.role not in RANGE_OF_ROLE or not len(track.notes):
        return 0
    low, high = RANGE_OF_ROLE[track.role]
    middle = float(np.median(track.notes["pitch"])) + semitones
    if middle < low:
        return 12 * int(np.ceil((low - middle) / 12))
    return -12 * int(np.ceil(max(0.0, middle - high) / 12))


def doubled(notes: np.ndarray) -> np.ndarray:
    """Notes with their upper octaves, softer."""
    upper = notes.copy()
    upper["pitch"] += 12
    upper["velocity"] = np.maximum(1, upper["velocity"] * 3 // 4)
    return np.concatenate([notes, upper])


def _scaled(notes: np.ndarray, loudness: float) -> np.ndarray:
    scaled = notes.copy()
    scaled["velocity"] = np.clip(np.round(notes["velocity"] * loudness), 20, 127)
    return scaled


def clipped(notes: np.ndarray, timeline: Timeline) -> np.ndarray:
    """Notes (n,) that start inside the render, on its axis, no pitch overlapping itself."""
    moved = notes.copy()
    moved["onset"] = timeline.on_render(notes["onset"])
    moved["offset"] = np.minimum(timeline.on_render(notes["offset"]), timeline.seconds)
    inside = (moved["onset"] >= 0) & (moved["onset"] < timeline.seconds - RING)
    return _separated(moved[inside])


def _separated(notes: np.ndarray) -> np.ndarray:
    """Cut notes that run into the next one of their pitch, and drop those left with no length."""
    ordered = notes[np.lexsort((notes["onset"], notes["pitch"]))]
    follows = np.append(ordered["pitch"][1:] == ordered["pitch"][:-1], False)
    following = np.append(ordered["onset"][1:], np.inf) - RING / 2
    ends = np.where(follows, np.minimum(ordered["offset"], following), ordered["offset"])
    ordered["offset"] = ends
    kept = ordered[ends - ordered["onset"] > RING / 2]
    return np.asarray(kept[np.lexsort((kept["pitch"], kept["onset"]))], dtype=NOTE)
