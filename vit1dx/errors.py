"""What goes wrong: errors that a user can cause, each one line, and warnings, each with a code."""

from __future__ import annotations

from dataclasses import dataclass


class Vit1dxError(Exception):
    """Base of every error that vit1dx raises on purpose."""


class UsageError(Vit1dxError, ValueError):
    """An option or an argument cannot be used as given."""


class NoFilesError(Vit1dxError):
    """There are no audio files where they were looked for."""


class AudioError(Vit1dxError):
    """A file, or an array of samples, holds no audio that can be used."""


class TokensError(Vit1dxError):
    """What the model gave of a file cannot be kept: it is not finite, or too large for its type."""


class WeightsError(Vit1dxError):
    """A weights or model file cannot be used."""


class TrainingError(Vit1dxError):
    """A training run cannot continue."""


class BackendError(Vit1dxError):
    """The backend or the device asked for is not there."""


class ClusterError(Vit1dxError):
    """A cluster cannot be reached, or its workers cannot work."""


class ClusterLostError(ClusterError):
    """A cluster was lost in the middle of a run."""


class StoreError(Vit1dxError):
    """A feature file cannot be read or written, or is not one."""


class ForeignFileError(StoreError):
    """A file was not written by vit1dx."""


class LockedError(StoreError):
    """Another run writes the output."""


class TrackError(StoreError, KeyError):
    """Features hold no track of this id."""

    __str__ = Exception.__str__  # KeyError shows its message as a key


class WriteError(StoreError):
    """A feature file could not be written to its end."""


class SpaceError(StoreError):
    """The disk has no room for what a run is expected to write."""


def reason_of(error: BaseException) -> str:
    """What an exception of a library says, on one line; its type, if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


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
