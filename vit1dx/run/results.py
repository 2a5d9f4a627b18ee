"""What came of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..errors import AudioWarning
from ..remote import AnyPath
from ..store.format import count_codes
from .estimate import Size
from .plan import Plan
from .sources import PassedOver


@dataclass(frozen=True)
class Forecast:
    """What a run would do.

    Attributes
    ----------
    todo : int
        Files to extract.
    audio_seconds : float
        Of them, by their headers, or by their sizes where some say how long they are.
    guessed : int
        Files whose length is a guess.
    size : Size
        Expected bytes of what is to do.
    free_bytes : int or None
        Room on the output's disk; None where it is behind a URL.
    workers : int
        Processes.
    speed : float or None
        Seconds of audio that one process does a second, measured on a file; None if it could not
        be.
    """

    todo: int
    audio_seconds: float
    guessed: int
    size: Size
    free_bytes: int | None
    workers: int
    speed: float | None

    @property
    def seconds(self) -> float | None:
        """How long the run would take, s."""
        return self.audio_seconds / (self.speed * self.workers) if self.speed else None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "todo": self.todo,
            "audio_hours": self.audio_seconds / 3600,
            "unknown_lengths": self.guessed,
            "expected_bytes": self.size.total,
            "expected_token_bytes": self.size.tokens,
            "expected_attention_bytes": self.size.attention,
            "free_bytes": self.free_bytes,
            "workers": self.workers,
            "times_real_time_a_worker": self.speed,
            "expected_seconds": self.seconds,
        }


@dataclass
class Summary:
    """What came of a run.

    Attributes
    ----------
    output : Path or RemotePath
    files : int
        Files found.
    done : int
        Files written.
    already : int
        Files whose tracks were in the output.
    changed : int
        Files that had changed, and were done again.
    gone : list of str
        Tracks of the output, kept, whose files are no longer where they were read from.
    others : int
        Tracks of the output whose files are not among those of the run, and not known to be gone.
    unreadable : list of (id, reason)
        Files that could not be compared with their tracks, which are kept.
    failures : list of (id, reason)
        Those of earlier runs too, where the file was found as it was then.
    outdated : list of str
        Files of `failures` whose tracks, made before the files changed, are kept.
    warnings : list of (id, AudioWarning)
        Without an id, of the run as a whole.
    audio_seconds : float
        Of the files written.
    wall_seconds : float
    output_bytes : int
    not_uploaded : int
        Shards of an output behind a URL that are on this machine only, as the run was stopped.
    stopped : str or None
        Why the run ended early, if it did.
    forecast : Forecast or None
        What the run would do, of one that was not to do it.
    passed_over : PassedOver
        What the search for files met and did not take.
    """

    output: AnyPath
    files: int
    done: int = 0
    already: int = 0
    changed: int = 0
    gone: list[str] = field(default_factory=list)
    others: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    warnings: list[tuple[str | None, AudioWarning]] = field(default_factory=list)
    audio_seconds: float = 0.0
    wall_seconds: float = 0.0
    output_bytes: int = 0
    not_uploaded: int = 0
    stopped: str | None = None
    forecast: Forecast | None = None
    passed_over: PassedOver = field(default_factory=PassedOver)

    def take_over(self, files: int, plan: Plan) -> None:
        """Put in what was found of so many files before any was done."""
        self.files += files
        self.already += plan.already
        self.changed += len(plan.changed)
        self.failures += plan.failures
        self.unreadable += plan.unreadable
        self.gone += plan.gone
        self.others += plan.others

    @property
    def speed(self) -> float:
        """Times real time."""
        return self.audio_seconds / self.wall_seconds if self.wall_seconds else 0.0

    @property
    def warning_counts(self) -> dict[str, int]:
        """How many warnings there are of each code."""
        return count_codes(warning.code for _, warning in self.warnings)

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values, for JSON."""
        return {
            "output": str(self.output),
            "output_bytes": self.output_bytes,
            "not_uploaded": self.not_uploaded,
            "files": self.files,
            "done": self.done,
            "already": self.already,
            "changed": self.changed,
            "gone": self.gone,
            "others": self.others,
            "unreadable": [{"id": key, "reason": reason} for key, reason in self.unreadable],
            "outdated": self.outdated,
            "passed_over": self.passed_over.to_dict(),
            "failed": len(self.failures),
            "failures": [{"id": key, "reason": reason} for key, reason in self.failures],
            "warnings": [
                {"id": key, "code": warning.code, "warning": warning.text}
                for key, warning in self.warnings
            ],
            "warning_counts": self.warning_counts,
            "audio_hours": self.audio_seconds / 3600,
            "wall_seconds": self.wall_seconds,
            "times_real_time": self.speed,
            "stopped": self.stopped,
            **({"dry_run": self.forecast.to_dict()} if self.forecast else {}),
        }
