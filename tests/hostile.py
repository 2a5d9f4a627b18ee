"""An extractor whose decoder does to its process what the file's name says."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import vit1dx.audio.decode
import vit1dx.audio.probe
from vit1dx._types import Array
from vit1dx.audio.decode import AudioFile
from vit1dx.extractor import Extractor


def make(**arguments: Any) -> Extractor:
    """Called in a worker, by name: also puts a decoder in place that misbehaves."""
    setattr(vit1dx.audio.decode, "AudioFile", _HostileFile)  # noqa: B010
    probe = vit1dx.audio.probe.probe_duration

    def hostile_probe(path: str) -> float | None:
        if Path(path).stem == "header":
            ctypes.string_at(0)
        return probe(path)

    setattr(vit1dx.audio.probe, "probe_duration", hostile_probe)  # noqa: B010
    return Extractor(**arguments)


def make_with_slow_hashes(**arguments: Any) -> Extractor:
    """Called in a worker, by name: a mebibyte takes half a second to hash."""
    extractor = Extractor(**arguments)
    extractor.backend  # noqa: B018  whose weights are hashed too
    setattr(hashlib, "sha256", _SlowHash)  # noqa: B010
    return extractor


def _compute(seconds: float) -> None:
    """Use so much of the processor's time, without a word."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


class _SlowHash:
    def update(self, block: bytes) -> None:
        time.sleep(0.5)

    def hexdigest(self) -> str:
        return "0" * 64


class _HostileFile(AudioFile):
    def blocks(self) -> Iterator[Array]:
        yield from super().blocks()
        match self.path.stem:
            case "segfault" | "header":
                ctypes.string_at(0)
            case "abort":
                os.abort()
            case "exit":
                os._exit(7)
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "busy":
                _compute(6)
            case "hang":
                time.sleep(3600)
            case "endless":
                while True:
                    yield np.zeros((16000, 1), np.float32)
            case "bomb":
                held = []
                while True:
                    held.append(np.ones(1 << 24))
