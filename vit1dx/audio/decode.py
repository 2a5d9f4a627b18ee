"""A file's samples, by whichever of two decoders reads all of it.

The rule: seconds decoded, seconds declared and bytes consumed agree, or the other decoder reads the
file from its start, or a warning says what is missing. Where the structure of a file shows that
libsndfile would not read it to its end, FFmpeg reads it from the start, so that a sound file is
decoded once. Nothing is ever allocated, and no duration believed, on the word of a header.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from .._types import Array
from ..errors import AudioError, AudioWarning
from ..remote import AnyPath, RemotePath, path_of
from .files import MAX_RATE, MIN_RATE, require_readable
from .formats import Structure, inspect
from .sndfile import SndfileDecoder

#: No recording is louder: what is above comes from damaged floating-point samples.
MAX_AMPLITUDE = 1e6
#: Seconds that may be missing without a word: a share of the whole, within bounds, since encoders
#: pad, and trim what they padded.
MISSING_SHARE, MISSING_LEAST, MISSING_MOST = 0.01, 0.1, 1.0


class Decoder(Protocol):
    """One library's way through a file, for one pass from its start.

    Attributes
    ----------
    name : str
        Of the library, with its version.
    sample_rate, channels : int
    start_time : float
        When the audio begins by the clock of the file, s.
    consumed : int or None
        Behind the last byte that was read of a bare stream; None where that says nothing.
    declared : float or None
        Seconds that the file declares.
    warnings : list of AudioWarning
        Of what was decoded so far.
    """

    name: str
    start_time: float
    sample_rate: int
    channels: int
    consumed: int | None

    @property
    def declared(self) -> float | None: ...
    @property
    def warnings(self) -> list[AudioWarning]: ...

    def blocks(self) -> Iterator[Array]:
        """The samples; raises `AudioError` where it cannot go on."""

    def close(self) -> None:
        """Close the file."""


class AudioFile:
    """An audio file, opened for one pass from its start; a context manager.

    Parameters
    ----------
    path : path
        Any name the file system holds, UTF-8 or not.

    Attributes
    ----------
    sample_rate : int
        Hz, as recorded; where it changes within the file, that of its beginning, and the rest is
        resampled to it.
    channels : int
        At its beginning.
    start_time : float
        When the audio begins by the file's clock, s: more than 0 where a film's sound begins after
        its picture. Time 0 of the samples, and of all that is made of them, is the audio's start.
    frames : int
        Samples a channel decoded so far.
    status : os.stat_result
        Of the file, before it was read.
    warnings : list of AudioWarning
        What looked wrong, though it was decoded; complete when all blocks were taken.

    Raises
    ------
    AudioError
        If there is no such file, or it may not be read, or it holds no audio that can be decoded.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path_of(path)
        self.status = require_readable(self.path)
        self._structure = inspect(self.path)
        self._openers: list[_Opener] = [_open_sndfile, _open_pyav]
        if self._structure.ffmpeg_first:
            self._openers.reverse()
        self._decoder = self._open_next()
        self._names: list[str] = []
        self._stopped: AudioError | None = None
        self.sample_rate, self.channels = self._decoder.sample_rate, self._decoder.channels
        self.start_time = max(0.0, self._decoder.start_time)
        self.frames = 0
        self.warnings: list[AudioWarning] = []

    def _open_next(self) -> Decoder:
        """The next decoder that can read the file."""
        refusals: dict[str, None] = {}
        while self._openers:
            try:
                return self._openers.pop(0)(self.path, self._structure)
            except AudioError as error:
                refusals[str(error)] = None
        raise AudioError("; ".join(refusals))

    @property
    def duration(self) -> float:
        """Seconds decoded so far."""
        return self.frames / self.sample_rate

    @property
    def decoder(self) -> str:
        """What decoded it, with its version: ``"libsndfile 1.2.2"``."""
        return ", then ".join(self._names)

    @property
    def found(self) -> list[AudioWarning]:
        """`warnings`, or where blocks are left, what looked wrong so far."""
        return self.warnings or list(self._decoder.warnings)

    def blocks(self) -> Iterator[Array]:
        """The samples, as (n, channels) float32 arrays with n >= 1.

        The number of channels is `channels`, unless it changes within the file.

        Raises
        ------
        AudioError
            If nothing can be decoded, or a sample is not finite.
        """
        for block in self._all_blocks():
            self._require_sane(block)
            self.frames += len(block)
            yield block
        self._require_fetched()
        if not self.frames:
            raise self._stopped or AudioError("no audio in it: 0 samples decoded")
        self.warnings += self._judged()

    def _require_fetched(self) -> None:
        """Raise `AudioError` if fetching failed midway: decoders take that for the end."""
        error = self.path.error if isinstance(self.path, RemotePath) else None
        if error is not None:
            raise AudioError(f"reading stopped after {self.duration:.3f} s: {error.strerror}")

    def _all_blocks(self) -> Iterator[Array]:
        """Of the first decoder; where that does not come to the end, the rest of the other."""
        while True:
            self._stopped = None
            try:
                yield from self._unseen(self._decoder)
            except AudioError as error:
                self._stopped = error
            if not (self._stopped or self._lacks(self._undecoded)) or not self._change_decoder():
                return

    def _unseen(self, decoder: Decoder) -> Iterator[Array]:
        """A decoder's blocks from its start, without what was given already."""
        skip = self.frames
        for block in decoder.blocks():
            if len(block) > skip:
                if decoder.name not in self._names:
                    self._names.append(decoder.name)
                yield block[skip:]
            skip = max(0, skip - len(block))

    def _change_decoder(self) -> bool:
        """Whether another decoder can go on; FFmpeg needs none that has less patience."""
        if self.frames and not isinstance(self._decoder, SndfileDecoder):
            return False
        try:
            other = self._open_next()
        except AudioError:
            return False
        if other.sample_rate != self.sample_rate:
            other.close()
            return False
        self._decoder.close()
        self._decoder = other
        return True

    @property
    def _declared(self) -> float | None:
        return self._structure.declared or self._decoder.declared

    @property
    def _undecoded(self) -> float:
        """Seconds that the file declares and that were not decoded."""
        return (self._declared or 0.0) - self.duration

    def _lacks(self, seconds: float) -> bool:
        """Whether so much is more than encoders pad and trim."""
        share = MISSING_SHARE * (self.duration + seconds)
        return seconds > max(MISSING_LEAST, min(MISSING_MOST, share))

    def _judged(self) -> list[AudioWarning]:
        """What is to be said of a file that was decoded."""
        found = list(self._decoder.warnings)
        if self._stopped:
            found.append(AudioWarning("damaged", str(self._stopped)))
        elif self._structure.damage and "damaged" not in {w.code for w in found}:
            found.append(AudioWarning("damaged", self._structure.damage))
        if words := self._missing():
            found.append(AudioWarning("truncated", words))
        if words := self._unread():
            found.append(AudioWarning("not-read", words))
        return found

    def _missing(self) -> str:
        """What is known of audio that the file should hold, and does not."""
        size = self._structure.end - self._structure.start
        if self._lacks(self._undecoded):
            return f"{self.duration:.3f} s decoded of the {self._declared:.3f} s that it declares"
        if self._lacks(self._structure.missing / size * self.duration):
            return f"it holds {size} bytes of the {size + self._structure.missing} that it declares"
        if self._structure.unended:
            return "it ends without the mark that is at the end of a whole file"
        return ""

    def _unread(self) -> str:
        """What is known of bytes that were not decoded."""
        start, end = self._structure.start, self._structure.end
        if isinstance(self._decoder, SndfileDecoder):
            left = self._structure.unread
        else:
            left = 0 if self._decoder.consumed is None else end - self._decoder.consumed
        if not self._lacks(left / max(1, end - start - left) * self.duration):
            return ""
        return f"{left} of its {end - start} bytes lie behind what was decoded"

    def _require_sane(self, block: Array) -> None:
        # Compared this way round, so that NaN fails too.
        if not max(block.max(initial=0), -block.min(initial=0)) <= MAX_AMPLITUDE:
            row, channel = np.argwhere(~(np.abs(block) <= MAX_AMPLITUDE))[0]
            raise AudioError(
                f"sample {block[row, channel]} at {(self.frames + row) / self.sample_rate:.3f} s, "
                f"channel {channel + 1}; finite samples up to {MAX_AMPLITUDE:g} are needed"
            )

    def close(self) -> None:
        """Close the file; `blocks` then ends."""
        self._decoder.close()

    def __enter__(self) -> AudioFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_Opener = Callable[[AnyPath, Structure], Decoder]


def _open_sndfile(path: AnyPath, structure: Structure) -> Decoder:
    return _usable(SndfileDecoder(path))


def _open_pyav(path: AnyPath, structure: Structure) -> Decoder:
    from .pyav import PyavDecoder

    return _usable(PyavDecoder(path, structure.end, unsized=structure.unread > 0))


def _usable(decoder: Decoder) -> Decoder:
    rate, channels = decoder.sample_rate, decoder.channels
    if MIN_RATE <= rate <= MAX_RATE and channels >= 1:
        return decoder
    decoder.close()
    raise AudioError(
        f"{channels} channels at {rate} Hz; at least one, at {MIN_RATE} to {MAX_RATE} Hz, is needed"
    )
