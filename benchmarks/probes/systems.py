"""What is compared on single recordings: each system turns audio into features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vit1dx import Extractor
from vit1dx.audio.decode import AudioFile
from vit1dx.audio.mel import LogMel
from vit1dx.audio.resample import mono_at_rate
from vit1dx.config import Config

CONFIG = Config()  # whose front end all systems have
LOG_MEL = "log-mel"


@dataclass(frozen=True)
class Described:
    """A recording as a system hears it.

    Parameters
    ----------
    frames : dict of (time, dim) arrays
        By name of the feature.
    whole : dict of (dim,) arrays
        Of the recording as a whole.
    """

    frames: dict[str, np.ndarray]
    whole: dict[str, np.ndarray]


System = Callable[[Path], Described]


def tokens(weights: Path, layers: Sequence[int]) -> System:
    """Tokens by the extractor that users run."""
    extractor = Extractor(list(layers), attention="none", weights=weights)

    def describe(audio: Path) -> Described:
        track = extractor(audio)
        frames, whole = {}, {}
        for place, layer in enumerate(track.layers):
            frames[f"layer {layer}"] = track.sequence_tokens[place]
            whole[f"layer {layer}, class"] = track.class_token[place].mean(0)
            whole[f"layer {layer}, mean"] = track.mean_token[place]
        return Described(frames, whole)

    return describe


def log_mel(audio: Path) -> np.ndarray:
    """Log-mel frames of the front end, (time, n_mels)."""
    with AudioFile(audio) as file:
        blocks = mono_at_rate(file.blocks(), file.sample_rate, CONFIG.mel.sample_rate)
        return np.concatenate(list(LogMel(CONFIG.mel).stream(blocks)))


def of_log_mel(audio: Path) -> Described:
    """Log-mel frames, and of the whole their mean and deviation."""
    mel = log_mel(audio)
    return Described({LOG_MEL: mel}, {LOG_MEL: np.concatenate([mel.mean(0), mel.std(0)])})
