"""Styles of the compositions: what makes a bossa a bossa, as data."""

from __future__ import annotations

from dataclasses import dataclass

STRAIGHT, LIGHT, TRIPLET = 0.5, 0.58, 2 / 3

POP_MAJOR = (
    "I | V | vi | IV",
    "I | vi | IV | V",
    "vi | IV | I | V",
    "I | iii | IV | V",
    "IV | V | iii | vi | ii | V | I | I",
    "I | IV | vi V | IV",
    "I | V | ii | IV",
)
POP_MINOR = (
    "i | VI | III | VII",
    "i | iv | VII | III",
    "i | VII | VI | VII",
    "i | iv | VI | V:maj",
    "VI | VII | i | i",
)
ROCK_MAJOR = ("I | bVII | IV | I", "I | IV | I | V", "I I | IV V", "I | bIII:maj | IV | IV")
ROCK_MINOR = ("i | VI | VII | i", "i | i | III | IV:maj", "i VII | VI VII")
JAZZ_MAJOR = (
    "ii | V | I | I",
    "I vi | ii V",
    "I | VI:7 | ii | V",
    "iii VI:7 | ii V | I | I",
    "I | I | ii | V | iii | VI:7 | ii | V",
    "IV | iv:min6 | iii | VI:7 | II:7 | V | I | I",
)
JAZZ_MINOR = (
    "ii:hdim7 | V:7 | i | i",
    "i | VI | ii:hdim7 | V:7",
    "i iv | VII:7 III | VI ii:hdim7 | V:7 i",
)
BLUES = (
    "I | I | I | I | IV | IV | I | I | V | IV | I | V",
    "I | IV | I | I | IV | IV | I | VI:7 | ii:min7 | V | I | V",
)
BLUES_MINOR = ("i | i | i | i | iv | iv | i | i | VI:7 | V:7 | i | i",)
MODAL_MAJOR = ("I | IV", "I | bVII | I | IV", "I | ii", "I:sus2 | IV:maj7 | vi:min7 | V:sus4")
MODAL_MINOR = ("i | IV:7", "i | VII", "i | bII:maj7 | i | VII", "i:sus2 | VI:maj7 | iv | VII:sus4")
BAROQUE_MAJOR = (
    "I | V | vi | iii | IV | I | IV | V",
    "I IV | vii:dim iii | vi ii | V I",
    "I V | I | ii V | I",
    "I | II:7 | V | V:7",
)
BAROQUE_MINOR = (
    "i | V:maj | i | VII | III | VII | i V:maj | i",
    "i iv | VII III | VI ii:dim | V:7 i",
    "i | iv | V:7 | i",
)

FORMS = {
    "song": "intro4 verse8 chorus8 verse8 chorus8 bridge8 chorus8 outro4",
    "long song": "intro8 verse16 chorus8 verse8 chorus8 bridge8 chorus16 outro8",
    "ballad": "intro4 verse8 verse8 chorus8 verse8 chorus8 outro4",
    "standard": "intro4 a8 a8 b8 a8 a8 a8 b8 a8",
    "blues": "intro4 verse12 verse12 solo12 solo12 verse12",
    "dance": "intro8 build8 drop16 break8 build8 drop16 outro8",
    "rondo": "a8 b8 a8 c8 a8 b8 a8",
    "binary": "a8 a8 b8 b8 a8 b8",
    "drift": "a16 b16 a16 c16",
}


@dataclass(frozen=True)
class Style:
    """What a composition of a style is drawn from.

    Parameters
    ----------
    tempo : tuple of float
        Lowest and highest beats a minute.
    major, minor : tuple of str
        Progressions in Roman numerals by mode; a style may lack a mode.
    colour : str
        Key of `progressions.COLOURS`.
    basses, comps, drums : tuple of str
        Patterns of `patterns`; empty leaves the role out.
    forms : tuple of str
        Keys of `FORMS`.
    melody : str
        Density of the melody, a key of `melody.RHYTHMS`.
    counter : str or None
        Density of the second melody, or none.
    arpeggio : tuple of int
        Notes a beat to choose from; empty leaves the role out.
    pad : float
        Probability of held chords.
    metre, swing, looseness
        Beats a bar, place of a beat's half, deviation of the players' timing in s.
    modulates : float
        Probability that the last chorus is higher.
    """

    tempo: tuple[float, float]
    major: tuple[str, ...]
    minor: tuple[str, ...]
    colour: str
    basses: tuple[str, ...]
    comps: tuple[str, ...]
    drums: tuple[str, ...]
    forms: tuple[str, ...] = ("song",)
    melody: str = "medium"
    counter: str | None = None
    arpeggio: tuple[int, ...] = ()
    pad: float = 0.3
    metre: int = 4
    swing: float = STRAIGHT
    looseness: float = 0.006
    modulates: float = 0.0


STYLES: dict[str, Style] = {
    "pop": Style(
        (84, 128),
        POP_MAJOR,
        POP_MINOR,
        "triads",
        ("pop", "whole", "pump"),
        ("eighths", "pushed", "quarters"),
        ("pop", "rock"),
        forms=("song", "long song"),
        counter="sparse",
        arpeggio=(2, 4),
        modulates=0.35,
    ),
    "rock": Style(
        (96, 168),
        ROCK_MAJOR,
        ROCK_MINOR,
        "triads",
        ("rock", "pump"),
        ("eighths", "quarters", "pushed"),
        ("rock", "half-time", "tom-tom"),
        pad=0.1,
        modulates=0.15,
    ),
    "hard rock": Style(
        (110, 184),
        ROCK_MAJOR,
        ROCK_MINOR,
        "fifths",
        ("pump", "rock"),
        ("eighths", "montuno"),
        ("rock", "half-time"),
        melody="dense",
        pad=0.0,
    ),
    "house": Style(
        (118, 130),
        POP_MAJOR,
        POP_MINOR + MODAL_MINOR,
        "sevenths",
        ("off-beat", "octaves", "disco"),
        ("house", "off-beats"),
        ("house", "disco"),
        forms=("dance",),
        melody="sparse",
        arpeggio=(4, 2),
        pad=0.7,
        looseness=0.0005,
    ),
    "disco": Style(
        (108, 126),
        POP_MAJOR,
        POP_MINOR,
        "sevenths",
        ("disco", "octaves"),
        ("funk", "off-beats", "eighths"),
        ("disco",),
        counter="sparse",
        pad=0.7,
    ),
    "swing": Style(
        (120, 220),
        JAZZ_MAJOR,
        JAZZ_MINOR,
        "sevenths",
        ("walk",),
        ("charleston", "half", "quarters"),
        ("swing",),
        forms=("standard",),
        melody="dense",
        pad=0.0,
        swing=TRIPLET,
        looseness=0.01,
    ),
    "bossa": Style(
        (116, 150),
        JAZZ_MAJOR,
        JAZZ_MINOR,
        "ninths",
        ("bossa",),
        ("bossa",),
        ("bossa",),
        forms=("standard",),
        looseness=0.008,
        pad=0.2,
    ),
    "latin": Style(
        (92, 124),
        POP_MAJOR + JAZZ_MAJOR,
        POP_MINOR + JAZZ_MINOR,
        "dominant",
        ("latin", "bossa"),
        ("montuno",),
        ("latin",),
        counter="medium",
        pad=0.1,
    ),
    "waltz": Style(
        (90, 180),
        BAROQUE_MAJOR + POP_MAJOR,
        BAROQUE_MINOR,
        "dominant",
        ("waltz",),
        ("oom-pah-pah",),
        ("waltz",),
        forms=("rondo", "binary"),
        counter="sparse",
        metre=3,
        modulates=0.1,
    ),
    "jazz waltz": Style(
        (130, 190),
        JAZZ_MAJOR,
        JAZZ_MINOR,
        "sevenths",
        ("walk three", "long three"),
        ("long three", "oom-pah-pah"),
        ("jazz waltz",),
        forms=("standard",),
        metre=3,
        swing=TRIPLET,
        looseness=0.01,
    ),
    "slow three": Style(
        (54, 84),
        POP_MAJOR,
        POP_MINOR + BLUES_MINOR,
        "dominant",
        ("long three",),
        ("sixths",),
        ("slow three",),
        forms=("ballad",),
        arpeggio=(2,),
        pad=0.6,
        metre=3,
    ),
    "funk": Style(
        (92, 118),
        MODAL_MAJOR + BLUES,
        MODAL_MINOR,
        "blues",
        ("funk",),
        ("funk",),
        ("funk",),
        forms=("song", "standard"),
        melody="dense",
        counter="sparse",
        swing=LIGHT,
        pad=0.1,
    ),
    "hip-hop": Style(
        (78, 98),
        JAZZ_MAJOR,
        MODAL_MINOR + POP_MINOR,
        "sevenths",
        ("dub", "half"),
        ("half", "charleston"),
        ("hip-hop", "half-time"),
        melody="sparse",
        swing=LIGHT,
        pad=0.5,
        looseness=0.004,
    ),
    "soul": Style(
        (88, 132),
        POP_MAJOR,
        POP_MINOR,
        "sevenths",
        ("pop", "rock"),
        ("off-beats", "quarters", "pushed"),
        ("motown",),
        counter="medium",
        modulates=0.3,
        pad=0.5,
    ),
    "reggae": Style(
        (66, 92),
        POP_MAJOR + ROCK_MAJOR,
        POP_MINOR,
        "triads",
        ("reggae", "dub"),
        ("skank", "off-beats"),
        ("reggae",),
        counter="sparse",
        swing=LIGHT,
    ),
    "ballad": Style(
        (56, 82),
        POP_MAJOR,
        POP_MINOR,
        "sevenths",
        ("whole", "half"),
        ("whole", "half", "quarters"),
        ("ballad", "half-time"),
        forms=("ballad", "song"),
        arpeggio=(2, 3, 4),
        pad=0.6,
        looseness=0.012,
        modulates=0.4,
    ),
    "blues": Style(
        (72, 150),
        BLUES,
        BLUES_MINOR,
        "blues",
        ("shuffle", "walk"),
        ("shuffle", "charleston"),
        ("shuffle",),
        forms=("blues",),
        swing=TRIPLET,
        looseness=0.01,
        pad=0.0,
    ),
    "counterpoint": Style(
        (64, 112),
        BAROQUE_MAJOR,
        BAROQUE_MINOR,
        "triads",
        ("walk", "half"),
        ("half", "whole"),
        (),
        forms=("binary", "rondo"),
        melody="dense",
        counter="dense",
        pad=0.1,
    ),
    "chorale": Style(
        (56, 90),
        BAROQUE_MAJOR + POP_MAJOR,
        BAROQUE_MINOR,
        "triads",
        ("half", "whole"),
        ("quarters", "half"),
        (),
        forms=("binary", "ballad"),
        melody="sparse",
        counter="sparse",
        pad=0.8,
        looseness=0.012,
    ),
    "drum'n'bass": Style(
        (164, 178),
        MODAL_MAJOR,
        POP_MINOR + MODAL_MINOR,
        "sevenths",
        ("dub", "whole"),
        ("whole", "house"),
        ("drum'n'bass",),
        forms=("dance",),
        melody="sparse",
        arpeggio=(2, 4),
        pad=0.8,
        looseness=0.0005,
    ),
    "trance": Style(
        (130, 142),
        POP_MAJOR,
        POP_MINOR,
        "triads",
        ("off-beat", "octaves"),
        ("house", "eighths"),
        ("house",),
        forms=("dance",),
        arpeggio=(4,),
        pad=0.9,
        looseness=0.0005,
    ),
    "ambient": Style(
        (50, 90),
        MODAL_MAJOR,
        MODAL_MINOR,
        "ninths",
        ("whole",),
        (),
        (),
        forms=("drift",),
        melody="sparse",
        arpeggio=(1, 2, 3),
        pad=1.0,
        looseness=0.02,
    ),
}
