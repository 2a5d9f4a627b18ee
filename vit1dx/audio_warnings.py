"""What looked wrong with a file that was decoded all the same, each with a code for scripts."""

from __future__ import annotations

from dataclasses import dataclass

#: What each code means.
CODES: dict[str, str] = {
    "truncated": "the file holds less audio than it declares",
    "not-read": "part of the file was not decoded",
    "damaged": "damaged places were passed over",
    "gap": "time without audio, filled with silence",
    "overlap": "audio at times already filled, left out",
    "rate-change": "the sample rate changes within the file",
    "channels-change": "the number of channels changes within the file",
    "streams": "one of several audio streams was taken",
    "second-decoder": "the first decoder failed, and the second one read the file",
}


@dataclass(frozen=True)
class AudioWarning:
    """Something that the user of a track should know."""

    code: str
    text: str
