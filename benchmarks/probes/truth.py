"""Ground truth of renders, as frames and as tags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vit1dx.probe.annotations import Annotation
from vit1dx.probe.frames import classes_at
from vit1dx.probe.music import EXCLUDED, chord_class
from weights.recipe.corpus.labels import labels_path, read_labels

PITCHES = range(21, 109)  # a piano's
SLOWEST_CLASSES = (80.0, 100.0, 120.0, 140.0)  # beats a minute between classes of tempo
DRUMS = "drums"


@dataclass(frozen=True)
class Truth:
    """What is known of a render.

    Parameters
    ----------
    labels : dict
        Those of the corpus.
    frame_rate : float
        Of the frames asked about, Hz; frame i is centred on i / frame_rate seconds.
    """

    labels: dict[str, Any]
    frame_rate: float

    def spans(self, name: str) -> Annotation:
        """Chords, keys or sections; nothing where they are not known."""
        rows = self.labels[name] or ()
        start, end = (np.array([row[column] for row in rows], float) for column in (0, 1))
        return Annotation(start, end, tuple(row[2] for row in rows))

    def classes(self, name: str, n: int, code: Callable[[str], int]) -> np.ndarray:
        """Class of each of n frames, from spans of labels; `EXCLUDED` where there is none."""
        return classes_at(np.arange(n) / self.frame_rate, self.spans(name), code)

    def chords(self, n: int) -> np.ndarray:
        """Chord class of n frames."""
        return self.classes("chords", n, chord_class)

    def events(self, name: str) -> np.ndarray | None:
        """Times of beats, downbeats or onsets, s; None where they are not known."""
        found = self.labels[name]
        return None if found is None else np.asarray(found, dtype=float)

    @cached_property
    def _pitched(self) -> tuple[np.ndarray, ...]:
        notes = self.labels["notes"]
        drums = np.array([voice["drums"] for voice in self.labels["voices"]])
        kept = ~drums[np.asarray(notes["voice"], int)] if len(notes["voice"]) else slice(0, 0)
        columns = (np.asarray(notes[name]) for name in ("onset", "offset", "pitch"))
        return tuple(column[kept] for column in columns)

    def notes(self, n: int) -> np.ndarray:
        """Which pitches of `PITCHES` sound in n frames, drums left out: (n, 88) of 0 and 1."""
        roll = np.zeros((n, len(PITCHES)), np.float32)
        for onset, offset, pitch in zip(*self._pitched, strict=True):
            if pitch in PITCHES:
                first = int(np.ceil(onset * self.frame_rate))
                roll[first : int(np.ceil(offset * self.frame_rate)), pitch - PITCHES[0]] = 1
        return roll

    @property
    def families(self) -> set[str]:
        """Instrument families that play, by General MIDI; "drums" is one."""
        return {family for family, _, _ in self.labels["instruments"]}

    @property
    def key(self) -> str | None:
        """The key of most of it."""
        key = self.labels["key"]
        return str(key) if key else None

    @property
    def tempo_class(self) -> int:
        """Class of its tempo, by `SLOWEST_CLASSES`."""
        tempo = self.labels["tempo"]
        return EXCLUDED if tempo is None else int(np.searchsorted(SLOWEST_CLASSES, tempo))

    @property
    def style(self) -> str | None:
        """Style of what our own code composed; other sources say none that a probe could learn."""
        return str(self.labels["style"]) if self.labels["source"] == "composed" else None


def truth_of(audio: Path, frame_rate: float) -> Truth:
    """Ground truth beside a render."""
    return Truth(read_labels(labels_path(audio)), frame_rate)
