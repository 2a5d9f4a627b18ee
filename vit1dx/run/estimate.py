"""How much audio there is and how large its features will be, before anything is decoded."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import Config
from ..errors import AudioWarning, SpaceError
from ..model.request import Request
from ..remote import text_of
from ..store.track import CHUNK_BYTES
from ..whole import resolved
from .pool import Job, Pool
from .sources import Source

#: Files whose headers are read; the others' durations follow from their sizes.
PROBED_FILES = 200
#: Seconds that reading a header may take.
PROBE_SECONDS = 20.0
#: What HDF5 adds for a track.
TRACK_BYTES = 3500
#: Bytes that a second of audio takes at least, by ending: mp3 has no frames below 8 kbit/s, and
#: the others no samples below 4 bits and 1 kHz.
LEAST_BYTES = {
    **dict.fromkeys((".mp1", ".mp2", ".mp3"), 1000),
    **dict.fromkeys(".aif .aifc .aiff .au .rf64 .snd .w64 .wav .wave".split(), 500),
}
#: And otherwise: 2 kbit/s, below all codecs for speech. What takes less is silence.
LEAST_BYTES_ELSE = 250
#: Bytes that one takes where no header says: an mp3's at 128 kbit/s, and a film's.
USUAL_BYTES, USUAL_BYTES_FILM = 16_000, 125_000
FILMS = frozenset(".3gp .avi .m4v .mkv .mov .mp4 .webm .wmv".split())


@dataclass(frozen=True)
class Size:
    """Expected bytes of a feature file, by part."""

    tokens: int
    attention: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.tokens + self.attention


@dataclass(frozen=True)
class Durations:
    """Expected durations of files, by id.

    Attributes
    ----------
    seconds : dict of str to float
    guessed : set of str
        Those that follow from no header that can be believed, the file's own or others' of its
        ending.
    impossible : dict of str to float
        What headers declare, s, of files that cannot hold as much.
    """

    seconds: dict[str, float]
    guessed: set[str]
    impossible: dict[str, float]

    @property
    def sound(self) -> dict[str, float]:
        """Those that are no guesses."""
        return {key: value for key, value in self.seconds.items() if key not in self.guessed}

    def warnings(self) -> Iterator[tuple[str, AudioWarning]]:
        """A warning of each impossible length, with the file's id."""
        for key, declared in self.impossible.items():
            text = (
                f"its header declares {declared:.4g} s, more than a file of its size holds; taken "
                f"for at most {self.seconds[key]:.4g} s"
            )
            yield key, AudioWarning("length", text)


def most_seconds(source: Source) -> float:
    """Seconds of audio that a file of this size and ending can hold."""
    return source.size / LEAST_BYTES.get(_ending(source), LEAST_BYTES_ELSE)


def estimate_seconds(
    sources: Sequence[Source], probe: Callable[[Sequence[Source]], Mapping[str, float]]
) -> Durations:
    """Expected durations of files.

    Some headers, evenly spaced, are read; a file's duration follows from its size and from the
    seconds a byte of the headers that were read of its ending. Where a header declares more than
    the file can hold, the duration is what it can hold.

    Parameters
    ----------
    sources : sequence of Source
    probe : callable
        Gives seconds that headers declare, by id; see `probe_in`.
    """
    segments = {source.id: source.segment for source in sources if source.segment}
    ended = {key: s.end - s.start for key, s in segments.items() if s.end is not None}
    usable = [s for s in sources if s.size and not s.problem and s.id not in ended]
    # Others are not even opened: a pipe would wait for its writer.
    probed = usable[:: max(1, len(usable) // PROBED_FILES)]
    declared = {key: value for key, value in probe(probed).items() if value > 0}
    impossible = {
        source.id: declared[source.id]
        for source in probed
        if declared.get(source.id, 0.0) > most_seconds(source)
    }
    known = {key: value for key, value in declared.items() if key not in impossible}
    rates = _rates([source for source in probed if source.id in known], known)
    unsaid = {source.id for source in probed if source.id not in known}
    guessed = {s.id for s in usable if s.id in unsaid or _ending(s) not in rates}
    seconds = dict.fromkeys((source.id for source in sources), 0.0)
    for source in usable:
        rate = rates.get(_ending(source), _usual_rate(source))
        guess = most_seconds(source) if source.id in impossible else source.size * rate
        seconds[source.id] = known.get(source.id, guess)
        if source.id in segments:
            seconds[source.id] = max(0.0, seconds[source.id] - segments[source.id].start)
    seconds.update(ended)
    return Durations(seconds, guessed, impossible)


def _ending(source: Source) -> str:
    return source.path.suffix.lower()


def _rates(sources: Sequence[Source], known: Mapping[str, float]) -> dict[str, float]:
    """Seconds a byte, by ending."""
    seconds: dict[str, float] = defaultdict(float)
    sizes: dict[str, int] = defaultdict(int)
    for source in sources:
        seconds[_ending(source)] += known[source.id]
        sizes[_ending(source)] += source.size
    return {ending: seconds[ending] / sizes[ending] for ending in sizes}


def _usual_rate(source: Source) -> float:
    return 1 / (USUAL_BYTES_FILM if _ending(source) in FILMS else USUAL_BYTES)


def probe_in(pool: Pool, sources: Sequence[Source], check: Callable[[], None]) -> dict[str, float]:
    """Seconds that headers declare, by id, read by workers: a header, too, can crash a decoder.

    `check` is called several times a second.
    """
    jobs = (Job("probe", source.id, text_of(source.path), PROBE_SECONDS) for source in sources)
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
    pooled = frames if request.pool is None else seconds / request.pool + tracks
    number = np.dtype(dtype).itemsize
    row = len(request.layers) * number
    # A mean token is in the track and in the index.
    lengths = {"mean": 2 * tracks, "class": windows, "sequence": pooled}
    kept = sum(lengths[kind] for kind in request.tokens)
    times = windows * ("window_start" in request.arrays) + pooled * ("time" in request.arrays)
    tokens = row * config.model.dim * kept + 8 * times
    keys = 1 + config.window.frames
    queries = {"none": 0, "class": 1, "full": keys}[request.attention]
    rows = len(request.attention_layers) * windows * config.model.heads * queries
    attention = rows * keys * number
    return Size(tokens=round(tokens) + TRACK_BYTES * tracks, attention=round(attention))


def grown_size(seconds: float, config: Config, request: Request, dtype: str) -> int:
    """Expected size of one track that grows on disk, its last chunks filled up."""
    rows = {"attention": len(request.attention_layers), "time": 1, "window_start": 1}
    chunks = sum(rows.get(name, len(request.layers)) for name in request.arrays)
    return estimate_size(seconds, 1, config, request, dtype).total + chunks * CHUNK_BYTES


def require_space(path: Path, size: Size, seconds: Mapping[str, float]) -> None:
    """Raise `SpaceError` unless the disk that `path` is on has room for `size`.

    `seconds` are the durations that it follows from, by id: a file that takes most of it is named.
    """
    home = path if path.is_dir() else resolved(path).parent
    free = shutil.disk_usage(home).free
    if size.total > free:
        raise SpaceError(
            f"about {format_bytes(size.total)} needed (tokens {format_bytes(size.tokens)}, "
            f"attention {format_bytes(size.attention)}{_most_for(seconds)}) and "
            f"{format_bytes(free)} free at {home}; ask for fewer layers, less attention or "
            "--dtype float16"
        )


def _most_for(seconds: Mapping[str, float]) -> str:
    longest = max(seconds, key=lambda key: seconds[key])
    if len(seconds) == 1 or seconds[longest] <= sum(seconds.values()) / 2:
        return ""
    return f", most of it for {longest} of {seconds[longest] / 3600:.4g} h"


def format_bytes(count: float) -> str:
    """A number of bytes for people: ``"1.5 GB"``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
