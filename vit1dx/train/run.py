"""What a run leaves on disk and how far it is: log, checkpoint, weights, clock."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import pickle
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..errors import UsageError
from ..model.vit import save
from ..whole import whole
from .recipe import LENGTH, Recipe
from .trainer import Trainer

CHECKPOINT, LOG, LAST = "checkpoint.pt", "log.csv", "last.safetensors"


@dataclass(frozen=True)
class Progress:
    """Where a run stands: a row of its log.

    Attributes
    ----------
    step : int
        Steps done, those before a branch included.
    segments : int
        Segments seen in this run, over all ranks.
    minutes : float
        Of training, resumed runs together.
    done : float
        Share of the run done.
    part : str
        Of the mix, that the last step was of.
    loss, accuracy, rate, gradient : float
        Of the last step: NT-Xent, retrieval in the batch, learning rate, norm before clipping.
    speed : float
        Segments a second since the run was started or resumed.
    retrieval : dict of float
        Share of held-out segments that retrieve their partner, by part of the mix, where this step
        was followed by a validation and enough is held out.
    """

    step: int
    segments: int
    minutes: float
    done: float
    part: str
    loss: float
    accuracy: float
    rate: float
    gradient: float
    speed: float
    retrieval: dict[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """The row, a column of it being a part's retrieval."""
        row = dataclasses.asdict(self)
        found = row.pop("retrieval")
        return row | {f"retrieval {name}": value for name, value in found.items()}


class Clock:
    """How far a run is, by its steps or by its minutes, those before it was resumed included.

    Parameters
    ----------
    recipe : Recipe
    begun : int
        Step that the run begins at.
    step : int
        Steps done before it was resumed.
    seconds : float
        Of training before that.
    """

    def __init__(self, recipe: Recipe, begun: int = 0, step: int = 0, seconds: float = 0.0) -> None:
        self._recipe, self._begun, self._step, self._seconds = recipe, begun, step, seconds
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return self._seconds + time.monotonic() - self._began

    def done(self, step: int) -> float:
        """Share of the run that lies behind, 1 at its end."""
        if self._recipe.steps is not None:
            return min(1.0, (step - self._begun) / self._recipe.steps)
        return min(1.0, self.seconds / 60 / (self._recipe.minutes or 1))

    def progress(self, step: int, figures: dict[str, Any], retrieval: dict[str, float]) -> Progress:
        """Where the run stands after a step of these figures."""
        per_step = 2 * self._recipe.batch
        elapsed = time.monotonic() - self._began
        return Progress(
            step=step,
            segments=per_step * (step - self._begun),
            minutes=self.seconds / 60,
            done=self.done(step),
            speed=per_step * (step - self._step) / elapsed,
            retrieval=retrieval,
            **figures,
        )


@dataclass(frozen=True)
class Story:
    """What weights say of how they came to be.

    Attributes
    ----------
    before : list
        Runs before this one.
    now : dict
        What this run is, plain values.
    """

    before: list[Any]
    now: dict[str, Any]

    def told(self, progress: Progress, begun: int) -> list[Any]:
        """All runs, this one as far as it is, which began at step `begun`."""
        amount = {
            "steps": progress.step - begun,
            "segments": progress.segments,
            "minutes": round(progress.minutes, 1),
            "retrieval": progress.retrieval,
        }
        return [*self.before, {**self.now, **amount}]


class RunFolder:
    """A run's files.

    Parameters
    ----------
    folder : path
    output : path
        Where the weights go at the end.
    """

    def __init__(self, folder: Path, output: Path) -> None:
        self.folder, self.output = folder, output

    @property
    def checkpoint(self) -> Path:
        """What a resumed run begins from."""
        return self.folder / CHECKPOINT

    def begin(self) -> None:
        """Make the folder, and make sure that it holds no other run."""
        if (self.folder / LOG).exists():
            raise UsageError(
                f"{self.folder} holds a run; continue it with --resume, or name another --output"
            )
        self.folder.mkdir(parents=True, exist_ok=True)

    def require_same(self, trainer: Trainer, state: dict[str, Any]) -> None:
        """Make sure that a checkpoint of this run is of the recipe and the music at hand."""
        changed = _changed(state["recipe"], trainer.recipe.to_dict())
        if changed:
            raise UsageError(f"--resume with another recipe than the run's: {changed}")
        if state["music"] != trainer.sampler.tracks.digest():
            raise UsageError(
                "--resume with other music, or other groups, than the run's; "
                f"--branch {self.folder} begins a new run from it"
            )

    def cut_log(self, step: int) -> None:
        """Drop the rows after a step, which a resumed run writes again."""
        path = self.folder / LOG
        if not path.exists():
            return
        header, *rows = path.read_text().splitlines(keepends=True)
        kept = [row for row in rows if row.endswith("\n") and int(row.split(",")[0]) <= step]
        path.write_text("".join([header, *kept]))

    def log(self, progress: Progress, parts: Sequence[str]) -> None:
        """Add a row to the log; `parts` are those of the mix."""
        path = self.folder / LOG
        new = not path.exists()
        names = [f.name for f in dataclasses.fields(Progress) if f.name != "retrieval"]
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, [*names, *(f"retrieval {part}" for part in parts)])
            if new:
                writer.writeheader()
            writer.writerow(progress.row())

    def save(self, trainer: Trainer, seconds: float, training: Sequence[Any]) -> None:
        """Write a checkpoint, and the weights that are kept as they are by now."""
        self._save_weights(self.folder / LAST, trainer, training)
        extra = {
            "seconds": seconds,
            "recipe": trainer.recipe.to_dict(),
            "music": trainer.sampler.tracks.digest(),
            "training": json.dumps(training),
        }
        # No `whole`: what a killed run left, as large as a checkpoint, is written over.
        unfinished = self.checkpoint.with_suffix(".tmp")
        torch.save({**trainer.state(), **extra}, unfinished)
        os.replace(unfinished, self.checkpoint)

    def finish(self) -> None:
        """Copy the weights of the last step to where they were asked for."""
        with whole(self.output) as unfinished:
            shutil.copyfile(self.folder / LAST, unfinished)

    def _save_weights(self, path: Path, trainer: Trainer, training: Sequence[Any]) -> None:
        encoder, name = trainer.kept.encoder, self.output.stem
        save(encoder, path, name, trained=True, training=json.dumps(training))


def read_checkpoint(path: Path, option: str) -> dict[str, Any]:
    """What a run left to go on from.

    Raises
    ------
    UsageError
        If there is none, or it is none of this version's.
    """
    if not path.exists():
        raise UsageError(f"{option}: no {path}; leave it out for a new run")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        # What was left before there was a choice is AdamW's.
        recipe = Recipe(**{"optimizer": "adamw", **state["recipe"]})
        state.setdefault("optimizers", {"adamw": state.get("optimizer")})
    except (RuntimeError, KeyError, TypeError, pickle.UnpicklingError, EOFError) as error:
        reason = " ".join(str(error).split())[:80]
        raise UsageError(f"{option}: {path} is no checkpoint of this version: {reason}") from None
    return {**state, "recipe": recipe.to_dict()}


def _changed(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Settings that differ, but for those of a run's length and end."""
    names = [key for key in now if key not in LENGTH and before[key] != now[key]]
    return ", ".join(f"{name} was {before[name]}, is {now[name]}" for name in names)
