"""The errors a user can cause; each message is one line: what was wrong, and what would do."""


class Vit1dxError(Exception):
    """Base of every error that vit1dx raises on purpose."""


class UsageError(Vit1dxError):
    """An option or an argument cannot be used as given."""


class AudioError(Vit1dxError):
    """A file, or an array of samples, holds no audio that can be used."""


class WeightsError(Vit1dxError):
    """A weights or model file cannot be used."""


class TrainingError(Vit1dxError):
    """A training run cannot go on."""


class BackendError(Vit1dxError):
    """The backend or the device asked for is not there."""


class StoreError(Vit1dxError):
    """A feature file cannot be written, or is not one."""


class WriteError(StoreError):
    """A feature file could not be written to its end."""


class SpaceError(StoreError):
    """The disk has no room for what a run is expected to write."""
