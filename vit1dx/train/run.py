"""What a run leaves on disk and how far it is: log, checkpoint, weights, clock."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import UsageError
from ..model import save
from .recipe import Recipe
from .trainer import Trainer

CHECKPOINT, LOG, LAST, BEST = "checkpoint.pt", "log.csv", "last.safetensors", "best.safetensors"


@dataclass(frozen=True)
class Progress:
    """Where a run stands: a row of its log.

    Attributes
    ----------
    step : int
        Steps done.
    segments : int
        Segments seen, over all ranks.
    minutes : float
        Of training, resumed runs together.
    done : float
        Share of the run done.
    loss, accuracy, rate, gradient : float
        Of the last step: NT-Xent, retrieval in the batch, learning rate, norm before clipping.
    speed : float
        Segments a second since the run was started or resumed.
    retrieval : float or None
        Share of held-out segments that retrieve their partner, where this step was followed by a
        validation.
    """

    step: int
    segments: int
    minutes: float
    done: float
    loss: float
    accuracy: float
    rate: float
    gradient: float
    speed: float
    retrieval: float | None = None


class Clock:
    """How far a run is, by its steps or by its minutes, those before it was resumed included.

    Parameters
    ----------
    recipe : Recipe
    step : int
        Steps done before.
    seconds : float
        Of training before.
    """

    def __init__(self, recipe: Recipe, step: int = 0, seconds: float = 0.0) -> None:
        self._recipe, self._step, self._seconds = recipe, step, seconds
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return self._seconds + time.monotonic() - self._began

    def done(self, step: int) -> float:
        """Share of the run that lies behind, 1 at its end."""
        if self._recipe.steps is not None:
            return min(1.0, step / self._recipe.steps)
        return min(1.0, self.seconds / 60 / (self._recipe.minutes or 1))

    def progress(self, step: int, figures: dict[str, float], retrieval: float | None) -> Progress:
        """Where the run stands after a step of these figures."""
        per_step = 2 * self._recipe.batch
        elapsed = time.monotonic() - self._began
        return Progress(
            step=step,
            segments=per_step * step,
            minutes=self.seconds / 60,
            done=self.done(step),
            speed=per_step * (step - self._step) / elapsed,
            retrieval=retrieval,
            **figures,
        )


class RunFolder:
    """A run's files.

    Parameters
    ----------
    folder : path
        Made where it does not exist.
    output : path
        Where the best weights go as well.
    training : dict
        What the weights files say of this run, plain values.
    history : list
        What they say of the training before it.

    Attributes
    ----------
    best : float or None
        Retrieval of the best weights so far.
    """

    def __init__(
        self, folder: Path, output: Path, training: dict[str, Any], history: Sequence[Any] = ()
    ) -> None:
        self.folder, self._output = folder, output
        self._training, self._history = training, history
        self.best: float | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint(self) -> Path:
        """What a resumed run begins from."""
        return self.folder / CHECKPOINT

    def require_new(self) -> None:
        """Make sure that the folder holds no other run."""
        if (self.folder / LOG).exists():
            raise UsageError(
                f"{self.folder} holds a run; go on with it by --resume, or name another --output"
            )

    def restore(self, trainer: Trainer) -> float:
        """Put a trainer where its run stopped, and give the seconds of training until then."""
        if not self.checkpoint.exists():
            raise UsageError(f"--resume: no {self.checkpoint}; leave it out for a new run")
        state = torch.load(self.checkpoint, map_location=trainer.ranks.device, weights_only=True)
        changed = _changed(state["recipe"], trainer.recipe.to_dict())
        if changed:
            raise UsageError(f"--resume with another recipe than the run's: {changed}")
        trainer.load_state(state)
        self.best = state["best"]
        return float(state["seconds"])

    def cut_log(self, step: int) -> None:
        """Drop the rows after a step, which a resumed run writes again."""
        path = self.folder / LOG
        if not path.exists():
            return
        header, *rows = path.read_text().splitlines(keepends=True)
        kept = [row for row in rows if row.endswith("\n") and int(row.split(",")[0]) <= step]
        path.write_text("".join([header, *kept]))

    def log(self, progress: Progress) -> None:
        """Add a row to the log."""
        path = self.folder / LOG
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Progress)])
            if new:
                writer.writeheader()
            writer.writerow(dataclasses.asdict(progress))

    def save(self, trainer: Trainer, progress: Progress, seconds: float) -> None:
        """Write checkpoint and weights, as the best weights too if they are."""
        training = {**self._training, **_amount(progress)}
        self._save_weights(self.folder / LAST, trainer, training)
        if self._is_best(progress.retrieval):
            self.best = progress.retrieval
            self._save_weights(self.folder / BEST, trainer, training)
            self._save_weights(self._output, trainer, training)
        extra = {"seconds": seconds, "best": self.best, "recipe": trainer.recipe.to_dict()}
        unfinished = self.checkpoint.with_suffix(".tmp")
        torch.save({**trainer.state(), **extra}, unfinished)
        os.replace(unfinished, self.checkpoint)

    def _is_best(self, retrieval: float | None) -> bool:
        """Where nothing is held out, the last weights are taken for the best."""
        return self.best is None or (retrieval is not None and retrieval >= self.best)

    def _save_weights(self, path: Path, trainer: Trainer, training: dict[str, Any]) -> None:
        name, runs = self._output.stem, json.dumps([*self._history, training])
        save(trainer.model.encoder, path, name, trained=True, training=runs)


def _changed(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Settings that differ; a run may be given more steps or minutes than it had."""
    # Of settings that came after the run, it had the defaults.
    before = {**Recipe(steps=1).to_dict(), **before}
    names = [key for key in now if key not in ("steps", "minutes") and before[key] != now[key]]
    return ", ".join(f"{name} was {before[name]}, is {now[name]}" for name in names)


def _amount(progress: Progress) -> dict[str, Any]:
    return {
        "steps": progress.step,
        "segments": progress.segments,
        "minutes": round(progress.minutes, 1),
        "retrieval": progress.retrieval,
    }
