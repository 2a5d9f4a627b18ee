"""A training run, from folders of music to weights: the stages composed, and stepped through."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .._types import Array
from ..config import MelConfig, WindowConfig
from ..errors import UsageError
from ..model.vit import ViT1D, load
from ..model.weights import read_safetensors_metadata, require_replaceable
from .batches import Pairs2Mel, n_frames_of
from .cache import CachedTrack, MelCache, find_audio
from .contrast import Contrast
from .data import PairSampler, Tracks, read_groups, split_tracks
from .ranks import Ranks, has_bf16, join_ranks, leave_ranks
from .recipe import AUTO, Recipe, TrainingPrecision
from .run import CHECKPOINT, LAST, Clock, RunFolder, Story, read_checkpoint
from .stepper import Events, Stepper, Summary
from .trainer import Trainer
from .validation import MIN_PAIRS, Validation


def train(
    audio: Sequence[Path],
    output: Path,
    recipe: Recipe,
    *,
    listed: Sequence[str] = (),
    groups: Sequence[Path] = (),
    cache: Path | None = None,
    init: Path | None = None,
    branch: Path | None = None,
    resume: bool = False,
    device: str = "auto",
    validate_every: int = 250,
    workers: int = 2,
    events: Events | None = None,
) -> Summary:
    """Train an encoder on the music in files and folders.

    Parameters
    ----------
    audio : sequence of path
        Files, and folders that are searched for them.
    output : path
        Where the weights go at the end; the run's other files go to a folder of this name with
        `.run` in place of its suffix.
    recipe : Recipe
    listed : sequence of str
        More files; one that is not there is reported, and left out.
    groups : sequence of path
        How tracks belong together (`data.read_groups`); tracks that none lists are left out.
    cache : path, optional
        Folder of decoded audio; by default one in the run's folder. Runs may share it, but two must
        not fill it at once.
    init : path, optional
        Weights to begin from, instead of random ones.
    branch : path, optional
        Folder of another run, whose checkpoint this one begins from (weights, projection heads and
        optimiser, if that is the same), and which stays as it is.
    resume : bool
        Go on with the run whose folder it is.
    device : str
        "auto", "cpu" or "cuda".
    validate_every : int
        Steps between validations, each followed by a checkpoint. There is one every few minutes
        in any case.
    workers : int
        Threads that decode.
    events : Events, optional
        Called on the leading rank.

    Returns
    -------
    Summary

    Raises
    ------
    Vit1dxError
        If something asked for cannot be had.
    TrainingError
        If the loss is no number; the run can then be resumed from its last checkpoint.
    """
    files = find_audio(audio, listed)
    require_replaceable(output, [*files, *groups, *([init] if init else [])])
    ranks, run = join_ranks(device), RunFolder(output.with_suffix(".run"), output)
    events = events if events and ranks.leads else Events()
    try:
        state = _state(run, branch, resume)
        recipe = _precise(recipe, ranks, state if resume else None)
        encoder = _encoder(_weights(run, init, branch, resume), recipe)
        mel, cache = encoder.config.mel, cache or run.folder / "cache"
        cached, frames = _decoded(files, cache, mel, workers, events, ranks)
        training, held_out = split_tracks(cached, _merged(groups))
        trainer = _trainer(encoder, recipe, training, frames, ranks)
        validation = Validation(held_out, frames, mel, recipe, ranks.device)
        clock = _begin(run, trainer, state, resume)
        story = _story(trainer, init or branch, state, resume)
        events.started(_opening(trainer, len(training), validation) + _anew(trainer, state))
        stepper = Stepper(trainer, run, validation, clock, story, events)
        summary = stepper.until_done(validate_every)
        events.finished(summary)
        return summary
    finally:
        leave_ranks()


def _state(run: RunFolder, branch: Path | None, resume: bool) -> dict[str, Any] | None:
    """The checkpoint that a run goes on from, its own or another's."""
    if resume:
        return read_checkpoint(run.checkpoint, "--resume")
    state = read_checkpoint(branch / CHECKPOINT, "--branch") if branch else None
    run.begin()
    return state


def _precise(recipe: Recipe, ranks: Ranks, state: dict[str, Any] | None) -> Recipe:
    """The recipe with a precision: a resumed run's own, or what suits the device."""
    if recipe.precision != AUTO:
        return recipe
    suited: TrainingPrecision = "bf16" if has_bf16(ranks.device) else "fp32"
    precision: TrainingPrecision = state["recipe"]["precision"] if state else suited
    return dataclasses.replace(recipe, precision=precision)


def _weights(run: RunFolder, init: Path | None, branch: Path | None, resume: bool) -> Path | None:
    """Weights that say what the encoder is like."""
    if resume:
        return run.folder / LAST
    return branch / LAST if branch else init


def _encoder(weights: Path | None, recipe: Recipe) -> ViT1D:
    """The encoder to begin with, whose windows will be what it is trained on.

    The projection heads, made after it, are drawn by the same seed.
    """
    torch.manual_seed(recipe.seed)
    encoder = load(weights) if weights else ViT1D()
    frames = n_frames_of(encoder.config.mel, recipe.seconds)
    encoder.config = dataclasses.replace(encoder.config, window=WindowConfig(frames))
    return encoder


def _decoded(
    paths: list[Path], folder: Path, mel: MelConfig, workers: int, events: Events, ranks: Ranks
) -> tuple[list[CachedTrack], Array]:
    """Tracks of the files and the cache's frames; the leading rank decodes."""
    if ranks.leads:
        events.decoding(len(paths))
        for track in MelCache(folder, mel).fill(paths, workers):
            events.decoded(track)
    ranks.wait()
    cache = MelCache(folder, mel)
    tracks = [cache.tracks[str(path)] for path in paths if str(path) in cache.tracks]
    if not any(track.length for track in tracks):
        reasons = sorted({track.reason or "" for track in tracks})
        raise UsageError(f"none of {len(paths)} files could be decoded: {'; '.join(reasons[:3])}")
    return tracks, cache.frames()


def _merged(groups: Sequence[Path]) -> dict[str, dict[str, Any]] | None:
    """Rows of all groups files; None without any."""
    rows: dict[str, dict[str, Any]] = {}
    for path in groups:
        rows.update(read_groups(path))
    return rows if groups else None


def _trainer(
    encoder: ViT1D, recipe: Recipe, tracks: Tracks, frames: Array, ranks: Ranks
) -> Trainer:
    to_mel = Pairs2Mel(frames, encoder.config.mel, recipe, ranks.device)
    sampler = PairSampler(tracks, recipe, to_mel.n_frames)
    return Trainer(Contrast(encoder, recipe.own_heads), recipe, sampler, to_mel, ranks)


def _begin(run: RunFolder, trainer: Trainer, state: dict[str, Any] | None, resume: bool) -> Clock:
    """Put a trainer to where it goes on from."""
    seconds = 0.0
    if state and resume:
        run.require_same(trainer, state)
        seconds = float(state["seconds"])
    if state:
        trainer.load_state(state)
    if not resume:
        trainer.begun = trainer.step
    elif trainer.ranks.leads:
        run.cut_log(trainer.step)
    return Clock(trainer.recipe, trainer.begun, trainer.step, seconds)


def _story(
    trainer: Trainer, origin: Path | None, state: dict[str, Any] | None, resume: bool
) -> Story:
    if state is None:
        return Story(_history(origin), _description(trainer, origin))
    runs = json.loads(state["training"])
    now = _description(trainer, origin)
    return Story(runs[:-1], {**now, "init": runs[-1]["init"]}) if resume else Story(runs, now)


def _description(trainer: Trainer, origin: Path | None) -> dict[str, Any]:
    """What weights files say of their training, but for how much of it there was."""
    tracks = trainer.sampler.tracks
    rate = trainer.model.encoder.config.mel.frame_rate
    return {
        "recipe": trainer.recipe.to_dict(),
        "init": origin.name if origin else None,
        "seed": trainer.recipe.seed,
        "tracks": len(tracks),
        "songs": len(np.unique(tracks.song)),
        "hours": round(float(tracks.length.sum()) / rate / 3600, 2),
        "hardware": _hardware(trainer.ranks),
        "torch": torch.__version__,
    }


def _history(init: Path | None) -> list[Any]:
    """What weights to begin from say of their training, run by run."""
    text = read_safetensors_metadata(init).get("training", "[]") if init else "[]"
    try:
        runs = json.loads(text)
    except ValueError:  # the words of another program
        return [text]
    return runs if isinstance(runs, list) else [runs]


def _hardware(ranks: Ranks) -> str:
    if ranks.device.type == "cuda":
        return f"{ranks.world} x {torch.cuda.get_device_name(ranks.device)}"
    return f"{ranks.world} x {torch.get_num_threads()} threads of {_processor()}"


def _processor() -> str:
    """The processor's model, which Linux knows and Python does not."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith("model name")).split(": ", 1)[1]
    return platform.processor() or platform.machine()


def _opening(trainer: Trainer, n_tracks: int, validation: Validation) -> str:
    sampler = trainer.sampler
    parts = [
        f"{part.name} {part.share:.2g} of steps, of {len(sampler.pools[part.name])} tracks, "
        f"{_held_out(validation.n_pairs[part.name])}"
        for part in trainer.recipe.parts
    ]
    short = n_tracks - len(sampler.tracks)
    return (
        f"{len(sampler.tracks)} tracks to train on ({short} too short); {'; '.join(parts)}; "
        f"{trainer.recipe.precision}; {_hardware(trainer.ranks)}"
    )


def _anew(trainer: Trainer, state: dict[str, Any] | None) -> str:
    """What to say where the run that is gone on from had another optimiser."""
    if state is None or trainer.optimizers.fits(state["optimizers"]):
        return ""
    return f"; {trainer.recipe.optimizer} begins anew after {state['recipe']['optimizer']}"


def _held_out(n_pairs: int) -> str:
    few = f", fewer than {MIN_PAIRS}: no retrieval" if n_pairs < MIN_PAIRS else ""
    return f"{n_pairs} pairs held out{few}"
