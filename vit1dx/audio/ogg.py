"""The pages of an Ogg file, walked before it is decoded: each has a checksum and a number."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

_FIRST, _LAST = 2, 4
_BITS_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Pages:
    """What a walk found.

    Attributes
    ----------
    codec : bytes
        First bytes of the first packet.
    streams : int
        Logical ones, one after another or side by side.
    ended : bool
        Whether the last page is marked as the last one.
    broken_at : int or None
        The byte where a page is missing or its checksum is wrong.
    """

    codec: bytes = b""
    streams: int = 0
    ended: bool = False
    broken_at: int | None = None


def walk(file: BinaryIO, start: int, end: int) -> Pages:
    """Read all pages between two bytes of a file, up to one that is damaged."""
    file.seek(start)
    at, streams, flags, codec = start, 0, 0, b""
    following: dict[int, int] = {}
    while at < end:
        page = _read_page(file)
        if page is None:  # the file was cut short
            return Pages(codec, streams)
        if not page:
            break
        flags, serial, number = page[5], *struct.unpack_from("<II", page, 14)
        if flags & _FIRST:
            streams += 1
            codec = codec or page[27 + page[26] :][:8]
        elif following.get(serial) != number:
            break
        following[serial] = (number + 1) & 0xFFFFFFFF
        at += len(page)
    return Pages(codec, streams, bool(flags & _LAST), at if at < end else None)


def _read_page(file: BinaryIO) -> bytes | None:
    """The next page; empty where there is none or its checksum is wrong, None where it is cut."""
    head = file.read(27)
    if head[:4] != b"OggS":
        return b""
    sizes = file.read(head[26]) if len(head) == 27 else b""
    body = file.read(sum(sizes))
    if len(head) < 27 or len(sizes) < head[26] or len(body) < sum(sizes):
        return None
    bare = head[:22] + bytes(4) + head[26:] + sizes + body
    return bare if _checksum(bare) == head[22:26] else b""


def _checksum(page: bytes) -> bytes:
    """Ogg's CRC-32, which is zlib's with the bits of each byte reversed, and from 0 to 0."""
    reverse = zlib.crc32(page.translate(_BITS_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return reverse.to_bytes(4, "big").translate(_BITS_REVERSED)
