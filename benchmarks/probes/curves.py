"""Curves over time that may peak at onsets: all that attention maps give, and spectral flux."""

from __future__ import annotations

import numpy as np

from vit1dx.analysis.attention import READINGS, curves
from vit1dx.config import Config
from vit1dx.tokens import Track

RATE = Config().mel.frame_rate
TURNED = ("received", "class")  # readings that may dip where a note begins


def head_curves(track: Track) -> dict[str, np.ndarray]:
    """Curves (time,) of each layer, head and reading; a leading "-" turns one upside down."""
    assert track.attention is not None
    first = np.round(track.window_start * RATE).astype(int)
    n = len(track.time)
    found: dict[str, np.ndarray] = {}
    for layer, maps in zip(track.attended_layers, track.attention, strict=True):
        for reading in READINGS:
            for head, curve in enumerate(curves(maps, reading, first, n)):
                name = f"layer {layer}, head {head}, {reading}"
                found[name] = curve
                if reading in TURNED:
                    found[f"-{name}"] = -curve
    return found


def spectral_flux(mel: np.ndarray) -> np.ndarray:
    """Sum of what rises from frame to frame in log-mel (time, n_mels): (time,)."""
    rise = np.maximum(0, np.diff(mel, axis=0, prepend=mel[:1]))
    return np.asarray(rise.sum(1), dtype=np.float32)
