"""Decoded music on disk: every track once, mono int16 at one rate, in one file to be mapped.

A cache is a folder of two files. `samples.i16` holds the tracks' samples one after another and
`index.jsonl` a line for each track: where its samples are, or why it has none. A line is written
after its samples, so that a run that is killed costs one track.
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

from ..arrays import Array
from ..audio.decode import AudioFile
from ..audio.resample import mono_at_rate
from ..collect import collect
from ..errors import AudioError, UsageError

SAMPLES, INDEX = "samples.i16", "index.jsonl"
FORMAT = "vit1dx-audio-cache"
FULL_SCALE = 32767
_BYTES = 2  # a sample


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
        Where its samples are; 0 and 0 where it could not be decoded.
    reason : str or None
        Why it could not be decoded.
    """

    path: str
    size: int
    mtime_ns: int
    start: int = 0
    length: int = 0
    reason: str | None = None


def find_audio(paths: Iterable[Path]) -> list[Path]:
    """Audio files among the paths and below the folders among them, absolute, each once.

    Raises
    ------
    UsageError
        If a path does not exist, or there is no audio file.
    """
    named = list(paths)
    # One by one: that files of two folders have one name matters nothing here.
    sources = [s for path in named for s in collect([os.fspath(path)], follow_symlinks=True)]
    if not sources:
        raise UsageError(f"no audio file in {', '.join(map(str, named))}")
    return list(dict.fromkeys(source.path.resolve() for source in sources))


def decode_int16(path: Path, sample_rate: int) -> Array:
    """All samples of a file, mono at `sample_rate`, (n,) int16; what is above full scale clips."""
    with AudioFile(path) as audio:
        blocks = list(mono_at_rate(audio.blocks(), audio.sample_rate, sample_rate))
    samples = np.concatenate(blocks)
    return np.round(np.clip(samples, -1, 1) * FULL_SCALE).astype(np.int16)


class AudioCache:
    """A cache of decoded tracks.

    Parameters
    ----------
    folder : path
        Made where it does not exist.
    sample_rate : int
        Hz, of all samples in it.

    Attributes
    ----------
    tracks : dict of CachedTrack, by path

    Raises
    ------
    UsageError
        If the folder holds a cache at another rate, or something else.
    """

    def __init__(self, folder: Path, sample_rate: int) -> None:
        self.folder, self.sample_rate = folder, sample_rate
        folder.mkdir(parents=True, exist_ok=True)
        self._index, self._samples = folder / INDEX, folder / SAMPLES
        self.tracks = {track.path: track for track in self._read_index()}

    def fill(self, paths: Iterable[Path], workers: int = 1) -> Iterator[CachedTrack]:
        """Decode what is not there yet, giving each track as soon as it is in the cache."""
        missing = [path for path in paths if not self._has(path)]
        self._mend()
        with self._samples.open("ab") as samples, self._index.open("ab") as index:
            for path, decoded in _decoded(missing, self.sample_rate, workers):
                track = _append(samples, path, decoded)
                _write_line(index, asdict(track))
                self.tracks[track.path] = track
                yield track

    def samples(self) -> Array:
        """Samples of all tracks, (n,) int16, mapped read-only."""
        return np.memmap(self._samples, np.int16, mode="r")

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
                f"{self.folder} is no cache of audio at {self.sample_rate} Hz; "
                "name another folder by --cache"
            )
        return [CachedTrack(**row) for row in rows]

    def _header(self) -> dict[str, Any]:
        return {"format": FORMAT, "format_version": 1, "sample_rate": self.sample_rate}

    def _mend(self) -> None:
        """Cut off what a killed run left unfinished."""
        end = max((track.start + track.length for track in self.tracks.values()), default=0)
        with self._samples.open("ab") as samples:
            samples.truncate(end * _BYTES)
        rows = [self._header(), *map(asdict, self.tracks.values())]
        unfinished = self._index.with_suffix(".tmp")
        unfinished.write_text("".join(json.dumps(row) + "\n" for row in rows))
        os.replace(unfinished, self._index)


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _decoded(
    paths: list[Path], sample_rate: int, workers: int
) -> Iterator[tuple[Path, Array | str]]:
    """Samples or the reason why there are none, in order, few of them waiting in memory."""
    left = iter(paths)
    with ThreadPoolExecutor(workers) as pool:
        waiting = [
            (path, pool.submit(_decode, path, sample_rate)) for path in islice(left, workers)
        ]
        while waiting:
            path, future = waiting.pop(0)
            yield path, future.result()
            waiting += [(p, pool.submit(_decode, p, sample_rate)) for p in islice(left, 1)]


def _decode(path: Path, sample_rate: int) -> Array | str:
    try:
        return decode_int16(path, sample_rate)
    except (AudioError, OSError, MemoryError) as error:
        return str(error) or type(error).__name__


def _append(samples: BinaryIO, path: Path, decoded: Array | str) -> CachedTrack:
    size, mtime_ns = _stamp(path)
    if isinstance(decoded, str):
        return CachedTrack(str(path), size, mtime_ns, reason=decoded)
    start = samples.seek(0, os.SEEK_END) // _BYTES
    samples.write(decoded.tobytes())
    samples.flush()
    return CachedTrack(str(path), size, mtime_ns, start, len(decoded))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _write_line(index: BinaryIO, row: dict[str, Any]) -> None:
    index.write((json.dumps(row) + "\n").encode())
    index.flush()
