"""A track's frames, read once for several parts of it that may overlap."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from .._types import Array


class FrameTape:
    """Frames that come in blocks, of which parts are taken in the order of their starts.

    Of what was read, only frames that a later part wants are held.

    Parameters
    ----------
    frames : iterable of (n, n_mels) arrays
    spans : sequence of (first, end)
        The parts, by the numbers of their frames, in the order of their starts; an end of None is
        the track's.
    """

    def __init__(self, frames: Iterable[Array], spans: Iterable[tuple[int, int | None]]) -> None:
        self._frames, self._spans = iter(frames), list(spans)
        ends = [float("inf") if end is None else end for _, end in self._spans]
        #: For each part, the first frame that it or a later one wants, and the end of those.
        self._wanted = [
            (first, max(ends[number:])) for number, (first, _) in enumerate(self._spans)
        ]
        self._blocks: list[Array] = []
        self._starts: list[int] = []
        self._end = 0

    def part(self, number: int) -> Iterator[Array]:
        """The frames of a part, as far as there are any."""
        at, end = self._spans[number]
        later = (*self._wanted, (float("inf"), float("inf")))[number + 1]
        self._drop(at, float("inf"))
        while end is None or at < end:
            found = self._find(at)
            if found is None:
                return
            start, block = found
            part = block[at - start : None if end is None else end - start]
            yield part
            at += len(part)
            self._drop(at, *later)

    def _find(self, at: int) -> tuple[int, Array] | None:
        """The block that holds a frame, and where it starts."""
        while self._end <= at:
            block = next(self._frames, None)
            if block is None:
                return None
            self._starts.append(self._end)
            self._blocks.append(block)
            self._end += len(block)
            if self._end <= at:  # nobody wants it
                del self._starts[-1], self._blocks[-1]
        place = bisect_right(self._starts, at) - 1
        return self._starts[place], self._blocks[place]

    def _drop(self, before: int, first: float, stop: float = float("inf")) -> None:
        """Drop blocks that end before a frame, unless they hold one from `first` to `stop`."""
        kept = [
            (start, block)
            for start, block in zip(self._starts, self._blocks, strict=True)
            if start + len(block) > before or (start + len(block) > first and start < stop)
        ]
        self._starts, self._blocks = [start for start, _ in kept], [block for _, block in kept]
