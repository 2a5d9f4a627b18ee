"""Parts of one file, which is decoded once for all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from .._types import Array
from ..errors import AudioError, AudioWarning
from ..pooling import exact
from ..remote import AnyPath, place_of
from ..store.format import warning_texts
from ..store.track import TokenBuffer
from .sources import Segment

if TYPE_CHECKING:
    from ..extractor import Extractor
    from ..model.request import DType

#: Seconds by which a file may end before a segment without a word: annotations are rounded.
SHORT = 0.1


class Excerpts:
    """Segments of a file, extracted in the order of their starts; a context manager.

    The frames are those of the whole file's grid: a segment has the frames whose centres lie from
    its start up to, not including, its end. Its windows tile it from its first frame on.

    Parameters
    ----------
    extractor : Extractor
    path : path
    spans : sequence of (start, end)
        Seconds, in the order of their starts; an end of None is the file's.
    dtype : {"float32", "float16"}

    Attributes
    ----------
    is_broken : bool
        Whether the file cannot be read on.
    """

    def __init__(
        self,
        extractor: Extractor,
        path: AnyPath,
        spans: Sequence[tuple[float, float | None]],
        dtype: DType,
    ) -> None:
        from ..audio.checks import SignalChecks
        from ..audio.decode import AudioFile
        from ..audio.tape import FrameTape

        self._segments = [Segment(start, end) for start, end in spans]
        self._extractor, self._path, self._dtype = extractor, path, dtype
        self._file = AudioFile(path)
        rate = self._file.sample_rate
        self._checks = [SignalChecks(rate) for _ in spans]
        self._seen = [0] * len(spans)
        self._next = 0  # the first segment that is not done
        self.is_broken = False
        frames = extractor.frames(self._watched(), rate)
        self._frames = [self._frames_of(segment) for segment in self._segments]
        self._tape = FrameTape(frames, self._frames)

    def _frames_of(self, segment: Segment) -> tuple[int, int | None]:
        rate = self._extractor.config.mel.exact_frame_rate
        end = None if segment.end is None else math.ceil(exact(segment.end) * rate)
        return math.ceil(exact(segment.start) * rate), end

    def _watched(self) -> Iterator[Array]:
        """The file's samples, which the checks of each segment see as they pass."""
        at, rate = 0, self._file.sample_rate
        try:
            for block in self._file.blocks():
                for number in range(self._next, len(self._segments)):
                    segment = self._segments[number]
                    first = max(0, round(segment.start * rate) - at)
                    if first >= len(block):
                        break
                    end = None if segment.end is None else max(0, round(segment.end * rate) - at)
                    part = block[first:end]
                    if len(part):
                        self._checks[number].look(part)
                        self._seen[number] += len(part)
                at += len(block)
                yield block
        except BaseException:
            self.is_broken = True
            raise

    def extract(self, number: int, track: TokenBuffer, progress: Callable[[float], None]) -> None:
        """Extract a segment, all but the last step; for the arguments see `extract_file`.

        Raises
        ------
        AudioError
            If there is no usable audio in it.
        TokensError
            If what the model gives of it cannot be kept.
        """
        segment, (first, end) = self._segments[number], self._frames[number]
        self._next = number
        if end is not None and end <= first:
            raise AudioError(
                f"no frame from {segment.start:g} to {segment.end:g} s; make it longer"
            )
        origin, done, count = exact(segment.start), segment.start, 0
        frames = self._tape.part(number)
        parts = self._extractor.of_frames(frames, self._dtype, track.empty, first, origin)
        # Closed, no thread writes any more into memory that the next track will have.
        with closing(parts):
            for tokens in parts:
                track.add(tokens)
                progress(tokens.end - done)
                done, count = tokens.end, count + tokens.count
        if not (count and self._seen[number]):
            raise AudioError(
                f"the segment starts at {segment.start:g} s, and the audio ends at "
                f"{self._file.duration:.6g} s"
            )
        track.attributes = self._attributes(number)

    def _attributes(self, number: int) -> dict[str, Any]:
        from ..audio.files import mtime_ns, printable

        file, segment = self._file, self._segments[number]
        duration = self._seen[number] / file.sample_rate
        found = [*file.found, *self._checks[number].warnings(), *self._short(segment, duration)]
        return {
            "source": printable(place_of(self._path)),
            "size": file.status.st_size,
            "mtime_ns": mtime_ns(file.status),
            "duration": duration,
            "sample_rate": file.sample_rate,
            "channels": file.channels,
            "start_time": file.start_time,
            "decoder": file.decoder,
            "segment": str(segment),
            "segment_start": segment.start,
            "segment_end": segment.start + duration if segment.end is None else segment.end,
            **({"warnings": warning_texts(found)} if found else {}),
        }

    def _short(self, segment: Segment, duration: float) -> Iterator[AudioWarning]:
        if segment.end is not None and segment.end - segment.start - duration > SHORT:
            yield AudioWarning(
                "truncated",
                f"the segment ends at {segment.end:g} s, and the audio at "
                f"{segment.start + duration:.6g} s",
            )

    def __enter__(self) -> Excerpts:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
