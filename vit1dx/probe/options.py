"""What a probe is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ..errors import UsageError

WHOLE_TASKS = ("classes", "tags", "regression", "keys")
LOCAL_TASKS = ("chords", "keys", "beats", "downbeats", "onsets", "notes")
TASKS = (*WHOLE_TASKS[:3], *LOCAL_TASKS)
#: Tracks of one folder are a group.
PARENT = "parent"

Baselines: TypeAlias = Literal["auto", "all", "majority"]


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """What a probe is asked to do.

    Attributes
    ----------
    task : str, optional
        One of `TASKS`; by default by the labels: classes for a table; beats, onsets or notes for a
        folder of files with these endings.
    layers : sequence of int, optional
        All that were kept by default.
    tokens : sequence of str, optional
        Of ``class``, ``mean`` and ``class+mean``; tasks over time go by sequence tokens.
    track_column, label_column : str, optional
        Of a table of labels; by default guessed by usual names.
    separator : str, optional
        Between tags in one cell.
    group_by : str, optional
        Tracks that belong together, and are never divided: ``parent``, of one folder, or a column.
        By default each track stands alone.
    split_column : str, optional
        A column that says train, valid or test, instead of folds.
    metadata : Path, optional
        A table with these columns, where the labels are not a table that has them.
    folds, seeds : int
        Divisions in so many folds, anew for each seed. With `split_column` each seed draws what is
        held out of the training side, unless it says so, and the frames that are fitted on.
    seed : int
        The first.
    frames : int
        Frames that probes of tasks over time are fitted on, at about the most.
    memory : float
        Bytes of frames that are kept between fitting and scoring.
    audio : Path, optional
        Folder of the music, by tracks' ids; by default where it was read from.
    baselines : {"auto", "all", "majority"}
        Log-mel and MFCC where the music is at hand and lasts no more than `AUTO_HOURS`; in any
        case; or not.
    workers : int, optional
        Features probed side by side; one a usable core by default.
    """

    task: str | None = None
    layers: tuple[int, ...] | None = None
    tokens: tuple[str, ...] | None = None
    track_column: str | None = None
    label_column: str | None = None
    separator: str | None = None
    group_by: str | None = None
    split_column: str | None = None
    metadata: Path | None = None
    folds: int = 5
    seeds: int = 1
    seed: int = 0
    frames: int = 30_000
    memory: float = 2 * 2**30
    audio: Path | None = None
    baselines: Baselines = "auto"
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.task is not None and self.task not in TASKS:
            raise UsageError(f"task {self.task!r}; one of {', '.join(TASKS)} is accepted")
        if self.folds < 2:
            raise UsageError(f"{self.folds} folds; 2 or more are needed")


#: Hours of music that log-mel and MFCC are computed of without being asked for.
AUTO_HOURS = 10.0
