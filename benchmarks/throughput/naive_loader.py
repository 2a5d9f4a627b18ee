"""The same with a DataLoader: two processes decode while PyTorch runs the model.

python -m benchmarks.throughput.naive_loader FOLDER OUT.h5
"""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.throughput.naive import mel_of, tokens_of
from vit1dx.config import Config
from vit1dx.model.vit import load
from vit1dx.model.weights import bundled

WORKERS = 2


class Songs(Dataset[tuple[str, torch.Tensor]]):
    """File names and log-mel windows."""

    def __init__(self, folder: Path, config: Config) -> None:
        self._paths, self._config = sorted(folder.iterdir()), config

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[str, torch.Tensor]:
        path = self._paths[index]
        return path.name, mel_of(path, self._config)


@torch.inference_mode()
def main(folder: Path, output: Path) -> None:
    """Extract a folder."""
    model = load(bundled(".safetensors")).eval()
    loader = DataLoader(Songs(folder, model.config), batch_size=None, num_workers=WORKERS)
    with h5py.File(output, "w") as file:
        for name, windows in loader:
            file[name] = tokens_of(windows, model)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
