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
    "antiphase": "the channels cancel each other in the mono mix",
    "silence": "there is nothing but silence",
    "dc": "the samples have a large constant offset",
    "clipping": "many samples are at full scale or beyond",
    "scale": "samples are far outside -1 to 1",
    "length": "the header declares more audio than the file can hold",
    "shard": "the features are larger than a shard, and have one of their own",
    "untrained": "the weights are untrained",
    "float16": "one reader crashes on float16",
}


@dataclass(frozen=True)
class AudioWarning:
    """Something that the user of a track should know."""

    code: str
    text: str
