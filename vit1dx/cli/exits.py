"""How the command line ends: exit codes, and what they mean."""

from __future__ import annotations

from ..errors import (
    ClusterError,
    ClusterLostError,
    LockedError,
    NoFilesError,
    SpaceError,
    StoreError,
    TrackError,
    TrainingError,
    Vit1dxError,
    WriteError,
)
from ..run.signals import SIGNALS

SOME_FAILED, USAGE, NOTHING_DONE, BUSY, STORE = 1, 2, 3, 4, 5

#: The first that an error is.
OF_ERRORS: dict[type[Vit1dxError], int] = {
    WriteError: SOME_FAILED,
    TrainingError: SOME_FAILED,
    ClusterLostError: SOME_FAILED,
    ClusterError: NOTHING_DONE,
    NoFilesError: NOTHING_DONE,
    SpaceError: NOTHING_DONE,
    LockedError: BUSY,
    TrackError: USAGE,
    StoreError: STORE,
    Vit1dxError: USAGE,
}

#: For the help of `extract`.
HELP = (
    "Exit codes: 0 all files done; 1 some files failed, or the output could not be written to its "
    "end, or the cluster was lost; 2 wrong usage; 3 nothing to do, no room for it, no cluster to "
    "do it, or no file succeeded; 4 another run writes the output; 5 the output cannot be opened "
    "or made: no such folder, no permission, no feature file; 129 hung up (SIGHUP); 130 "
    "interrupted (SIGINT); 143 terminated (SIGTERM)."
)


def of_error(error: Vit1dxError) -> int:
    """The code that an error ends with."""
    return next(code for kind, code in OF_ERRORS.items() if isinstance(error, kind))


def of_signal(word: str | None) -> int:
    """The code of a run that a signal stopped, by the word of `SIGNALS` for it; otherwise 0."""
    return next((128 + number for number, known in SIGNALS.items() if known == word), 0)
