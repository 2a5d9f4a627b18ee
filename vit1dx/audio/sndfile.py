"""libsndfile: what it reads best and fastest."""

from __future__ import annotations

from collections.abc import Iterator

import soundfile

from .._types import Array
from ..errors import AudioError, AudioWarning
from ..remote import AnyPath
from .files import for_decoders

#: Samples decoded at once, over all channels.
BLOCK_SAMPLES = 1 << 18
#: As libsndfile has it where a file does not say how long it is.
_UNKNOWN_FRAMES = 1 << 50


class SndfileDecoder:
    """A file, read by libsndfile; a `Decoder`."""

    name = f"libsndfile {soundfile.__libsndfile_version__}"
    start_time = 0.0
    consumed: int | None = None

    def __init__(self, path: AnyPath) -> None:
        try:
            self._file = soundfile.SoundFile(for_decoders(path))
        except soundfile.SoundFileError as error:
            raise AudioError(f"libsndfile cannot read it ({_words(error)})") from None
        if self._file.format == "RAW":
            # Taken for such by the ending of its name alone.
            self._file.close()
            raise AudioError("libsndfile cannot read it (samples without a header, or none at all)")
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.warnings: list[AudioWarning] = []

    @property
    def declared(self) -> float | None:
        """Seconds that the file declares."""
        return self._file.frames / self.sample_rate if self._counted else None

    @property
    def _counted(self) -> bool:
        """Whether `frames` is no guess, as it is for mp3 files without a Xing header."""
        return self._file.format != "MP3" and 0 < self._file.frames < _UNKNOWN_FRAMES

    def blocks(self) -> Iterator[Array]:
        """The samples, as (n, channels) float32 arrays."""
        count, decoded = max(1, BLOCK_SAMPLES // self.channels), 0
        while True:
            try:
                block = self._file.read(count, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                at = decoded / self.sample_rate
                raise AudioError(f"decoding stopped after {at:.3f} s: {_words(error)}") from None
            if not len(block):
                return
            decoded += len(block)
            yield block

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _words(error: soundfile.SoundFileError) -> str:
    """On one line, without the path and the boilerplate around them."""
    words = getattr(error, "error_string", None) or str(error)
    if "not a regular file" in words:  # libsndfile's words for whatever it does not recognise
        words = "format not recognised"
    return " ".join(words.removeprefix("Error : ").split()).rstrip(".")
