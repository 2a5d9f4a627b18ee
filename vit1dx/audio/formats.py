"""What a file is and declares, from its own structure, before a decoder is chosen."""

from __future__ import annotations

from dataclasses import dataclass

from ..remote import AnyPath
from . import mp3, ogg
from .containers import extent
from .tags import content

#: What a folder is searched for, by the decoder that is asked first.
SNDFILE_EXTENSIONS = frozenset(
    ".aif .aifc .aiff .au .caf .flac .mp1 .mp2 .mp3 .oga .ogg .rf64 .snd .w64 .wav .wave".split()
)
PYAV_EXTENSIONS = frozenset(
    ".3gp .aac .ac3 .alac .amr .ape .avi .m4a .m4b .m4v .mka .mkv .mov .mp4 .mpc .opus .tta .webm"
    " .wma .wmv .wv".split()
)
AUDIO_EXTENSIONS = SNDFILE_EXTENSIONS | PYAV_EXTENSIONS
_MPEG_EXTENSIONS = frozenset(".mp1 .mp2 .mp3 .mpga".split())


@dataclass(frozen=True)
class Structure:
    """What a file says of itself.

    Attributes
    ----------
    start, end : int
        Bytes between the tags at either end.
    ffmpeg_first : bool
        Whether libsndfile is known to read it badly, or not to its end.
    damage : str
        What is broken in it, and where; empty where nothing is known to be.
    declared : float or None
        Seconds that it declares.
    missing : int
        Bytes that it declares beyond its end.
    unread : int
        Bytes behind all that it declares.
    unended : bool
        Whether the mark that ends such files is missing.
    """

    start: int
    end: int
    ffmpeg_first: bool = False
    damage: str = ""
    declared: float | None = None
    missing: int = 0
    unread: int = 0
    unended: bool = False


def inspect(path: AnyPath) -> Structure:
    """Look at a file's tags, sizes and, where these are cheap to follow, its frames or pages."""
    with path.open("rb") as file:
        start, end = content(file)
        file.seek(start)
        head = file.read(64)
        if head[:4] == b"OggS":
            return _ogg(ogg.walk(file, start, end), start, end)
        if head[:4] == b"fLaC":
            # Without a count of samples, libsndfile stumbles over the last block.
            counted = bool(head[21] & 15 or any(head[22:26])) if len(head) > 25 else True
            return Structure(start, end, ffmpeg_first=not counted)
        if _is_mpeg(head) or (
            path.suffix.lower() in _MPEG_EXTENSIONS and head[:4] not in (b"RIFF", b"FORM")
        ):
            return _mp3(mp3.walk(file, start, end), start, end)
        sizes = extent(file, start, end)
        leave_out = sizes.unread > 0.01 * (end - start)
        return Structure(
            start, end, ffmpeg_first=leave_out, missing=sizes.missing, unread=sizes.unread
        )


def _is_mpeg(head: bytes) -> bool:
    """Whether it begins like a frame of MPEG audio; that of AAC has layer bits of 0."""
    return len(head) > 1 and head[0] == 0xFF and head[1] >= 0xE0 and head[1] & 6 != 0


def _ogg(pages: ogg.Pages, start: int, end: int) -> Structure:
    broken = pages.broken_at is not None
    odd = pages.streams != 1 or pages.codec.startswith(b"OpusHead")
    return Structure(
        start,
        end,
        ffmpeg_first=broken or odd,
        damage=f"a page is damaged or missing at byte {pages.broken_at}" if broken else "",
        unended=not broken and not pages.ended,
    )


def _mp3(chain: mp3.Chain, start: int, end: int) -> Structure:
    broken = chain.broken_at is not None
    uncounted = chain.declared is None and not chain.constant
    longer = chain.declared is not None and chain.seconds > 1.01 * chain.declared
    return Structure(
        start,
        end,
        ffmpeg_first=broken or uncounted or longer,
        damage=f"the row of frames breaks at byte {chain.broken_at}" if broken else "",
        declared=chain.seconds if chain.declared is None and not broken else chain.declared,
    )
