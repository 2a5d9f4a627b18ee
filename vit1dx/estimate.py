"""How much audio there is and how large its features will be, before anything is decoded."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .collect import Source
from .config import Config
from .errors import SpaceError
from .place import resolved
from .pool import Job, Pool
from .request import Request
from .track import CHUNK_BYTES

#: Files whose headers are read; the others' durations follow from their sizes.
PROBED_FILES = 200
#: Seconds that reading a header may take.
PROBE_SECONDS = 20.0
#: What HDF5 adds for a track.
TRACK_BYTES = 3500
#: Seconds a byte where no header at all could be read: an mp3's at 128 kbit/s.
DEFAULT_SECONDS_PER_BYTE = 8 / 128_000


@dataclass(frozen=True)
class Size:
    """Expected bytes of a feature file, by part."""

    tokens: int
    attention: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.tokens + self.attention


def estimate_seconds(
    sources: Sequence[Source], probe: Callable[[Sequence[Source]], Mapping[str, float]]
) -> dict[str, float]:
    """Expected duration of each file, s, by id.

    Some headers, evenly spaced, are read; a file's duration follows from its size and from the
    seconds a byte of the headers that were read of its extension.

    Parameters
    ----------
    sources : sequence of Source
    probe : callable
        Gives seconds that headers declare, by id; see `probe_in`.
    """
    step = max(1, len(sources) // PROBED_FILES)
    # Not even opened where there is no size: a pipe would wait for its writer.
    probed = [source for source in sources[::step] if source.size and not source.problem]
    known = probe(probed)
    seconds: dict[str, float] = defaultdict(float)
    sizes: dict[str, int] = defaultdict(int)
    for source in probed:
        for key in (source.path.suffix.lower(), "") if source.id in known else ():
            seconds[key] += known[source.id]
            sizes[key] += source.size
    rates = {key: seconds[key] / sizes[key] for key in seconds if sizes[key]}
    usual = rates.get("", DEFAULT_SECONDS_PER_BYTE)
    return {
        source.id: known.get(source.id, source.size * rates.get(source.path.suffix.lower(), usual))
        for source in sources
    }


def probe_in(pool: Pool, sources: Sequence[Source], check: Callable[[], None]) -> dict[str, float]:
    """Seconds that headers declare, by id, read by workers: a header, too, can crash a decoder.

    `check` is called several times a second.
    """
    jobs = (Job("probe", source.id, str(source.path), PROBE_SECONDS) for source in sources)
    known = {}
    for event in pool.run(jobs):
        check()
        if event.job and event.message.get("seconds") is not None:
            known[event.job.id] = float(event.message["seconds"])
    return known


def estimate_size(
    seconds: float, tracks: int, config: Config, request: Request, dtype: str
) -> Size:
    """Expected size of the features of so many tracks, `seconds` long in all."""
    frames = seconds * config.mel.frame_rate + tracks
    windows = frames / config.window.step + tracks / 2
    number = np.dtype(dtype).itemsize
    row = len(request.layers) * number
    tokens = row * config.model.dim * (frames + windows + tracks) + 8 * (frames + windows)
    keys = 1 + config.window.frames
    queries = {"none": 0, "class": 1, "full": keys}[request.attention]
    attention = row * windows * config.model.heads * queries * keys
    return Size(tokens=round(tokens) + TRACK_BYTES * tracks, attention=round(attention))


def grown_size(seconds: float, config: Config, request: Request, dtype: str) -> int:
    """Expected size of one track that grows on disk, its last chunks filled up."""
    arrays = 2 if request.attention == "none" else 3
    chunks = arrays * len(request.layers) + 2  # and those of the two time axes
    return estimate_size(seconds, 1, config, request, dtype).total + chunks * CHUNK_BYTES


def require_space(path: Path, size: Size) -> None:
    """Raise `SpaceError` unless the disk that `path` is on has room for `size`."""
    home = path if path.is_dir() else resolved(path).parent
    free = shutil.disk_usage(home).free
    if size.total > free:
        raise SpaceError(
            f"about {format_bytes(size.total)} needed (tokens {format_bytes(size.tokens)}, "
            f"attention {format_bytes(size.attention)}) and {format_bytes(free)} free at "
            f"{home}; ask for fewer layers, less attention or --dtype float16"
        )


def format_bytes(count: float) -> str:
    """A number of bytes for people: ``"1.5 GB"``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
