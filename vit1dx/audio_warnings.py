"""What looked wrong with a file that was decoded all the same, each with a code for scripts."""

from __future__ import annotations

from dataclasses import dataclass

#: What each code means.
CODES: dict[str, str] = {
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
