"""What a set of weights expects: front end, model and windows. It travels in every weights file.

The defaults are the published model's, and the only place where they are written down.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from .errors import WeightsError

#: What is above comes from a damaged or hostile file, and would take all memory.
MOST = {
    "sample_rate": 1_000_000,
    "n_fft": 1 << 16,
    "hop_length": 1 << 20,
    "n_mels": 1 << 12,
    "depth": 256,
    "dim": 1 << 14,
    "mlp_ratio": 64,
    "frames": 1 << 16,
}
#: No value of a config is larger.
LARGEST = 1e15


@dataclass(frozen=True)
class MelConfig:
    """The front end: samples to log-mel frames.

    Attributes
    ----------
    sample_rate : int
        Rate the audio is resampled to, Hz.
    n_fft, hop_length : int
        Length of the Hann window and distance between frame centres, samples.
    n_mels : int
        Number of Slaney mel bands between `f_min` and `f_max` (Hz).
    floor : float
        Least power before the logarithm: fixed, so that a frame does not depend on any other.
    mean, scale : float
        A frame is ``(10 * log10(max(power, floor)) - mean) / scale``, both in dB.
    """

    sample_rate: int = 16000
    n_fft: int = 1024
    hop_length: int = 512
    n_mels: int = 128
    f_min: float = 0.0
    f_max: float = 8000.0
    floor: float = 1e-8
    mean: float = -30.0
    scale: float = 20.0

    def __post_init__(self) -> None:
        counts = ("sample_rate", "n_fft", "hop_length", "n_mels")
        _require_positive(self, *counts, "f_max", "floor", "scale")
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            raise WeightsError(
                f"mel bands from {self.f_min} to {self.f_max} Hz; "
                f"they must lie between 0 and {self.sample_rate / 2} Hz"
            )

    @property
    def frame_rate(self) -> float:
        """Frames (and so tokens) a second."""
        return self.sample_rate / self.hop_length

    @property
    def exact_frame_rate(self) -> Fraction:
        """`frame_rate` without rounding."""
        return Fraction(self.sample_rate, self.hop_length)

    def n_frames(self, n_samples: int) -> int:
        """Number of frames that a track of `n_samples` at `sample_rate` has."""
        return 1 + n_samples // self.hop_length


@dataclass(frozen=True)
class ModelConfig:
    """The transformer: `depth` blocks of `heads` heads over tokens of `dim` features."""

    depth: int = 12
    dim: int = 192
    heads: int = 3
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        _require_positive(self, "depth", "dim", "heads", "mlp_ratio", "hidden")
        if self.dim % (2 * self.heads):
            raise WeightsError(
                f"model dim {self.dim} with {self.heads} heads; dim must be a multiple of 2 * heads"
            )

    @property
    def matrix_values(self) -> int:
        """Numbers in the matrices of all blocks."""
        return self.depth * self.dim * (4 * self.dim + 2 * self.hidden)

    @property
    def hidden(self) -> int:
        """Width of the MLP's hidden layer."""
        return int(self.dim * self.mlp_ratio)


@dataclass(frozen=True)
class WindowConfig:
    """Windows of `frames` frames, of which `overlap` on each side are context, then dropped."""

    frames: int = 125
    overlap: int = 0

    def __post_init__(self) -> None:
        _require_positive(self, "frames")
        if not 0 <= 2 * self.overlap < self.frames:
            raise WeightsError(
                f"an overlap of {self.overlap} frames on each side of windows of {self.frames}; "
                f"it must be from 0 to {(self.frames - 1) // 2}"
            )

    @property
    def step(self) -> int:
        """Frames from one window's start to the next one's."""
        return self.frames - 2 * self.overlap


@dataclass(frozen=True)
class Config:
    """Everything that a weights file must say for its tokens to be reproduced."""

    mel: MelConfig = field(default_factory=MelConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    window: WindowConfig = field(default_factory=WindowConfig)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The config as nested plain values, in the order of the fields."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """The config as JSON, as weights files carry it."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Read what `to_json` wrote.

        Raises
        ------
        WeightsError
            If the text is not JSON, or a section or key is unknown, or a value cannot be used.
        """
        try:
            sections = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise WeightsError(f"the config is not JSON: {error}") from None
        kinds = {"mel": MelConfig, "model": ModelConfig, "window": WindowConfig}
        if not isinstance(sections, dict) or not set(sections) <= set(kinds):
            raise WeightsError(f"the config holds {_names(sections)}; known are {_names(kinds)}")
        return cls(**{name: _section(kinds[name], name, sections[name]) for name in sections})


def _section(kind: type, name: str, values: Any) -> Any:
    types = {f.name: type(f.default) for f in dataclasses.fields(kind)}
    if not isinstance(values, dict) or not set(values) <= set(types):
        raise WeightsError(
            f"config section {name!r} holds {_names(values)}; known are {_names(types)}"
        )
    return kind(**{key: _number(types[key], f"{name}.{key}", values[key]) for key in values})


def _number(kind: type, name: str, value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    real = isinstance(value, float) and math.isfinite(value)
    if not (whole or (kind is float and real)) or abs(value) > LARGEST:
        raise WeightsError(f"config value {name} is {value!r}; a {kind.__name__} is needed")
    return kind(value)


def _require_positive(section: Any, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        if not 0 < value <= MOST.get(name, math.inf):
            most = f" and at most {MOST[name]}" if name in MOST else ""
            raise WeightsError(f"config value {name} is {value!r}; it must be above 0{most}")


def _names(values: Any) -> str:
    return ", ".join(sorted(map(str, values))) if isinstance(values, dict) else repr(values)
