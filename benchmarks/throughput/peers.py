"""Peers that bring their weights along and have no command line of their own.

python -m benchmarks.throughput.peers swift-f0 FOLDER OUT.npz, by the Python they are installed in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np


def swift_f0() -> Callable[[Path], np.ndarray]:
    """SwiftF0: pitch by a small network in ONNX Runtime."""
    import swift_f0

    detector = swift_f0.SwiftF0()
    return lambda path: np.asarray(detector.detect_file(path).pitch_hz)


PEERS = {"swift-f0": swift_f0}


def main(name: str, folder: Path, output: Path) -> None:
    """Extract a folder."""
    extract = PEERS[name]()
    np.savez(output, *map(extract, sorted(folder.iterdir())))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
