"""How much a container declares to hold: the sizes in its own structure, against the file's."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

#: Lengths this close to 2^31 or 2^32 are what a writer puts that cannot know them.
_UNKNOWN = 1 << 16
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp")


@dataclass(frozen=True)
class Extent:
    """What a container's sizes say.

    Attributes
    ----------
    missing : int
        Bytes that it declares beyond the file's end.
    unread : int
        Bytes behind all that it declares, which are none of its chunks.
    """

    missing: int = 0
    unread: int = 0


@dataclass(frozen=True)
class _Chunks:
    """Of a format whose files are a row of chunks, each an id, a length and a body."""

    first: int
    id_bytes: int
    length: str
    with_header: bool
    align: int
    audio: bytes


_FORMATS = {
    b"RIFF": _Chunks(12, 4, "<I", False, 2, b"data"),
    b"RF64": _Chunks(12, 4, "<I", False, 2, b"data"),
    b"RIFX": _Chunks(12, 4, ">I", False, 2, b"data"),
    b"FORM": _Chunks(12, 4, ">I", False, 2, b"SSND"),
    b"riff": _Chunks(40, 16, "<Q", True, 8, b"data"),  # Sony Wave64
    b"caff": _Chunks(8, 4, ">q", False, 1, b"data"),
}


def extent(file: BinaryIO, start: int, end: int) -> Extent:
    """Compare what a container declares with the bytes that there are.

    Parameters
    ----------
    file : binary file
    start, end : int
        Where the container begins and the file ends, tags aside.
    """
    file.seek(start)
    head = file.read(12)
    if head[:4] in _FORMATS:
        return _row(file, start, end, _FORMATS[head[:4]])
    if head[:4] == _EBML:
        return _segment(file, start, end)
    if head[4:8] in _BOXES:
        return _boxes(file, start, end)
    if head[:4] == b".snd":
        offset, length = struct.unpack(">II", head[4:12])
        declared = 0 if _unknown(length) else start + offset + length
        return Extent(missing=max(0, declared - end))
    return Extent()


def _row(file: BinaryIO, start: int, end: int, chunks: _Chunks) -> Extent:
    header = chunks.id_bytes + struct.calcsize(chunks.length)
    at, long = start + chunks.first, 0
    while at + header <= end:
        file.seek(at)
        head = file.read(header + 16)
        name, (length,) = head[:4], struct.unpack_from(chunks.length, head, chunks.id_bytes)
        if name == b"ds64":
            long = int.from_bytes(head[header + 8 : header + 16], "little")
        if name == chunks.audio:
            length = long if long and length == 0xFFFFFFFF else length
        body = length - header if chunks.with_header else length
        behind = at + header + body + -body % chunks.align
        if name == chunks.audio and (body < 0 or (behind > end and _unknown(length))):
            return Extent()
        if not all(0x20 <= byte < 0x7F for byte in name) or body < 0:
            return Extent(unread=end - at)
        if behind > end + 1:
            return Extent(missing=behind - end)
        at = behind
    return Extent()


def _unknown(length: int) -> bool:
    return any(abs(length - limit) < _UNKNOWN for limit in (1 << 31, 1 << 32))


def _boxes(file: BinaryIO, start: int, end: int) -> Extent:
    """Of ISO media (mp4, m4a, mov, 3gp)."""
    at = start
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0 is to the end of the file, and less is damage
            return Extent()
        at += length
    return Extent(missing=max(0, at - end))


def _segment(file: BinaryIO, start: int, end: int) -> Extent:
    """Of Matroska and WebM."""
    at = start
    while at < end:
        file.seek(at)
        name = file.read(4)
        length, digits = _ebml_length(file.read(8))
        if length is None or name not in (_EBML, _SEGMENT):
            return Extent()
        at += 4 + digits + length
        if name == _SEGMENT:
            return Extent(missing=max(0, at - end))
    return Extent()


def _ebml_length(head: bytes) -> tuple[int | None, int]:
    """Of an element's body, None where it is not known, and the bytes it is written in."""
    if not head or not head[0]:
        return None, 0
    digits = 9 - head[0].bit_length()
    mask = (1 << 7 * digits) - 1
    length = int.from_bytes(head[:digits], "big") & mask
    return (None if length == mask else length), digits
