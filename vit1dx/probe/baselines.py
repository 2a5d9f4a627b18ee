"""Baselines from the music itself: log-mel frames of the model's own front end, and MFCCs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.fft import dct

from .._types import Array
from ..audio.decode import AudioFile
from ..audio.mel import LogMel
from ..audio.resample import mono_at_rate
from ..config import MelConfig
from ..errors import AudioError
from .frames import edges_of, step_of

#: Coefficients of an MFCC, the first, which is level, among them.
N_MFCC = 20
#: By which a decoded file may be longer or shorter than the track was, s.
LENGTH_TOLERANCE = 0.1
NAMES = ("log-mel", "MFCC")


@dataclass(frozen=True)
class AudioVectors:
    """Mean and deviation over time of log-mel frames or MFCCs, a vector a track.

    Attributes
    ----------
    name : {"log-mel", "MFCC"}
    table : dict of (2 dim,) float32 arrays
        By track.
    """

    name: str
    table: Mapping[str, Array]
    layer: int | None = None
    tokens: str = ""

    def vectors(self, ids: Sequence[str]) -> Array:
        """See `vit1dx.probe.features.Feature`."""
        return np.stack([self.table[track_id] for track_id in ids])

    def frames(self, ids: Sequence[str]) -> Iterator[tuple[Array, Array]]:
        """There are none."""
        raise NotImplementedError


@dataclass(frozen=True)
class AudioFrames:
    """Log-mel frames or MFCCs, from what `save_frames` wrote.

    Attributes
    ----------
    name : {"log-mel", "MFCC"}
    files : dict of Path
        By track.
    """

    name: str
    files: Mapping[str, Path]
    layer: int | None = None
    tokens: str = ""

    def vectors(self, ids: Sequence[str]) -> Array:
        """There are none."""
        raise NotImplementedError

    def frames(self, ids: Sequence[str]) -> Iterator[tuple[Array, Array]]:
        """See `vit1dx.probe.features.Feature`."""
        for track_id in ids:
            with np.load(self.files[track_id]) as found:
                mel, time = found["mel"], found["time"]
            yield of_log_mel(self.name, mel), time


def of_log_mel(name: str, mel: Array) -> Array:
    """The frames of a baseline, of log-mel frames (time, n_mels).

    MFCCs are the orthonormal DCT of a frame, its first `N_MFCC` coefficients.
    """
    if name == "log-mel":
        return mel
    return np.asarray(dct(mel, type=2, norm="ortho", axis=1)[:, :N_MFCC], dtype=np.float32)


def vectors_of(mel: Array) -> dict[str, Array]:
    """Mean and deviation over time of each baseline."""
    found = {name: of_log_mel(name, mel) for name in NAMES}
    return {name: np.concatenate([each.mean(0), each.std(0)]) for name, each in found.items()}


def log_mel(audio: Path, config: MelConfig, duration: float) -> Array:
    """Log-mel frames of a file, (time, n_mels) float32.

    Raises
    ------
    AudioError
        If it cannot be decoded, or is of another length than the track.
    """
    with AudioFile(audio) as file:
        blocks = mono_at_rate(file.blocks(), file.sample_rate, config.sample_rate)
        mel = np.concatenate(list(LogMel(config).stream(blocks)))
        length = file.duration
    if abs(length - duration) > LENGTH_TOLERANCE:
        raise AudioError(f"{audio} is {length:.1f} s long, its track {duration:.1f} s")
    return mel


def save_frames(mel: Array, frame_rate: float, time: Array, out: Path) -> None:
    """Write log-mel frames, averaged where tokens are, and the tokens' times."""
    np.savez(out, mel=at_times(mel, frame_rate, time), time=time)


def at_times(frames: Array, frame_rate: float, time: Array) -> Array:
    """Means of frames over the stretch that each of some times is the centre of.

    Parameters
    ----------
    frames : (n, dim) array
        Frame i is centred on i / frame_rate s.
    frame_rate : float
    time : (time,) array
        s.
    """
    if step_of(time) <= 1.5 / frame_rate:
        nearest = np.round(time * frame_rate).astype(int)
        return np.asarray(frames[np.clip(nearest, 0, len(frames) - 1)])
    bounds = np.clip(np.ceil(edges_of(time) * frame_rate - 1e-6).astype(int), 0, len(frames) - 1)
    sums = np.concatenate([np.zeros((1, frames.shape[1])), np.cumsum(frames, 0, dtype=np.float64)])
    first, end = bounds[:-1], np.maximum(bounds[1:], bounds[:-1] + 1)
    return ((sums[end] - sums[first]) / (end - first)[:, None]).astype(np.float32)
