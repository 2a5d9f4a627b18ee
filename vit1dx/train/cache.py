"""Music as log-mel frames on disk: every track once, float16, in one file to be mapped.

A cache is a folder of two files. `frames.f16` holds the tracks' frames one after another and
`index.jsonl` a line for each track: where its frames are, or why it has none. A line is written
after its frames, so that a run that is killed costs one track. An hour of music takes 29 MB.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .._types import Array
from ..audio.decode import AudioFile
from ..audio.mel import LogMel
from ..audio.resample import mono_at_rate
from ..config import MelConfig
from ..errors import AudioError, UsageError
from ..remote import AnyPath, RemotePath
from ..run.sources import collect
from ..whole import whole

FRAMES, INDEX = "frames.f16", "index.jsonl"
FORMAT = "vit1dx-mel-cache"
DTYPE = np.dtype(np.float16)  # rounds by 0.04 dB at most


@dataclass(frozen=True)
class CachedTrack:
    """A line of the index.

    Attributes
    ----------
    path : str
        The file it came from, absolute.
    size, mtime_ns : int
        Of that file, which is decoded anew where they change.
    start, length : int
        Where its frames are; 0 and 0 where it could not be decoded.
    reason : str or None
        Why it could not be decoded.
    """

    path: str
    size: int
    mtime_ns: int
    start: int = 0
    length: int = 0
    reason: str | None = None


def find_audio(paths: Iterable[Path], listed: Iterable[str] = ()) -> list[Path]:
    """Audio files among the paths and below the folders among them, absolute, each once.

    Those that are listed are taken as they are, there or not.

    Raises
    ------
    UsageError
        If a path does not exist, or there is no audio file.
    """
    named, names = list(paths), list(listed)
    # One by one: that files of two folders have one name matters nothing here.
    sources = [s for path in named for s in collect([os.fspath(path)], follow_symlinks=True)]
    sources += collect([], names)
    if not sources:
        raise UsageError(f"no audio file in {', '.join(map(str, named)) or 'an empty list'}")
    return list(dict.fromkeys(_local(source.path) for source in sources))


def _local(path: AnyPath) -> Path:
    if isinstance(path, RemotePath):
        raise UsageError(f"{path}: training reads its music over and over; copy it to a disk first")
    return path.resolve()


def log_mel_of(path: Path, mel: LogMel) -> Array:
    """All log-mel frames of a file, (n, n_mels) float16.

    Raises
    ------
    AudioError
        If the file cannot be decoded.
    """
    with AudioFile(path) as audio:
        blocks = mono_at_rate(audio.blocks(), audio.sample_rate, mel.config.sample_rate)
        return np.concatenate([frames.astype(DTYPE) for frames in mel.stream(blocks)])


class MelCache:
    """A cache of decoded tracks.

    Parameters
    ----------
    folder : path
        Made where it does not exist.
    config : MelConfig
        Of all frames in it.

    Attributes
    ----------
    tracks : dict of CachedTrack, by path

    Raises
    ------
    UsageError
        If the folder holds frames of another config, or something else.
    """

    def __init__(self, folder: Path, config: MelConfig) -> None:
        self.folder, self.config = folder, config
        folder.mkdir(parents=True, exist_ok=True)
        self._index, self._frames = folder / INDEX, folder / FRAMES
        self.tracks = {track.path: track for track in self._read_index()}

    def fill(self, paths: Iterable[Path], workers: int = 1) -> Iterator[CachedTrack]:
        """Decode what is not there yet, giving each track as soon as it is in the cache."""
        missing = [path for path in paths if not self._has(path)]
        self._mend()
        with self._frames.open("ab") as frames, self._index.open("ab") as index:
            for path, decoded in _decoded(missing, LogMel(self.config), workers):
                track = self._append(frames, path, decoded)
                _write_line(index, asdict(track))
                self.tracks[track.path] = track
                yield track

    def frames(self) -> Array:
        """Frames of all tracks, (n, n_mels) float16, mapped read-only."""
        return np.memmap(self._frames, DTYPE, mode="r").reshape(-1, self.config.n_mels)

    @property
    def _bytes(self) -> int:
        """Bytes of a frame."""
        return self.config.n_mels * DTYPE.itemsize

    def _append(self, frames: BinaryIO, path: Path, decoded: Array | str) -> CachedTrack:
        size, mtime_ns = _stamp(path)
        if isinstance(decoded, str):
            return CachedTrack(str(path), size, mtime_ns, reason=decoded)
        start = frames.seek(0, os.SEEK_END) // self._bytes
        frames.write(decoded.tobytes())
        frames.flush()
        return CachedTrack(str(path), size, mtime_ns, start, len(decoded))

    def _has(self, path: Path) -> bool:
        known = self.tracks.get(str(path))
        try:
            status = path.stat()
        except OSError:
            return False
        stamp = (status.st_size, status.st_mtime_ns)
        return known is not None and (known.size, known.mtime_ns) == stamp

    def _read_index(self) -> list[CachedTrack]:
        if not self._index.exists():
            return []
        header, *rows = _whole_lines(self._index) or [{}]
        if header != self._header():
            raise UsageError(
                f"{self.folder} holds no frames of {self.config.n_mels} mel bands as these weights "
                "take them; name another folder by --cache"
            )
        return [CachedTrack(**row) for row in rows]

    def _header(self) -> dict[str, Any]:
        return {"format": FORMAT, "format_version": 1, "mel": asdict(self.config)}

    def _mend(self) -> None:
        """Cut off what a killed run left unfinished."""
        end = max((track.start + track.length for track in self.tracks.values()), default=0)
        with self._frames.open("ab") as frames:
            frames.truncate(end * self._bytes)
        rows = [self._header(), *map(asdict, self.tracks.values())]
        with whole(self._index) as unfinished:
            unfinished.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _decoded(paths: list[Path], mel: LogMel, workers: int) -> Iterator[tuple[Path, Array | str]]:
    """Frames or the reason why there are none, in order, few of them waiting in memory."""
    left = iter(paths)
    with ThreadPoolExecutor(workers) as pool:
        waiting = [(path, pool.submit(_decode, path, mel)) for path in islice(left, workers)]
        while waiting:
            path, future = waiting.pop(0)
            yield path, future.result()
            waiting += [(p, pool.submit(_decode, p, mel)) for p in islice(left, 1)]


def _decode(path: Path, mel: LogMel) -> Array | str:
    try:
        return log_mel_of(path, mel)
    except (AudioError, OSError, MemoryError) as error:
        return str(error) or type(error).__name__


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _write_line(index: BinaryIO, row: dict[str, Any]) -> None:
    index.write((json.dumps(row) + "\n").encode())
    index.flush()
