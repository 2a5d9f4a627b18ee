"""Compositions of our own: any number of songs in many styles, labels exact by construction.

Song `number` is always the same song, whatever the corpus's seed.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from weights.recipe.corpus.harte import PITCH_NAMES, transpose
from weights.recipe.corpus.melody import melody_part
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
from weights.recipe.corpus.progressions import bars_of, chord_of
from weights.recipe.corpus.song import NOTE, ROLES, Floats, Grid, Song, Span, Track
from weights.recipe.corpus.split import TEST_EVERY, wanted
from weights.recipe.corpus.styles import FORMS, STYLES, Style

SONG_STREAM, SECTION_STREAM, PLAYING_STREAM = 10, 11, 12
COMPOSED_SONGS = 660
STYLE_STRIDE = 7  # has no factor in common with the number of styles
DRIFT = 0.004  # standard deviation of a beat's length, as a share, in styles played loosely
TIGHT = 0.001  # s of looseness at and under which tempo is a machine's
THIN = frozenset({"intro", "outro", "break"})  # sections in which few play
FULL = frozenset({"chorus", "drop"})  # sections in which all play
MELODY_MIDDLE, COUNTER_MIDDLE = 74, 64
MODULATIONS = (1, 2, 3)
HARMONY = ("chords", "pad", "arpeggio")


class Section(NamedTuple):
    """A section: what kind, its first bar, its bars, and how much higher than before."""

    kind: str
    first_bar: int
    bars: int
    raised: int


@dataclass(frozen=True)
class Design:
    """Decisions that hold for a whole composition."""

    number: int
    name: str
    style: Style
    key: str
    roles: frozenset[str]
    sections: tuple[Section, ...]
    grid: Grid


def composed_songs(split: str, count: int) -> Iterator[Song]:
    """Compositions 1 to `count` that belong to a split."""
    return (compose(number) for number in range(1, count + 1) if wanted(number, split))


def compose(number: int) -> Song:
    """Compose song `number`."""
    design = draw_design(number)
    chords = [chord for section in design.sections for chord in section_chords(design, section)]
    return Song(
        source="composed",
        number=number,
        title=f"{design.name} {number}",
        style=design.name,
        tracks=_tracks(design),
        grid=design.grid,
        start=float(design.grid.beats[0]),
        end=float(design.grid.beats[-1]),
        chords=tuple(_span(design.grid, chord) for chord in chords),
        keys=_labelled(design, lambda section: transpose(design.key, section.raised)),
        sections=_labelled(design, lambda section: section.kind),
    )


def draw_design(number: int) -> Design:
    """Draw key, tempo, form and layers of a composition."""
    rng = np.random.default_rng([SONG_STREAM, number])
    name = style_of(number)
    style = STYLES[name]
    sections = _draw_sections(style, rng)
    bars = sections[-1].first_bar + sections[-1].bars
    return Design(
        number=number,
        name=name,
        style=style,
        key=_draw_key(style, rng),
        roles=_draw_roles(style, rng),
        sections=sections,
        grid=_draw_grid(style, bars, rng),
    )


def style_of(number: int) -> str:
    """Style of a composition: songs for training and for testing each go through all in turn."""
    tens, ones = divmod(number, TEST_EVERY)
    return list(STYLES)[(tens * STYLE_STRIDE + ones) % len(STYLES)]


def _draw_key(style: Style, rng: np.random.Generator) -> str:
    modes = [mode for mode in ("major", "minor") if getattr(style, mode)]
    quality = {"major": "maj", "minor": "min"}[str(rng.choice(modes))]
    return f"{PITCH_NAMES[rng.integers(12)]}:{quality}"


def _draw_roles(style: Style, rng: np.random.Generator) -> frozenset[str]:
    roles = {"melody"}
    roles |= {"counter"} if style.counter and rng.random() < 0.6 else set()
    roles |= {"pad"} if rng.random() < style.pad else set()
    roles |= {"arpeggio"} if style.arpeggio and rng.random() < 0.6 else set()
    given = {"bass": style.basses, "chords": style.comps, "drums": style.drums}
    roles |= {role for role, patterns in given.items() if patterns}
    return frozenset(roles if roles & set(HARMONY) else roles | {"pad"})


def _draw_sections(style: Style, rng: np.random.Generator) -> tuple[Section, ...]:
    form = re.findall(r"([a-z]+)(\d+)", FORMS[str(rng.choice(style.forms))])
    last_chorus = max((i for i, (kind, _) in enumerate(form) if kind in FULL), default=len(form))
    raise_by = int(rng.choice(MODULATIONS)) if rng.random() < style.modulates else 0
    sections: list[Section] = []
    bar = 0
    for index, (kind, bars) in enumerate(form):
        sections.append(Section(kind, bar, int(bars), raise_by if index >= last_chorus else 0))
        bar += int(bars)
    return tuple(sections)


def _draw_grid(style: Style, bars: int, rng: np.random.Generator) -> Grid:
    period = 60 / rng.uniform(*style.tempo)
    beats = bars * style.metre + 1
    drift = 0.0 if style.looseness <= TIGHT else DRIFT
    lengths = period * (1 + _smooth(rng.normal(0, drift, beats)))
    times = np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    return Grid(times, np.arange(0, beats, style.metre))


def _smooth(steps: Floats) -> Floats:
    """Moving average over four beats, so that tempo wanders and does not jitter."""
    return np.convolve(steps, np.ones(4) / 2, mode="same")


def _kind_rng(design: Design, kind: str, role: str) -> np.random.Generator:
    """The same draws wherever a kind of section returns, so that it returns as itself."""
    key = zlib.crc32(f"{kind} {role}".encode())
    return np.random.default_rng([SECTION_STREAM, design.number, key])


def section_chords(design: Design, section: Section) -> list[BeatChord]:
    """Chords of a section in beats of the song; its last bars repeat the progression's start."""
    style, key = design.style, transpose(design.key, section.raised)
    choices = style.minor if design.key.endswith("min") else style.major
    progression = bars_of(str(_kind_rng(design, section.kind, "chords").choice(choices)))
    chords: list[BeatChord] = []
    for bar in range(section.bars):
        symbols = progression[bar % len(progression)]
        length = style.metre / len(symbols)
        first = (section.first_bar + bar) * style.metre
        for i, symbol in enumerate(symbols):
            label = chord_of(symbol, key, style.colour)
            chords.append(BeatChord(first + i * length, first + (i + 1) * length, label))
    return chords


def _section_score(design: Design, section: Section) -> Score:
    metre = design.style.metre
    numbers = range(section.first_bar, section.first_bar + section.bars)
    bars = tuple(Bar(number * metre, metre) for number in numbers)
    chords = tuple(_joined(section_chords(design, section)))
    return Score(design.grid, bars, chords, design.style.swing, design.style.looseness)


def _joined(chords: list[BeatChord]) -> list[BeatChord]:
    """Chords with repeats made one, so that pads hold through them."""
    joined: list[BeatChord] = []
    for chord in chords:
        if joined and joined[-1].label == chord.label:
            chord = chord._replace(start=joined.pop().start)
        joined.append(chord)
    return joined


def section_roles(design: Design, kind: str) -> frozenset[str]:
    """Who plays in a kind of section: all in the fullest ones, a few in thin ones."""
    if kind in FULL:
        return design.roles
    rng = _kind_rng(design, kind, "roles")
    share = 0.45 if kind in THIN else 0.85
    playing = {role for role in sorted(design.roles) if rng.random() < share}
    if not playing & set(HARMONY):
        playing.add(str(rng.choice(sorted(design.roles & set(HARMONY)))))
    return frozenset(playing)


def _tracks(design: Design) -> tuple[Track, ...]:
    rng = np.random.default_rng([PLAYING_STREAM, design.number])
    parts: dict[str, list[np.ndarray]] = {role: [] for role in ROLES}
    for section in design.sections:
        score = _section_score(design, section)
        for role in sorted(section_roles(design, section.kind)):
            notes = _write(role, design, section, score)
            parts[role].append(perform_part(notes, score, rng))
    return tuple(
        Track(role, np.sort(np.concatenate(played).astype(NOTE), order=["onset", "pitch"]))
        for role, played in parts.items()
        if played
    )


def _write(role: str, design: Design, section: Section, score: Score) -> list[BeatNote]:
    """One role's notes in one section."""
    style = design.style
    rng = _kind_rng(design, section.kind, role)
    key = transpose(design.key, section.raised)
    if role == "drums":
        return drum_part(str(rng.choice(style.drums)), score, rng, _section_starts(design))
    if role == "bass":
        return bass_part(str(rng.choice(style.basses)), score, rng)
    if role == "chords":
        return comp_part(str(rng.choice(style.comps)), score, rng)
    if role == "arpeggio":
        shape, steps = str(rng.choice(ARPEGGIO_SHAPES)), int(rng.choice(style.arpeggio))
        return arpeggio_part(shape, steps, score, rng)
    if role == "pad":
        return pad_part(score, rng)
    if role == "counter":
        density = style.counter or style.melody
        return melody_part(density, key, COUNTER_MIDDLE, score, rng)
    return melody_part(style.melody, key, MELODY_MIDDLE, score, rng)


def _section_starts(design: Design) -> frozenset[int]:
    return frozenset(section.first_bar * design.style.metre for section in design.sections)


def _span(grid: Grid, chord: BeatChord) -> Span:
    return Span(float(grid.seconds(chord.start)), float(grid.seconds(chord.end)), chord.label)


def _labelled(design: Design, label: Callable[[Section], str]) -> tuple[Span, ...]:
    """A span for each section, with the label that `label` gives it."""
    metre, grid = design.style.metre, design.grid
    return tuple(
        Span(
            float(grid.seconds(section.first_bar * metre)),
            float(grid.seconds((section.first_bar + section.bars) * metre)),
            label(section),
        )
        for section in design.sections
    )
