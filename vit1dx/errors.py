"""The errors a user can cause; each message is one line: what was wrong, and what would do."""


class Vit1dxError(Exception):
    """Base of every error that vit1dx raises on purpose."""


class UsageError(Vit1dxError, ValueError):
    """An option or an argument cannot be used as given."""


class AudioError(Vit1dxError):
    """A file, or an array of samples, holds no audio that can be used."""


class TokensError(Vit1dxError):
    """What the model gave of a file cannot be kept: it is not finite, or too large for its type."""


class WeightsError(Vit1dxError):
    """A weights or model file cannot be used."""


class TrainingError(Vit1dxError):
    """A training run cannot go on."""


class BackendError(Vit1dxError):
    """The backend or the device asked for is not there."""


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


def one_line(error: BaseException) -> str:
    """What an exception of a library says, on one line; its type, if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
