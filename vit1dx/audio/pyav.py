"""FFmpeg, by PyAV: what libsndfile cannot read, or not to its end; it goes on past damage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import av
import av.error
import numpy as np
from av.stream import Disposition

from .._types import Array
from ..errors import AudioError, AudioWarning
from ..remote import AnyPath, RemotePath
from .files import MAX_RATE, MIN_RATE
from .resample import Resampler
from .tags import tag_at
from .timeline import Timeline

#: What is opened leads to no other place.
_LOCAL = {"protocol_whitelist": "file"}
_UNSIZED = {"ignore_length": "1"}
#: Samples a channel gathered into one block.
BLOCK_FRAMES = 1 << 14
#: Errors of the container one after another before it counts as ended.
MAX_ERRORS = 100
#: Packets that may fail beyond those that are decoded: noise for long can crash FFmpeg.
PATIENCE = 20
#: Formats that are lists of other files, and what they may lead to is not read.
PLAYLISTS = frozenset("applehttp concat dash hls imf sdp".split())
#: Formats that any bytes are, besides those of plain PCM.
_HEADERLESS = frozenset("aptx aptx_hd codec2raw dfpwm g722 g726 g726le gsm sbc sln".split())
#: Formats in which packets follow one another without anything in between but tags.
_BARE = frozenset("aac ac3 eac3 flac mp3".split())
#: Formats whose duration FFmpeg only guesses from the bit rate.
_GUESSED = frozenset("aac ac3 amr amrnb amrwb dts eac3 loas mp3 mpeg mpegts ogg".split())
#: What full scale is, and where its middle, by the type of a sample.
_SCALES = {"u1": (128, 128), "i2": (1 << 15, 0), "i4": (1 << 31, 0), "i8": (1 << 63, 0)}


class PyavDecoder:
    """A file's default audio stream, read by FFmpeg; a `Decoder`.

    Parameters
    ----------
    path : path
    end : int
        Byte behind the audio, where tags may begin.
    unsized : bool
        Whether sizes in its header are to be ignored.
    """

    name = f"FFmpeg {av.ffmpeg_version_info} (PyAV {av.__version__})"

    def __init__(self, path: AnyPath, end: int, unsized: bool = False) -> None:
        self._path, self._end = path, end
        self._source: Any = _Unseekable(path) if unsized else _source(path)
        try:
            self._container: Any = av.open(
                self._source,
                metadata_errors="replace",
                options={**_LOCAL, **(_UNSIZED if unsized else {})},
            )
        except (av.error.FFmpegError, UnicodeError, ValueError) as error:
            raise AudioError(f"FFmpeg cannot read it ({_words(error)})") from None
        try:
            self._stream = self._chosen()
        except AudioError:
            self._container.close()
            raise
        self._stream.codec_context.thread_count = 1
        self.sample_rate: int = self._stream.rate or 0
        self.channels: int = self._stream.channels
        self.start_time = self._seconds(self._stream.start_time) - self._container_start()
        self.consumed: int | None = None
        self._is_bare = self._container.format.name in _BARE
        self._is_timed = True
        self._format = self.sample_rate, self.channels
        self._resampler: Resampler | None = None
        self._given = 0
        self._timeline = Timeline(self._latest())
        self._damage = _Damage()
        self._changes: dict[str, list[str]] = {}

    def _chosen(self) -> Any:
        """The default audio stream, or else the first."""
        form = self._container.format
        if PLAYLISTS.intersection(form.name.split(",")):
            raise AudioError("a list of other files, not audio")
        if form.long_name.startswith("PCM ") or form.name in _HEADERLESS:
            raise AudioError("FFmpeg cannot read it (samples without a header, or none at all)")
        streams = [s for s in self._container.streams.audio if s.codec_context is not None]
        if not streams:
            raise AudioError("no audio stream in it that FFmpeg can decode")
        defaults = [s for s in streams if s.disposition & Disposition.default]
        return (defaults or streams)[0]

    def _seconds(self, ticks: int | None) -> float:
        return float((ticks or 0) * self._stream.time_base)

    def _container_start(self) -> float:
        return (self._container.start_time or 0) / av.time_base

    @property
    def declared(self) -> float | None:
        """Seconds that the file declares of this stream."""
        if _GUESSED.intersection(self._container.format.name.split(",")):
            return None
        if self._stream.duration:
            return self._seconds(self._stream.duration)
        if tag := self._stream.metadata.get("DURATION"):
            return _clock_seconds(tag)
        alone = len(self._container.streams) == 1
        return (
            self._container.duration / av.time_base if alone and self._container.duration else None
        )

    def _latest(self) -> float | None:
        """When the file ends, by the stream's clock."""
        guessed = _GUESSED.intersection(self._container.format.name.split(","))
        if guessed or not self._container.duration:
            return None
        return self._container_start() + self._container.duration / av.time_base

    @property
    def warnings(self) -> list[AudioWarning]:
        """What is to be said of what was decoded so far."""
        audio = self._container.streams.audio
        found = []
        if len(audio) > 1:
            which = audio.index(self._stream) + 1
            found.append(AudioWarning("streams", f"audio stream {which} of {len(audio)} was taken"))
        for code, changes in self._changes.items():
            found.append(AudioWarning(code, f"{changes[0]}; {len(changes)} such changes in all"))
        return found + self._damage.warnings() + self._timeline.warnings()

    def blocks(self) -> Iterator[Array]:
        """The samples, as (n, channels) float32 arrays.

        Raises
        ------
        AudioError
            If next to nothing of it can be decoded.
        """
        gathered: list[Array] = []
        for part in self._parts():
            if gathered and part.shape[1] != gathered[0].shape[1]:
                yield _joined(gathered)
            gathered.append(part)
            if sum(map(len, gathered)) >= BLOCK_FRAMES:
                yield _joined(gathered)
        if gathered:
            yield _joined(gathered)
        self._damage.require_some_sound()

    def _parts(self) -> Iterator[Array]:
        """Samples frame by frame, in their places, at the first frame's rate."""
        for frame in self._frames():
            samples = _as_float(frame)
            time = self._time(frame)
            at, damaged = self._given / self.sample_rate, self._damage.take_fresh()
            for placed in self._timeline.place(samples, frame.sample_rate, time, at, damaged):
                yield from self._resampled(placed, frame.sample_rate)
        if self._resampler:
            yield self._count(self._resampler.end().reshape(-1, self._format[1]))

    def _time(self, frame: Any) -> float | None:
        """Of a frame, by the stream's clock, which bare formats count at the first rate."""
        if self._is_bare and frame.sample_rate != self.sample_rate:
            self._is_timed = False
        known = self._is_timed and frame.pts is not None
        return float(frame.pts * frame.time_base) if known else None

    def _resampled(self, samples: Array, rate: int) -> Iterator[Array]:
        """Samples at the first rate; where theirs changes, by a new resampler."""
        before, self._format = self._format, (rate, samples.shape[1])
        if self._format != before:
            if self._resampler:
                yield self._count(self._resampler.end().reshape(-1, before[1]))
            same = rate == self.sample_rate
            self._resampler = None if same else Resampler(rate, self.sample_rate, samples.shape[1])
            self._note_change(before)
        if self._resampler:
            samples = self._resampler.add(samples).reshape(-1, samples.shape[1])
        yield self._count(samples)

    def _count(self, samples: Array) -> Array:
        self._given += len(samples)
        return samples

    def _note_change(self, before: tuple[int, int]) -> None:
        kinds = ("rate-change", "sample rate", " Hz"), ("channels-change", "number of channels", "")
        at = self._given / self.sample_rate
        for (code, what, unit), old, new in zip(kinds, before, self._format, strict=True):
            if old != new:
                text = f"{what} changes from {old} to {new}{unit} at {at:.3f} s"
                self._changes.setdefault(code, []).append(text)

    def _frames(self) -> Iterator[Any]:
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                self._damage.add(self._given / self.sample_rate, _words(error))
                self._damage.require_some_sound(PATIENCE)
                continue
            self._damage.decoded += bool(frames)
            yield from (f for f in frames if MIN_RATE <= f.sample_rate <= MAX_RATE)

    def _packets(self) -> Iterator[Any]:
        """Packets of the stream; what lies between them in bare formats is damage."""
        errors = 0
        while errors < MAX_ERRORS:
            try:
                for packet in self._container.demux(self._stream):
                    errors = 0
                    if self._is_bare and packet.pos is not None and packet.size:
                        if packet.pos >= self._end:
                            continue
                        self._follow(packet)
                    yield packet
                return
            except av.error.FFmpegError as error:
                errors += 1
                self._damage.add(self._given / self.sample_rate, _words(error))

    def _follow(self, packet: Any) -> None:
        """Note what lies between a packet and the one before it."""
        if self.consumed is not None and packet.pos > self.consumed:
            with self._path.open("rb") as file:
                tag = tag_at(file, self.consumed)
            if self.consumed + tag < packet.pos:
                self._damage.add(self._given / self.sample_rate, "bytes that are no audio")
        self.consumed = packet.pos + packet.size

    def close(self) -> None:
        """Close the file."""
        self._container.close()
        if isinstance(self._source, _Unseekable):
            self._source.close()


class _Unseekable:
    """A file that can only be read on: FFmpeg then looks for nothing behind a size that is wrong.

    In gigabytes of samples it would look for chunks for hours.
    """

    def __init__(self, path: AnyPath) -> None:
        self._file = path.open("rb")

    def read(self, count: int) -> bytes:
        return self._file.read(count)

    def close(self) -> None:
        self._file.close()


def _source(path: AnyPath) -> Any:
    return path.open("rb") if isinstance(path, RemotePath) else os.fspath(path)


class _Damage:
    """Places that were passed over."""

    def __init__(self) -> None:
        self.decoded = 0
        self._count, self._fresh = 0, False
        self._first = 0.0
        self._reason = ""

    def add(self, at: float, reason: str) -> None:
        if not self._count:
            self._first, self._reason = at, reason
        self._count += 1
        self._fresh = True

    def take_fresh(self) -> bool:
        """Whether there was some since the last time."""
        fresh, self._fresh = self._fresh, False
        return fresh

    def require_some_sound(self, patience: int = 0) -> None:
        """Raise `AudioError` where more was passed over than decoded: noise, or encrypted."""
        if self._count > self.decoded + patience:
            raise AudioError(
                f"FFmpeg can decode {self.decoded} packets and not {self._count} others "
                f"({self._reason})"
            )

    def warnings(self) -> list[AudioWarning]:
        if not self._count:
            return []
        places = "1 damaged place" if self._count == 1 else f"{self._count} damaged places"
        text = f"{places} passed over, the first at {self._first:.3f} s ({self._reason})"
        return [AudioWarning("damaged", text)]


def _joined(gathered: list[Array]) -> Array:
    """One block of all, which are then forgotten."""
    block = np.concatenate(gathered)
    gathered.clear()
    return block


def _as_float(frame: Any) -> Array:
    """A frame's samples, (n, channels) float32."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(frame.samples, -1).T
    if samples.dtype.kind != "f":
        scale, middle = _SCALES[samples.dtype.str[1:]]
        samples = (samples.astype(np.float64) - middle) / scale
    return np.ascontiguousarray(samples.T, np.float32)


def _clock_seconds(text: str) -> float | None:
    """Of Matroska's ``00:00:24.003000000``."""
    try:
        hours, minutes, seconds = map(float, text.split(":"))
    except ValueError:
        return None
    return (hours * 60 + minutes) * 60 + seconds


def _words(error: BaseException) -> str:
    """An error's own words on one line, without the path and the boilerplate around them."""
    words = getattr(error, "strerror", None) or str(error)
    return " ".join(words.split()).rstrip(".") or type(error).__name__
