"""Ground truth of renders, as frames and as tags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np

from benchmarks.probes.linear import EXCLUDED
from weights.recipe.corpus.harte import quality_of, root_of
from weights.recipe.corpus.labels import labels_path, read_labels

CHORD_CLASSES = 25  # 12 major, 12 minor, none
KEY_CLASSES = 24
PITCHES = range(21, 109)  # a piano's
SLOWEST_CLASSES = (80.0, 100.0, 120.0, 140.0)  # beats a minute between classes of tempo
DRUMS = "drums"


def chord_class(label: str) -> int:
    """0 to 11 for major, 12 to 23 for minor, by root; 24 for none; `EXCLUDED` for other chords.

    These are the chords that mir_eval's "majmin" compares.
    """
    root, intervals, _ = mir_eval.chord.encode(label)
    if root < 0:
        return 24 if label == "N" else EXCLUDED
    triad = tuple(int(step) for step in np.flatnonzero(intervals[:8]))
    kinds = {(0, 4, 7): 0, (0, 3, 7): 12}
    return int(root) + kinds[triad] if triad in kinds else EXCLUDED


def key_class(label: str) -> int:
    """0 to 11 for major, 12 to 23 for minor, by tonic."""
    return root_of(label) + 12 * (quality_of(label) == "min")


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

    def spans(self, name: str, n: int, code: Callable[[str], int], other: int) -> np.ndarray:
        """Class of each of n frames, from spans of labels; `other` where there is none."""
        classes = np.full(n, other)
        time = np.arange(n) / self.frame_rate
        for start, end, label in self.labels[name] or ():
            classes[(time >= start) & (time < end)] = code(label)
        return classes

    def chords(self, n: int) -> np.ndarray:
        """Chord class of n frames."""
        return self.spans("chords", n, chord_class, EXCLUDED)

    def keys(self, n: int) -> np.ndarray:
        """Key class of n frames."""
        return self.spans("keys", n, key_class, EXCLUDED)

    def events(self, name: str) -> np.ndarray | None:
        """Times of beats, downbeats or onsets, s; None where they are not known."""
        found = self.labels[name]
        return None if found is None else np.asarray(found, dtype=float)

    def event_frames(self, name: str, n: int) -> np.ndarray:
        """1 at the frame nearest to each event, 0.5 at its neighbours, (n,)."""
        target = np.zeros(n, np.float32)
        times = self.events(name)
        if times is None:
            return target
        frames = np.round(times * self.frame_rate).astype(int)
        for shift, value in ((-1, 0.5), (1, 0.5), (0, 1.0)):
            places = frames + shift
            places = places[(places >= 0) & (places < n)]
            target[places] = np.maximum(target[places], value)
        return target

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
