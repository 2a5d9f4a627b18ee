"""Audio in: any file, decoded in blocks, to mono samples at one rate.

libsndfile decodes what it can; PyAV (extra `m4a`) decodes the rest. Nothing is ever allocated, and
no duration believed, on the word of a header.
"""

from __future__ import annotations

import importlib.util
import io
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from .arrays import Array
from .audio_warnings import AudioWarning
from .errors import AudioError

#: What a folder is searched for, by decoder.
SNDFILE_EXTENSIONS = frozenset(
    ".aif .aifc .aiff .au .caf .flac .mp1 .mp2 .mp3 .oga .ogg .opus .rf64 .snd .w64 .wav"
    " .wave".split()
)
PYAV_EXTENSIONS = frozenset(
    ".3gp .aac .ac3 .alac .amr .ape .avi .m4a .m4b .m4v .mka .mkv .mov .mp4 .mpc .tta .webm .wma"
    " .wmv .wv".split()
)
AUDIO_EXTENSIONS = SNDFILE_EXTENSIONS | PYAV_EXTENSIONS

#: Rates outside these are a damaged header's, and would blow a block up beyond memory.
MIN_RATE, MAX_RATE = 1_000, 1_000_000
#: No recording is louder: what is above comes from damaged floating-point samples.
MAX_AMPLITUDE = 1e6
#: Samples decoded at once, over all channels.
BLOCK_SAMPLES = 1 << 18


class AudioFile:
    """An audio file, opened for one pass from its start; a context manager.

    Parameters
    ----------
    path : path
        Any name the file system holds, UTF-8 or not.

    Attributes
    ----------
    sample_rate : int
        Hz, as recorded.
    channels : int
    frames : int
        Samples a channel decoded so far.
    status : os.stat_result
        Of the file, before it was read.
    warnings : list of AudioWarning
        What looked wrong, though it was decoded.

    Raises
    ------
    AudioError
        If there is no such file, or it may not be read, or it holds no audio that can be decoded.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.status = require_readable(self.path)
        self._decoder = _open_decoder(self.path)
        self.sample_rate, self.channels = self._decoder.sample_rate, self._decoder.channels
        self.frames = 0
        self.warnings: list[AudioWarning] = []
        if not MIN_RATE <= self.sample_rate <= MAX_RATE or self.channels < 1:
            self.close()
            raise AudioError(
                f"{self.channels} channels at {self.sample_rate} Hz; "
                f"at least one, at {MIN_RATE} to {MAX_RATE} Hz, is needed"
            )

    @property
    def duration(self) -> float:
        """Seconds decoded so far."""
        return self.frames / self.sample_rate

    def blocks(self) -> Iterator[Array]:
        """The samples, as (n, channels) float32 arrays with n >= 1.

        Raises
        ------
        AudioError
            If decoding stops with an error, a sample is not finite, or there are none.
        """
        for block in self._decoder.blocks():
            self._require_sane(block)
            self.frames += len(block)
            yield block
        if not self.frames:
            raise AudioError("no audio in it: 0 samples decoded")
        self.warnings += self._decoder.doubts(self.frames)

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


def mono_at_rate(blocks: Iterable[Array], rate_in: int, rate_out: int) -> Iterator[Array]:
    """Mix blocks down to mono, then resample them as one stream (soxr, HQ).

    Parameters
    ----------
    blocks : iterable of (n, channels) float32 arrays
    rate_in, rate_out : int
        Hz.

    Yields
    ------
    (n,) float32 arrays
        The same samples, to float rounding, however the input was cut.
    """
    mono = (_mixed_down(block) for block in blocks)
    if rate_in == rate_out:
        yield from mono
        return
    stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32", quality=soxr.HQ)
    for block in mono:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _mixed_down(block: Array) -> Array:
    """The mean of the channels, as a product: NumPy's own mean over so short an axis is slow."""
    channels = block.shape[1]
    return block @ np.full(channels, 1 / channels, np.float32)


def probe_duration(path: str | os.PathLike[str]) -> float | None:
    """Seconds that the file's header declares: an estimate, and None where there is none."""
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            plausible = 0 < file.frames < 1 << 50
            return file.frames / file.samplerate if plausible else None
    except (soundfile.SoundFileError, OSError):
        return _probe_with_pyav(path)


def _probe_with_pyav(path: str | os.PathLike[str]) -> float | None:
    if importlib.util.find_spec("av") is None:
        return None
    import av

    try:
        with av.open(os.fspath(path), metadata_errors="replace") as container:
            return container.duration / av.time_base if container.duration else None
    except (av.error.FFmpegError, OSError, UnicodeError):
        return None


def mtime_ns(status: os.stat_result) -> int:
    """When a file was last changed, ns, within the 64 bits that are stored of it."""
    return max(-(1 << 63), min(status.st_mtime_ns, (1 << 63) - 1))


def printable(path: str | os.PathLike[str]) -> str:
    r"""A path as text that any file can hold: bytes that are not UTF-8 become ``\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def require_readable(path: Path) -> os.stat_result:
    """Raise `AudioError` unless the path leads to a regular file with something in it.

    Decoders would blame the format.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise AudioError("not a regular file")
        if status.st_size == 0:
            raise AudioError("empty file: 0 bytes")
        with path.open("rb"):
            return status
    except FileNotFoundError:
        reason = "broken symbolic link" if path.is_symlink() else "no such file"
        raise AudioError(reason) from None
    except OSError as error:
        raise AudioError(error.strerror or str(error)) from None


class _SndfileDecoder:
    """libsndfile, block by block."""

    def __init__(self, path: Path) -> None:
        self._file = soundfile.SoundFile(os.fsencode(path))
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.is_mp3: bool = self._file.format == "MP3"

    def blocks(self) -> Iterator[Array]:
        yield from _read_blocks(self._file)

    def doubts(self, decoded: int) -> list[AudioWarning]:
        """What to tell the user of a pass that ended after `decoded` samples a channel."""
        return []

    def close(self) -> None:
        self._file.close()


class _Mp3Decoder:
    """libsndfile again, but to the end of the file.

    libsndfile stops where libmpg123 puts the end before it decodes. A Xing header says where;
    without one it is an estimate, the file's length over the first frame's, which can cut half of a
    track of variable bit rate. What was cut is read in a second pass, in which the file hides its
    length.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._size = path, path.stat().st_size
        self._raw = path.open("rb", buffering=0)
        # By its descriptor, libsndfile reads it itself; a Python object is called for each frame.
        self._file = soundfile.SoundFile(self._raw.fileno(), closefd=False)
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        with _EndlessFile(path) as raw, soundfile.SoundFile(raw) as file:
            # No frame of an mp3 holds more samples a byte than this.
            estimated = file.frames > self._size * 1152 // 24
            self._declared: int | None = None if estimated else file.frames

    def blocks(self) -> Iterator[Array]:
        decoded = 0
        for block in _read_blocks(self._file):
            decoded += len(block)
            yield block
        if self._declared is None and decoded >= self._file.frames and self._unread():
            yield from self._rest(decoded)

    def _rest(self, skip: int) -> Iterator[Array]:
        with _EndlessFile(self._path) as raw, soundfile.SoundFile(raw) as file:
            try:
                for block in _read_blocks(file, frames=1152):
                    if len(block) > skip:
                        yield block[skip:]
                    skip = max(0, skip - len(block))
            except AudioError:
                # A last frame that is cut short ends a file, as it does in the first pass.
                if raw.tell() < self._size:
                    raise

    def _unread(self) -> int:
        """Bytes behind the decoder's position; a tag at the end does not count."""
        unread = self._size - self._raw.tell()
        return unread if unread > 0.02 * self._size else 0

    def doubts(self, decoded: int) -> list[AudioWarning]:
        """What to tell the user of a pass that ended after `decoded` samples a channel."""
        if self._declared is None:
            return []
        if decoded < 0.99 * self._declared:
            seconds = decoded / self.sample_rate, self._declared / self.sample_rate
            text = "decoded {:.3f} s of the {:.3f} s that its header declares".format(*seconds)
            return [AudioWarning("truncated", text)]
        if share := self._unread() / self._size:
            text = f"{share:.0%} of the file lie behind the end that its header declares: not read"
            return [AudioWarning("not-read", text)]
        return []

    def close(self) -> None:
        self._file.close()
        self._raw.close()


class _EndlessFile(io.FileIO):
    """An mp3 file for libsndfile that hides its length from libmpg123.

    The first look at the end is libsndfile's own and told the truth, as is a look for a tag there.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self._looks = 0
        self._told: int | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        position = super().seek(offset, whence)
        at_end = whence == os.SEEK_END and offset == 0
        self._looks += at_end
        hide = at_end and self._looks > 1
        self._told = position << 20 if hide else None
        return position

    def tell(self) -> int:
        return super().tell() if self._told is None else self._told


def _read_blocks(file: soundfile.SoundFile, frames: int | None = None) -> Iterator[Array]:
    count = frames or max(1, BLOCK_SAMPLES // file.channels)
    decoded = 0
    while True:
        try:
            block = file.read(count, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            at = decoded / file.samplerate
            raise AudioError(f"decoding stopped after {at:.3f} s: {_text(error)}") from None
        if not len(block):
            return
        decoded += len(block)
        yield block


class _PyavDecoder:
    """PyAV: the first audio stream of anything FFmpeg reads."""

    def __init__(self, path: Path) -> None:
        import av

        self._error: Any = av.error.FFmpegError
        self._container: Any = av.open(os.fspath(path), metadata_errors="replace")
        if not self._container.streams.audio:
            self._container.close()
            raise AudioError("no audio stream in it")
        self._stream = self._container.streams.audio[0]
        self.sample_rate: int = self._stream.rate
        self.channels: int = self._stream.channels
        self._to_float = av.AudioResampler(format="flt", layout=self._stream.layout)

    def blocks(self) -> Iterator[Array]:
        decoded = 0
        try:
            for frame in self._container.decode(self._stream):
                for part in self._to_float.resample(frame):
                    block = part.to_ndarray().reshape(-1, self.channels)
                    decoded += len(block)
                    if len(block):
                        yield block
        except self._error as error:
            at = decoded / self.sample_rate
            raise AudioError(f"decoding stopped after {at:.3f} s: {_text(error)}") from None

    def doubts(self, decoded: int) -> list[AudioWarning]:
        """Nothing: FFmpeg raises where a stream ends early."""
        return []

    def close(self) -> None:
        self._container.close()


def _open_decoder(path: Path) -> _SndfileDecoder | _Mp3Decoder | _PyavDecoder:
    try:
        decoder = _SndfileDecoder(path)
        if not decoder.is_mp3:
            return decoder
        decoder.close()
        return _Mp3Decoder(path)
    except soundfile.SoundFileError as error:
        refusal = f"libsndfile cannot read it ({_text(error)})"
    if importlib.util.find_spec("av") is None:
        hint = "; pip install 'vit1dx[m4a]'" if path.suffix.lower() in PYAV_EXTENSIONS else ""
        raise AudioError(f"{refusal}, and PyAV is not installed{hint}")
    import av

    try:
        return _PyavDecoder(path)
    except (av.error.FFmpegError, UnicodeError) as error:
        raise AudioError(f"{refusal}, nor can FFmpeg ({_text(error)})") from None


def _text(error: BaseException) -> str:
    """An error's own words on one line, without the path and the boilerplate around them."""
    words = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    if "not a regular file" in words:  # libsndfile's words for whatever it does not recognise
        words = "format not recognised"
    return " ".join(words.removeprefix("Error : ").split()).rstrip(".") or type(error).__name__
