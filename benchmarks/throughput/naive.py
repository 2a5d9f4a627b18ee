"""What a researcher would write: librosa, PyTorch, one file after the other, all layers.

python -m benchmarks.throughput.naive FOLDER OUT.h5
"""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import librosa
import numpy as np
import torch

from vit1dx.config import Config
from vit1dx.model.vit import ViT1D, load
from vit1dx.model.weights import bundled

BATCH = 16


def mel_of(path: Path, config: Config) -> torch.Tensor:
    """Log-mel windows of a file, (window, time, n_mels); the last is filled up with silence."""
    mel, length = config.mel, config.window.frames
    samples, _ = librosa.load(path, sr=mel.sample_rate)
    power = librosa.feature.melspectrogram(
        y=samples,
        sr=mel.sample_rate,
        n_fft=mel.n_fft,
        hop_length=mel.hop_length,
        n_mels=mel.n_mels,
        fmin=mel.f_min,
        fmax=mel.f_max,
    )
    decibels = 10 * np.log10(np.maximum(power.T, mel.floor))
    frames = torch.from_numpy((decibels - mel.mean) / mel.scale).float()
    padded = torch.nn.functional.pad(
        frames, (0, 0, 0, -len(frames) % length), value=float(frames.min())
    )
    return padded.reshape(-1, length, mel.n_mels)


def tokens_of(windows: torch.Tensor, model: ViT1D) -> np.ndarray:
    """Tokens of all blocks, (layer, window, token, feature)."""
    layers = range(1, model.config.model.depth + 1)
    parts = []
    for batch in torch.split(windows, BATCH):
        tokens, _ = model(batch, layers)
        parts.append(torch.stack(list(tokens.values())))
    return torch.cat(parts, dim=1).numpy()


@torch.inference_mode()
def main(folder: Path, output: Path) -> None:
    """Extract a folder."""
    model = load(bundled(".safetensors")).eval()
    with h5py.File(output, "w") as file:
        for path in sorted(folder.iterdir()):
            file[path.name] = tokens_of(mel_of(path, model.config), model)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
