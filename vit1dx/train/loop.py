"""A training run, from folders of music to weights: the stages composed, and stepped through."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..arrays import Array
from ..config import MelConfig, WindowConfig
from ..errors import UsageError
from ..model import ViT1D, load
from ..weights import read_safetensors_metadata
from .batches import Pairs2Mel
from .cache import AudioCache, CachedTrack, find_audio
from .data import PairSampler, Tracks, read_groups, split_tracks
from .frontend import n_frames_of
from .ranks import Ranks, join_ranks, leave_ranks
from .recipe import Recipe
from .run import Clock, Progress, RunFolder
from .trainer import Contrast, Trainer
from .validation import Validation


@dataclass(frozen=True)
class Summary:
    """What a run came to.

    Attributes
    ----------
    weights : path
        The best ones.
    last : Progress or None
        Of the last step; None where there was none left to do.
    retrieval : float or None
        Of the best weights; None where too little was held out.
    """

    weights: Path
    last: Progress | None
    retrieval: float | None


@dataclass
class Events:
    """What a caller may want to hear of; each does nothing unless it is set."""

    decoding: Callable[[int], None] = lambda total: None
    decoded: Callable[[CachedTrack], None] = lambda track: None
    started: Callable[[str], None] = lambda line: None
    progress: Callable[[Progress], None] = lambda progress: None
    finished: Callable[[Summary], None] = lambda summary: None


def train(
    audio: Sequence[Path],
    output: Path,
    recipe: Recipe,
    *,
    groups: Path | None = None,
    cache: Path | None = None,
    init: Path | None = None,
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
        Where the best weights go; the run's other files go to a folder of this name with `.run`
        in place of its suffix.
    recipe : Recipe
    groups : path, optional
        How tracks belong together (`data.read_groups`); tracks that it does not list are left out.
    cache : path, optional
        Folder of decoded audio; by default one in the run's folder. Runs may share it, but two must
        not fill it at once.
    init : path, optional
        Weights to begin from, instead of random ones.
    resume : bool
        Go on with the run whose folder it is.
    device : str
        "auto", "cpu" or "cuda".
    validate_every : int
        Steps between validations, each followed by a checkpoint.
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
    """
    ranks, folder = join_ranks(device), output.with_suffix(".run")
    events = events if events and ranks.leads else Events()
    try:
        encoder = _encoder(init, recipe)
        mel, cache = encoder.config.mel, cache or folder / "cache"
        cached, samples = _decoded(find_audio(audio), cache, mel, workers, events, ranks)
        training, held_out = split_tracks(cached, read_groups(groups) if groups else None)
        trainer = _trainer(encoder, recipe, training, samples, ranks)
        validation = Validation(held_out, samples, mel, recipe, ranks.device)
        run = RunFolder(folder, output, _description(trainer, init), _history(init))
        clock = _begin(run, trainer, resume)
        events.started(_opening(trainer, len(training), validation))
        last = _run(trainer, run, validation, clock, validate_every, events)
        summary = Summary(output, last, run.best)
        events.finished(summary)
        return summary
    finally:
        leave_ranks()


def _encoder(init: Path | None, recipe: Recipe) -> ViT1D:
    """The encoder to begin with, whose windows will be what it is trained on.

    The projection head, made after it, is drawn by the same seed.
    """
    torch.manual_seed(recipe.seed)
    encoder = load(init) if init else ViT1D()
    frames = n_frames_of(encoder.config.mel, recipe.seconds)
    encoder.config = dataclasses.replace(encoder.config, window=WindowConfig(frames))
    return encoder


def _decoded(
    paths: list[Path], folder: Path, mel: MelConfig, workers: int, events: Events, ranks: Ranks
) -> tuple[list[CachedTrack], Array]:
    """Tracks of the files and the cache's samples; the leading rank decodes."""
    if ranks.leads:
        events.decoding(len(paths))
        for track in AudioCache(folder, mel.sample_rate).fill(paths, workers):
            events.decoded(track)
    ranks.wait()
    cache = AudioCache(folder, mel.sample_rate)
    tracks = [cache.tracks[str(path)] for path in paths if str(path) in cache.tracks]
    if not any(track.length for track in tracks):
        reasons = sorted({track.reason or "" for track in tracks})
        raise UsageError(f"none of {len(paths)} files could be decoded: {'; '.join(reasons[:3])}")
    return tracks, cache.samples()


def _trainer(
    encoder: ViT1D, recipe: Recipe, tracks: Tracks, samples: Array, ranks: Ranks
) -> Trainer:
    to_mel = Pairs2Mel(samples, encoder.config.mel, recipe, ranks.device)
    sampler = PairSampler(tracks, recipe, to_mel.n_samples)
    heads = 2 if recipe.own_heads and sampler.has_aligned else 1
    return Trainer(Contrast(encoder, heads), recipe, sampler, to_mel, ranks)


def _begin(run: RunFolder, trainer: Trainer, resume: bool) -> Clock:
    if not resume:
        run.require_new()
        return Clock(trainer.recipe)
    seconds = run.restore(trainer)
    if trainer.ranks.leads:
        run.cut_log(trainer.step)
    return Clock(trainer.recipe, trainer.step, seconds)


def _run(
    trainer: Trainer,
    run: RunFolder,
    validation: Validation,
    clock: Clock,
    validate_every: int,
    events: Events,
) -> Progress | None:
    """Step until the run is done; validate and save now and then, and at the end."""
    ranks, last = trainer.ranks, None
    # The leading rank's clock is every rank's, so that all of them stop at one step.
    done = ranks.agree(clock.done(trainer.step))
    while done < 1:
        figures = trainer.train_step(done)
        done = ranks.agree(clock.done(trainer.step))
        if not ranks.leads:
            continue
        due = done >= 1 or trainer.step % validate_every == 0
        retrieval = validation.retrieval(trainer) if due else None
        last = clock.progress(trainer.step, figures, retrieval)
        run.log(last)
        if due:
            run.save(trainer, last, clock.seconds)
        events.progress(last)
    return last


def _description(trainer: Trainer, init: Path | None) -> dict[str, Any]:
    """What weights files say of their training, but for how much of it there was."""
    tracks = trainer.sampler.tracks
    rate = trainer.model.encoder.config.mel.sample_rate
    return {
        "recipe": trainer.recipe.to_dict(),
        "init": init.name if init else None,
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
    return (
        f"{len(sampler.tracks)} tracks to train on ({n_tracks - len(sampler.tracks)} too short), "
        f"{'with' if sampler.has_aligned else 'no'} aligned renditions; "
        f"{validation.n_pairs} held-out pairs; {_hardware(trainer.ranks)}"
    )
