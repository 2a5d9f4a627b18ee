"""Tags around the audio: ID3v2, APEv2, Lyrics3 and ID3v1, at either end and in any number."""

from __future__ import annotations

import os
from typing import BinaryIO

_APE = b"APETAGEX"
_APE_HAS_HEADER = 1 << 31
#: Lyrics3 version 1 has no length: its start is searched for in so many bytes.
_LYRICS_BYTES = 5120


def content(file: BinaryIO) -> tuple[int, int]:
    """First byte of what lies between the tags at either end of a file, and the byte behind it."""
    end = file.seek(0, os.SEEK_END)
    start = 0
    while start < end and (length := tag_at(file, start)):
        start += length
    while start < end and (length := _tag_before(file, end)):
        end -= length
    return min(start, end), max(end, 0)


def tag_at(file: BinaryIO, at: int) -> int:
    """Bytes of the tag that begins there; 0 where none does."""
    file.seek(at)
    head = file.read(32)
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 0x80:
        return _id3_length(head)
    if head[:8] == _APE and len(head) == 32:
        return 32 + int.from_bytes(head[12:16], "little")
    if head[:3] == b"TAG":
        return 128
    if head[:11] == b"LYRICSBEGIN":
        file.seek(at)
        found = file.read(1 << 20).find(b"LYRICS200")
        return found + 9 if found > 0 else 0
    return 0


def _tag_before(file: BinaryIO, end: int) -> int:
    """Bytes of the tag that ends there; 0 where none does."""
    start = max(0, end - _LYRICS_BYTES)
    file.seek(start)
    tail = file.read(end - start)
    if tail[-128:-125] == b"TAG":
        return 128
    if tail[-32:-24] == _APE:
        length, flags = (int.from_bytes(tail[i : i + 4], "little") for i in (-20, -12))
        return length + 32 * bool(flags & _APE_HAS_HEADER)
    if tail[-10:-7] == b"3DI":
        return _id3_length(tail[-10:]) + 10
    if tail[-9:] == b"LYRICS200" and tail[-15:-9].isdigit():
        return int(tail[-15:-9]) + 15
    if tail[-9:] == b"LYRICSEND":
        return len(tail) - max(0, tail.rfind(b"LYRICSBEGIN"))
    return 0


def _id3_length(head: bytes) -> int:
    """Of an ID3v2 header, or of the footer that repeats it, without the footer's own 10 bytes."""
    size = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    has_footer = head[:3] == b"ID3" and head[5] & 0x10
    return 10 + size + 10 * bool(has_footer)
