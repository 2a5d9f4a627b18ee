"""Stepping through a run: what is done after each step, and how it ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from ..errors import TrainingError
from ..run.signals import SIGNALS
from .cache import CachedTrack
from .run import LAST, Clock, Progress, RunFolder, Story
from .trainer import Trainer
from .validation import Validation

SAVE_SECONDS = 240.0  # after which a step is followed by a checkpoint
TWICE_SECONDS = 2.0  # within which torchrun may pass on a signal that came already
STOPPED = 2.0  # what a run that is to stop is "done"


@dataclass(frozen=True)
class Summary:
    """What a run came to.

    Attributes
    ----------
    weights : path
        Those of the last step, or the average; in the run's folder where the run was stopped.
    last : Progress or None
        Of the last step; None where there was none left to do.
    stopped : str or None
        How the run was stopped before its end, in a word of `stop.SIGNALS`.
    """

    weights: Path
    last: Progress | None
    stopped: str | None = None


@dataclass
class Events:
    """What a caller may want to hear of; each does nothing unless it is set."""

    decoding: Callable[[int], None] = lambda total: None
    decoded: Callable[[CachedTrack], None] = lambda track: None
    started: Callable[[str], None] = lambda line: None
    progress: Callable[[Progress], None] = lambda progress: None
    finished: Callable[[Summary], None] = lambda summary: None


class Stepper:
    """Steps through a run; validates and saves now and then, and at the end.

    Parameters
    ----------
    trainer : Trainer
    run : RunFolder
    validation : Validation
    clock : Clock
    story : Story
    events : Events
    """

    def __init__(
        self,
        trainer: Trainer,
        run: RunFolder,
        validation: Validation,
        clock: Clock,
        story: Story,
        events: Events,
    ) -> None:
        self.trainer, self.run, self.validation = trainer, run, validation
        self.clock, self.story, self.events = clock, story, events
        self.last: Progress | None = None
        self._saved = time.monotonic()

    def until_done(self, validate_every: int) -> Summary:
        """Go on until the run is done, or a signal has come.

        Raises
        ------
        TrainingError
            If the loss is no number; the run's checkpoint is then from before.
        """
        with Signals() as signals:
            done = self._done(None)
            while done < 1:
                figures = self._step(done)
                done = self._done(signals.received)
                if self.trainer.ranks.leads:
                    self._after(figures, done, validate_every)
            return self._end(signals.received if done == STOPPED else None)

    def _step(self, done: float) -> dict[str, Any]:
        try:
            return self.trainer.train_step(done)
        except TrainingError as error:
            kept = self.run.checkpoint
            known = f"{kept} is from before it" if kept.exists() else "there is no checkpoint yet"
            raise TrainingError(
                f"{error}; {known}; a lower --learning-rate, or --precision fp32, may do"
            ) from None

    def _done(self, stopped: str | None) -> float:
        """Share of the run done. The leading rank's is every rank's: all stop at one step."""
        share = self.clock.done(self.trainer.step)
        return self.trainer.ranks.agree(STOPPED if stopped and share < 1 else share)

    def _after(self, figures: dict[str, Any], done: float, validate_every: int) -> None:
        due = done == 1 or self.trainer.step % validate_every == 0
        retrieval = self.validation.retrieval(self.trainer) if due else {}
        self.last = self.clock.progress(self.trainer.step, figures, retrieval)
        self.run.log(self.last, [part.name for part in self.trainer.recipe.parts])
        if due or done == STOPPED or time.monotonic() > self._saved + SAVE_SECONDS:
            story = self.story.told(self.last, self.trainer.begun)
            self.run.save(self.trainer, self.clock.seconds, story)
            self._saved = time.monotonic()
        self.events.progress(self.last)

    def _end(self, stopped: str | None) -> Summary:
        if stopped:
            return Summary(self.run.folder / LAST, self.last, stopped)
        if self.trainer.ranks.leads:
            self.run.finish()
        return Summary(self.run.output, self.last)


class Signals:
    """Takes note of SIGINT and SIGTERM, so that a run stops after a step; a context manager.

    One that comes again, and was not passed on by torchrun as it came, ends the process at once.

    Attributes
    ----------
    received : str or None
        The word for the first one.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._at = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def _take_note(self, number: int, frame: FrameType | None) -> None:
        if self.received and time.monotonic() > self._at + TWICE_SECONDS:
            os._exit(128 + number)
        self.received, self._at = SIGNALS[signal.Signals(number)], time.monotonic()

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take_note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
