"""The chain of an mp3's frames, walked before it is decoded: each header says where the next is.

libmpg123, which libsndfile decodes with, loses what follows a break in the chain, or stops where it
guessed the end to be. A chain without a break holds as much as its frames say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from .tags import tag_at

_READ = 1 << 20
#: By layer, kbit/s; of MPEG-1, then of MPEG-2 and 2.5.
_BITRATES = {
    (1, 1): range(32, 449, 32),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44100, 48000, 32000)
_RATE_DIVISORS = {3: 1, 2: 2, 0: 4}  # by the header's version bits: MPEG-1, 2, 2.5


@dataclass(frozen=True)
class Chain:
    """The frames of a file.

    Attributes
    ----------
    seconds : float
        Of the frames, up to a break.
    declared : float or None
        Seconds that a Xing, Info or VBRI header declares.
    constant : bool
        Whether all frames have one bit rate.
    broken_at : int or None
        The byte where there should be a frame, and is none of the same format.
    """

    seconds: float
    declared: float | None = None
    constant: bool = True
    broken_at: int | None = None


@dataclass(frozen=True)
class _Header:
    length: int
    samples: int
    rate: int
    bitrate: int
    format: tuple[int, int, bool]
    side_bytes: int

    @classmethod
    def parse(cls, head: bytes) -> _Header | None:
        """Of four bytes; None where they are no header."""
        version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
        index, rate_index = head[2] >> 4, head[2] >> 2 & 3
        synced = head[0] == 0xFF and head[1] >= 0xE0
        if not synced or version == 1 or layer == 4 or rate_index == 3 or index in (0, 15):
            return None
        first = version == 3
        bitrate = _BITRATES[1 if first else 2, layer][index - 1] * 1000
        rate = _RATES[rate_index] // _RATE_DIVISORS[version]
        samples = 384 if layer == 1 else 576 if layer == 3 and not first else 1152
        padding = head[2] >> 1 & 1
        length = samples // 8 * bitrate // rate + padding
        if layer == 1:
            length = (12 * bitrate // rate + padding) * 4
        mono = head[3] >> 6 == 3
        side = (17 if mono else 32) if first else (9 if mono else 17)
        return cls(length, samples, rate, bitrate, (version << 2 | layer, rate, mono), side)


class _Lengths(dict[bytes, int]):
    """Of frames in one file, by their headers; 0 for what is no frame of the first one's format."""

    def __init__(self, first: _Header) -> None:
        super().__init__()
        self._format = first.format
        self.bitrates: set[int] = set()

    def __missing__(self, head: bytes) -> int:
        header = _Header.parse(head) if len(head) == 4 else None
        if header is None or header.format != self._format:
            length = 0
        else:
            length = header.length
            self.bitrates.add(header.bitrate)
        self[head] = length
        return length


def walk(file: BinaryIO, start: int, end: int) -> Chain:
    """Follow the chain of frames between two bytes of a file, tags aside."""
    file.seek(start)
    head = file.read(1024)
    first = _Header.parse(head) if len(head) >= 4 else None
    if first is None:
        return Chain(0.0, broken_at=start)
    seconds_a_frame = first.samples / first.rate
    declared = _declared_frames(head, first)
    lengths = _Lengths(first)
    at = start if declared is None else start + first.length
    frames, at = _follow(file, at, end, lengths)
    broken = at < end - 4 and not _is_padding(file, at, end)
    return Chain(
        seconds=frames * seconds_a_frame,
        declared=None if declared is None else declared * seconds_a_frame,
        constant=len(lengths.bitrates) < 2,
        broken_at=at if broken else None,
    )


def _follow(file: BinaryIO, at: int, end: int, lengths: _Lengths) -> tuple[int, int]:
    """Frames that end by the end, and where the chain does."""
    frames = 0
    while at < end:
        file.seek(at)
        data = file.read(min(_READ, end - at))
        here = 0
        while length := lengths[data[here : here + 4]]:  # 0 for what is left of the data, too
            here += length
            frames += 1
        if here <= len(data) - 4 or at + here + 4 > end:
            # The last frame may be cut short.
            return frames - (at + here > end), min(at + here, end)
        at += here
    return frames, at


def _is_padding(file: BinaryIO, at: int, end: int) -> bool:
    """Whether only zeros, or a tag, are left."""
    file.seek(at)
    left = file.read(min(end - at, _READ))
    return not left.strip(b"\0") or tag_at(file, at) >= end - at


def _declared_frames(head: bytes, first: _Header) -> int | None:
    xing = 4 + first.side_bytes + (0 if head[1] & 1 else 2)
    for at in (xing, 4 + first.side_bytes):
        if head[at : at + 4] in (b"Xing", b"Info"):
            has_count = head[at + 7] & 1
            return int.from_bytes(head[at + 8 : at + 12], "big") if has_count else None
    if head[36:40] == b"VBRI":
        return int.from_bytes(head[50:54], "big")
    return None
