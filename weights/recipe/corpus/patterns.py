"""Bars of accompaniment as step strings: drums, basses and comping, by name.

A string covers its pattern's beats in equal steps, so that 16 steps in 4 beats are sixteenths and
12 are triplets.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

HOLD = "."
REST = "_"


class Hit(NamedTuple):
    """An event of a pattern: where and how long, in beats, and its symbol."""

    at: float
    length: float
    symbol: str


@dataclass(frozen=True)
class Line:
    """A step string: a symbol begins a note, "." goes on with it, "_" is silence."""

    beats: int
    steps: str

    def hits(self) -> list[Hit]:
        """Events of the string."""
        step = self.beats / len(self.steps)
        starts = [i for i, symbol in enumerate(self.steps) if symbol != HOLD]
        return [
            Hit(a * step, (b - a) * step, self.steps[a])
            for a, b in pairwise([*starts, len(self.steps)])
            if self.steps[a] != REST
        ]


# Symbols of drum strings are only loudness: "X" accented, "x" plain, "o" soft.
DRUM_KEYS = {
    "kick": 36,
    "rim": 37,
    "snare": 38,
    "clap": 39,
    "closed hat": 42,
    "pedal hat": 44,
    "low tom": 45,
    "open hat": 46,
    "mid tom": 47,
    "crash": 49,
    "high tom": 50,
    "ride": 51,
    "tambourine": 54,
    "cowbell": 56,
    "high conga": 63,
    "low conga": 64,
    "shaker": 82,
}


@dataclass(frozen=True)
class Beat:
    """A drum pattern of `beats` beats: step strings by drum."""

    beats: int
    drums: dict[str, str]


BEATS = {
    "rock": Beat(
        4,
        {
            "kick": "X.......X.x.....",
            "snare": "....X.......X...",
            "closed hat": "x.x.x.x.x.x.x.x.",
        },
    ),
    "pop": Beat(
        4,
        {
            "kick": "X.....x.X.....x.",
            "snare": "....X.......X...",
            "closed hat": "x.o.x.o.x.o.x.o.",
        },
    ),
    "ballad": Beat(
        4,
        {
            "kick": "X.........x.....",
            "rim": "........X.......",
            "closed hat": "x...o...x...o...",
        },
    ),
    "half-time": Beat(
        4,
        {
            "kick": "X.....x.........",
            "snare": "........X.......",
            "closed hat": "x.x.x.x.x.x.x.xx",
        },
    ),
    "house": Beat(
        4,
        {
            "kick": "X...X...X...X...",
            "clap": "....X.......X...",
            "open hat": "..x...x...x...x.",
            "closed hat": "o..oo..oo..oo..o",
        },
    ),
    "disco": Beat(
        4,
        {
            "kick": "X...X...X...X...",
            "snare": "....X.......X...",
            "closed hat": "x...x...x...x...",
            "open hat": "..X...X...X...X.",
            "tambourine": "o.o.o.o.o.o.o.o.",
        },
    ),
    "funk": Beat(
        4,
        {
            "kick": "X.x...x...x..X..",
            "snare": "....X..o.o..X..o",
            "closed hat": "xoxoxoxoxoxoxoxo",
        },
    ),
    "hip-hop": Beat(
        4,
        {
            "kick": "X..x......x.....",
            "snare": "....X.......X...",
            "closed hat": "x.x.x.xxx.x.x.x.",
        },
    ),
    "drum'n'bass": Beat(
        4,
        {
            "kick": "X.........X.....",
            "snare": "....X..o.o..X...",
            "closed hat": "x.x.x.x.x.x.x.x.",
            "ride": "o...o...o...o...",
        },
    ),
    "bossa": Beat(
        4,
        {
            "kick": "X..xX..xX..xX..x",
            "rim": "X..X..X...X..X..",
            "shaker": "xoxoxoxoxoxoxoxo",
        },
    ),
    "latin": Beat(
        4,
        {
            "kick": "X.....x.X.....x.",
            "cowbell": "X.x.x.x.X.x.x.x.",
            "high conga": "..x...x...x.....",
            "low conga": "............x.x.",
        },
    ),
    "reggae": Beat(
        4,
        {
            "kick": "........X.......",
            "rim": "........X.......",
            "closed hat": "..x...x...x...xo",
        },
    ),
    "motown": Beat(
        4,
        {
            "kick": "X.....x.X.x.....",
            "snare": "X...X...X...X...",
            "tambourine": "..x...x...x...x.",
        },
    ),
    "swing": Beat(
        4,
        {
            "ride": "X..X.xX..X.x",
            "pedal hat": "...X.....X..",
            "kick": "o..o..o..o..",
            "snare": "........o...",
        },
    ),
    "shuffle": Beat(
        4,
        {
            "kick": "X.....X....x",
            "snare": "...X.....X..",
            "closed hat": "x.ox.ox.ox.o",
        },
    ),
    "tom-tom": Beat(
        4,
        {
            "kick": "X.......X.......",
            "low tom": "x..x..x.x..x....",
            "mid tom": "............x.x.",
            "shaker": "o.o.o.o.o.o.o.o.",
        },
    ),
    "waltz": Beat(
        3,
        {"kick": "X...........", "closed hat": "....x...x...", "rim": "....o...o..."},
    ),
    "jazz waltz": Beat(
        3,
        {"ride": "X..X.xX..", "pedal hat": "...X.....", "kick": "X......o."},
    ),
    "slow three": Beat(
        3,
        {"kick": "X.....", "snare": "....X.", "closed hat": "xoxoxo"},
    ),
}

# Fills play in the last bar before a new section, in four beats counted from the bar's end.
FILLS = (
    {"snare": "........xxxxXXXX"},
    {"snare": "........x.x.....", "high tom": "........", "low tom": "............X.X."},
    {"high tom": "........xx......", "mid tom": "..........xx....", "low tom": "............XXXX"},
)

# Bass symbols: R root, 5 fifth, 8 root an octave up, 3 the chord's second note, W walks: a chord
# note, or on a chord's last beat a semitone from the next root.
BASSES = {
    "whole": Line(4, "R..............."),
    "half": Line(4, "R.......5......."),
    "pop": Line(4, "R.....R.R.....5."),
    "pump": Line(4, "R.R.R.R.R.R.R.R."),
    "rock": Line(4, "R..RR...R.R.5..."),
    "octaves": Line(4, "_.8._.8._.8._.8."),
    "disco": Line(4, "R.8.R.8.R.8.R.8."),
    "off-beat": Line(4, "_.R._.R._.R._.R."),
    "funk": Line(4, "R.._R._8_.R._.5_"),
    "reggae": Line(4, "R..R_...R._.5.R."),
    "bossa": Line(4, "R.....5.5.....R."),
    "latin": Line(4, "R.....5.....8..."),
    "walk": Line(4, "WWWW"),
    "shuffle": Line(4, "R.RR.35.35.3"),
    "dub": Line(4, "R......._...R..5"),
    "long three": Line(3, "R..........."),
    "waltz": Line(3, "R...5......."),
    "walk three": Line(3, "WWW"),
}

# Comping symbols: X loud, x plain.
COMPS = {
    "whole": Line(4, "X..............."),
    "half": Line(4, "X.......x......."),
    "quarters": Line(4, "X...x...x...x..."),
    "eighths": Line(4, "X.x.x.x.X.x.x.x."),
    "pushed": Line(4, "X.....x.....x..."),
    "charleston": Line(4, "X....x______"),
    "off-beats": Line(4, "_.X._.X._.X._.X."),
    "skank": Line(4, "____X_______X___"),
    "house": Line(4, "X..X..X.._X..X.."),
    "funk": Line(4, "X__x__X_x__x_X__"),
    "bossa": Line(4, "X.....x...X...x."),
    "montuno": Line(4, "X..x..x.x..x..x."),
    "shuffle": Line(4, "X.xX.xX.xX.x"),
    "long three": Line(3, "X..........."),
    "oom-pah-pah": Line(3, "____x...x..."),
    "sixths": Line(3, "X.x.x.x.x.x."),
}


def names_for(table: dict[str, Line] | dict[str, Beat], beats: int) -> list[str]:
    """Names of a table's patterns that last `beats` beats."""
    return [name for name, pattern in table.items() if pattern.beats == beats]
