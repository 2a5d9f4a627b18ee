"""What is compared: each system turns audio into features on one grid of frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import librosa
import numpy as np
import onnxruntime
import torch

from benchmarks.probes.curves import head_curves, spectral_flux
from vit1dx import Extractor
from vit1dx.audio.decode import AudioFile
from vit1dx.audio.mel import LogMel
from vit1dx.audio.resample import mono_at_rate
from vit1dx.config import Config
from vit1dx.model.export import export
from vit1dx.model.vit import ViT1D, save

Arrays = dict[str, np.ndarray]
CONFIG = Config()  # the grid of all systems: 16 kHz, hop 512
AVERAGED_FRAMES = 9
N_MFCC = 20


@dataclass(frozen=True)
class Described:
    """A track as a system sees it.

    Parameters
    ----------
    frames : dict of (time, dim) arrays
        By name of the feature.
    whole : dict of (dim,) arrays
        Of the track as a whole.
    curves : dict of (time,) arrays
        That may peak at onsets.
    """

    frames: Arrays
    whole: Arrays
    curves: Arrays = field(default_factory=dict)


class System(Protocol):
    """Describes a track, with `curves` only where it is asked to look closely."""

    def __call__(self, audio: Path, closely: bool = True) -> Described: ...


def vit1d(weights: Path) -> System:
    """ViT-1D from an ONNX model, by the extractor that users run."""
    closer = Extractor(layers="all", attention="full", weights=weights)
    quicker = Extractor(layers="all", attention="none", weights=weights)

    def describe(audio: Path, closely: bool = True) -> Described:
        track = closer(audio) if closely else quicker(audio)
        names = [f"layer {layer}" for layer in track.layers]
        whole: Arrays = {}
        for name, classes, sequence, mean in zip(
            names, track.class_token, track.sequence_tokens, track.mean_token, strict=True
        ):
            whole[f"{name}, class token"] = classes.mean(0)
            whole[f"{name}, sequence tokens"] = sequence.mean(0)
            whole[f"{name}, both"] = mean
            whole |= _statistics(name, sequence)
        frames = dict(zip(names, track.sequence_tokens, strict=True))
        curves = head_curves(track) if closely else {}
        return Described(frames, whole, curves)

    return describe


def log_mel(audio: Path, closely: bool = True) -> Described:
    """The model's own input, and its mean over some frames."""
    with AudioFile(audio) as file:
        blocks = mono_at_rate(file.blocks(), file.sample_rate, CONFIG.mel.sample_rate)
        mel = np.concatenate(list(LogMel(CONFIG.mel).stream(blocks)))
    frames = {"log-mel": mel, f"log-mel, {AVERAGED_FRAMES} frames": averaged(mel)}
    return Described(frames, _statistics("log-mel", mel), {"spectral flux": spectral_flux(mel)})


def mfcc(audio: Path, closely: bool = True) -> Described:
    """librosa's MFCC at the model's rate and hop."""
    mel = CONFIG.mel
    found = librosa.feature.mfcc(
        y=_samples(audio, mel.sample_rate),
        sr=mel.sample_rate,
        n_mfcc=N_MFCC,
        n_fft=mel.n_fft,
        hop_length=mel.hop_length,
    )
    return Described({"MFCC": _frames(found)}, _statistics("MFCC", _frames(found)))


def chroma(audio: Path, closely: bool = True) -> Described:
    """librosa's CQT chroma at the model's rate and hop."""
    mel = CONFIG.mel
    found = librosa.feature.chroma_cqt(
        y=_samples(audio, mel.sample_rate), sr=mel.sample_rate, hop_length=mel.hop_length
    )
    return Described({"CQT chroma": _frames(found)}, _statistics("CQT chroma", _frames(found)))


def basic_pitch() -> System:
    """Spotify's basic-pitch, trained on transcriptions: its notes, onsets and contours."""
    import basic_pitch as package

    path = Path(package.__file__).parent / "saved_models" / "icassp_2022" / "nmp.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    rate, hop, window, overlap = 22_050, 256, 43_844, 30  # as basic_pitch.constants has them
    outputs = [output.name for output in session.get_outputs()]

    def describe(audio: Path, closely: bool = True) -> Described:
        samples = _samples(audio, rate)
        margin = overlap // 2
        padded = np.pad(samples, (margin * hop, window))
        starts = np.arange(0, len(samples), window - overlap * hop)
        batch = np.stack([padded[start : start + window] for start in starts])[:, :, None]
        parts = session.run(outputs, {session.get_inputs()[0].name: batch})
        windows = np.concatenate(parts, axis=2)[:, margin:-margin]
        # A window is no whole number of frames longer than its overlap: each goes where it began.
        joined = np.zeros((starts[-1] // hop + 1 + windows.shape[1], windows.shape[2]), np.float32)
        for start, found in zip(np.round(starts / hop).astype(int), windows, strict=True):
            joined[start : start + len(found)] = found
        frames = resampled(joined, rate / hop, len(samples) * CONFIG.mel.sample_rate // rate)
        return Described({"basic-pitch": frames}, _statistics("basic-pitch", frames))

    return describe


def resampled(values: np.ndarray, rate: float, n_samples: int) -> np.ndarray:
    """Values (n, dim) at `rate` Hz, averaged over each frame of the grid of so many samples."""
    n = 1 + n_samples // CONFIG.mel.hop_length
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    edges = (np.arange(n + 1) - 0.5) / CONFIG.mel.frame_rate * rate
    edges = np.clip(edges + 0.5, 0, len(values))  # value i is centred on i / rate
    low = np.minimum(edges.astype(int), len(values) - 1)
    integral = sums[low] + (edges - low)[:, None] * values[low]
    width = np.maximum(np.diff(edges), 1e-3)[:, None]
    return np.asarray(np.diff(integral, axis=0) / width, dtype=np.float32)


def averaged(frames: np.ndarray, width: int = AVERAGED_FRAMES) -> np.ndarray:
    """Each frame's mean with its neighbours, `width` in all."""
    padded = np.pad(frames, ((width // 2, width // 2), (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, width, axis=0).mean(axis=-1)


def with_context(frames: np.ndarray, seconds: float = 0.5) -> np.ndarray:
    """Each frame beside the means of what is before and after it, `seconds` in all: (n, 3 dim)."""
    half = round(seconds / 2 * CONFIG.mel.frame_rate)
    padded = np.pad(frames, ((half, half), (0, 0)), mode="edge")
    sums = np.concatenate([np.zeros((1, frames.shape[1])), np.cumsum(padded, 0, dtype=np.float64)])
    n = len(frames)
    before = (sums[half : half + n] - sums[:n]) / half
    after = (sums[2 * half + 1 : 2 * half + 1 + n] - sums[half + 1 : half + 1 + n]) / half
    return np.concatenate([frames, before, after], axis=1).astype(np.float32)


def itself(system: System) -> System:
    """A system that needs no making, where one is made."""
    return system


def as_onnx(weights: Path, folder: Path) -> Path:
    """The model to extract with: itself, or exported from safetensors."""
    if weights.suffix == ".onnx":
        return weights
    model = folder / f"{weights.stem}.onnx"
    if not model.exists():
        export(weights, model)
    return model


def untrained(config: Config, folder: Path, seed: int = 0) -> Path:
    """A ViT-1D of a shape that has heard nothing, as ONNX."""
    path = folder / "untrained.safetensors"
    torch.manual_seed(seed)
    save(ViT1D(config), path, "untrained", trained=False)
    return as_onnx(path, folder)


def _samples(audio: Path, rate: int) -> np.ndarray:
    with AudioFile(audio) as file:
        return np.concatenate(list(mono_at_rate(file.blocks(), file.sample_rate, rate)))


def _frames(found: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(found.T, dtype=np.float32)


def _statistics(name: str, frames: np.ndarray) -> Arrays:
    statistics = np.concatenate([frames.mean(0), frames.std(0)])
    return {f"{name}, mean and deviation": statistics}
