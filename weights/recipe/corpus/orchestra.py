"""General MIDI's instruments: families, which suit which role, and ensembles drawn of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PROGRAMS_PER_FAMILY = 8
FAMILIES = (
    "piano",
    "chromatic percussion",
    "organ",
    "guitar",
    "bass",
    "strings",
    "ensemble",
    "brass",
    "reed",
    "pipe",
    "synth lead",
    "synth pad",
    "synth effects",
    "ethnic",
    "percussive",
    "sound effects",
)
DRUMS = "drums"

# Programs (from 0) that can carry a role; noises, timpani and effects are left out.
PIANOS = (0, 1, 2, 3, 4, 5, 6, 7)
MALLETS = (8, 9, 10, 11, 12, 13, 14)
ORGANS = (16, 17, 18, 19, 20, 21, 22, 23)
GUITARS = (24, 25, 26, 27, 28)
DISTORTED = (29, 30)  # play lines: chords turn to noise in them
BASSES = (32, 33, 34, 35, 36, 37, 38, 39)
BOWED = (40, 41, 42)
STRINGS = (44, 48, 49, 50, 51)
VOICES = (52, 53, 54)
BRASS = (56, 57, 59, 60, 61, 62, 63)
REEDS = (64, 65, 66, 68, 70, 71)
PIPES = (72, 73, 74, 75, 76, 78, 79)
LEADS = (80, 81, 82, 83, 84, 85, 86, 87)
PADS = (88, 89, 90, 91, 92, 93, 94, 95)
PLUCKED = (15, 45, 46, 104, 106, 107, 108)

PROGRAMS_OF_ROLE: dict[str, tuple[tuple[int, ...], ...]] = {
    "melody": (
        PIANOS,
        MALLETS,
        ORGANS,
        GUITARS + DISTORTED,
        BOWED,
        VOICES,
        BRASS,
        REEDS,
        PIPES,
        LEADS,
    ),
    "counter": (PIANOS, MALLETS, GUITARS, BOWED, BRASS, REEDS, PIPES, LEADS, PLUCKED, STRINGS),
    "chords": (PIANOS, PIANOS, PIANOS, ORGANS, GUITARS, GUITARS, STRINGS, PLUCKED, LEADS),
    "arpeggio": (PIANOS, MALLETS, GUITARS, PLUCKED, LEADS, PIPES),
    "pad": (STRINGS, PADS, PADS, VOICES, ORGANS),
    "bass": (BASSES,),
}

# How often an ensemble has a player for the role.
PRESENCE = {
    "melody": 0.85,
    "counter": 0.65,
    "chords": 0.85,
    "arpeggio": 0.35,
    "pad": 0.4,
    "bass": 0.8,
    "drums": 0.7,
}

# Sounding range (MIDI pitches) that a role's part is moved into by octaves, by its median.
RANGE_OF_ROLE = {"melody": (57, 84), "counter": (52, 84), "bass": (28, 52)}

# General MIDI 2 / GS drum kits that all three soundfonts hold.
KITS = (0, 8, 16, 24, 25, 32, 40)

# Families whose notes decay by themselves, so that the sustain pedal suits them.
DECAYING = frozenset({"piano", "chromatic percussion", "guitar", "ethnic"})

# Random streams of a corpus, apart from one another so that draws never coincide.
ENSEMBLE_STREAM, KIT_STREAM = 1, 4


def family_of(program: int) -> str:
    """General MIDI family of a program: 0 to 7 are "piano"."""
    return FAMILIES[program // PROGRAMS_PER_FAMILY]


@dataclass(frozen=True)
class Ensemble:
    """An orchestration that several songs can share: who plays, in which sounds.

    Parameters
    ----------
    index : int
        Its number in the corpus.
    soundfont : str
        Name of the soundfont.
    programs : dict of str to int
        General MIDI program of each pitched role that has a player.
    kit : int or None
        Program of the drum kit; None where there are no drums.
    sampled_kit : bool
        Whether drums are recorded one-shots in place of the soundfont's.
    room, reverb_level, chorus_level : float
        FluidSynth's reverb room size and level, and chorus level; 0 turns the effect off.
    """

    index: int
    soundfont: str
    programs: dict[str, int]
    kit: int | None
    sampled_kit: bool
    room: float
    reverb_level: float
    chorus_level: float

    def plays(self, role: str) -> bool:
        """Whether the ensemble has a player for a role."""
        return self.kit is not None if role == "drums" else role in self.programs


def draw_ensemble(seed: int, index: int, soundfonts: tuple[str, ...]) -> Ensemble:
    """Draw ensemble `index` of the corpus that `seed` names; the same for the same arguments."""
    rng = np.random.default_rng([seed, ENSEMBLE_STREAM, index])
    present = {role for role, share in PRESENCE.items() if rng.random() < share}
    if not present & {"chords", "pad", "arpeggio"}:
        present.add("chords")
    programs = {role: draw_program(role, rng) for role in PROGRAMS_OF_ROLE if role in present}
    return Ensemble(
        index=index,
        soundfont=soundfonts[index % len(soundfonts)],
        programs=programs,
        kit=int(rng.choice(KITS)) if "drums" in present else None,
        sampled_kit=bool(rng.random() < 0.35),
        room=float(rng.uniform(0.1, 0.8)),
        reverb_level=float(rng.uniform(0.2, 0.9) * (rng.random() < 0.8)),
        chorus_level=float(rng.uniform(0.5, 2.0) * (rng.random() < 0.6)),
    )


def draw_program(role: str, rng: np.random.Generator) -> int:
    """Draw a program for a role: first a group of like instruments, then one of them."""
    groups = PROGRAMS_OF_ROLE[role]
    return int(rng.choice(groups[rng.integers(len(groups))]))
