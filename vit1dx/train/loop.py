"""The training loop: contrast class tokens, step by step, so that a resumed run is the same run."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..config import Config
from ..errors import UsageError, WeightsError
from ..model import ViT1D
from .batches import Pairs2Mel
from .cache import AudioCache, CachedTrack, find_audio
from .data import PairSampler, Pairs, Tracks, read_groups, split_tracks
from .loss import nt_xent, retrieval_accuracy
from .ranks import Ranks, join_ranks, leave_ranks
from .recipe import Recipe
from .weights import load_encoder, save_weights

HEAD_HIDDEN, HEAD_OUT = 512, 128
CHECKPOINT, LOG, LAST, BEST = "checkpoint.pt", "log.csv", "last.safetensors", "best.safetensors"
VALIDATION_PAIRS, VALIDATION_BATCH, VALIDATION_SIBLINGS = 256, 64, 4
_VALIDATION_SEED = 77


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
        Share of held-out segments that retrieve the other segment of their track, where this step
        was followed by a validation.
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


@dataclass(frozen=True)
class Summary:
    """What a run came to.

    Attributes
    ----------
    weights : path
        The best ones.
    last : Progress or None
        Of the last step; None where there was none left to do.
    best_retrieval : float or None
        Of the best weights; None where nothing was held out.
    """

    weights: Path
    last: Progress | None
    best_retrieval: float | None


@dataclass
class Events:
    """What a caller may want to hear of; each does nothing unless it is set."""

    decoding: Callable[[int], None] = lambda total: None
    decoded: Callable[[CachedTrack], None] = lambda track: None
    started: Callable[[str], None] = lambda line: None
    progress: Callable[[Progress], None] = lambda progress: None


class Contrast(nn.Module):
    """Encoder and projection head: frames to what NT-Xent compares.

    Parameters
    ----------
    encoder : ViT1D
    """

    def __init__(self, encoder: ViT1D) -> None:
        super().__init__()
        self.encoder = encoder
        dim = encoder.config.model.dim
        self.head = nn.Sequential(
            nn.Linear(dim, HEAD_HIDDEN), nn.GELU(), nn.Linear(HEAD_HIDDEN, HEAD_OUT)
        )

    def forward(self, mel: Tensor) -> Tensor:
        """Project class tokens: (n, time, n_mels) to (n, HEAD_OUT)."""
        return self.head(self._class_token(mel))

    def _class_token(self, mel: Tensor) -> Tensor:
        if mel.device.type != "cpu":
            return self.encoder.class_token(mel)
        # On processors PyTorch's fused attention is the slower one at these lengths, and asking
        # for the maps goes round it: 1.6 times as many segments a second.
        depth = len(self.encoder.blocks)
        tokens, _ = self.encoder(mel, [depth], attentions=range(1, depth + 1))
        return self.encoder.norm(tokens[depth][:, 0])


class Trainer:
    """A model in training.

    Parameters
    ----------
    model : Contrast
    recipe : Recipe
    sampler : PairSampler
    to_mel : Pairs2Mel
    ranks : Ranks
    """

    def __init__(
        self,
        model: Contrast,
        recipe: Recipe,
        sampler: PairSampler,
        to_mel: Pairs2Mel,
        ranks: Ranks,
    ) -> None:
        self.model, self.recipe, self.ranks = model.to(ranks.device), recipe, ranks
        self._sampler, self._to_mel = sampler, to_mel
        self._slice = ranks.slice_of(recipe.batch)
        self.optimizer = _optimizer(model, recipe, ranks.device)
        self.step = 0

    def train_step(self, done: float) -> dict[str, float]:
        """One step, a share `done` of the run lying behind it; its loss and other figures."""
        rate = self.recipe.rate_at(self.step, done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        first, second = self._embeddings(self._batch())
        loss = nt_xent(first, second, self.recipe.temperature)
        self.optimizer.zero_grad()
        loss.backward()
        gradient = self._update()
        self.step += 1
        accuracy = retrieval_accuracy(first.detach(), second.detach())
        return {
            "loss": loss.item(),
            "accuracy": float(accuracy),
            "rate": rate,
            "gradient": gradient,
        }

    def _batch(self) -> Tensor:
        pairs = self._sampler.draw(self.step)
        knobs = self._to_mel.knobs(self.step, self.recipe.batch)
        return self._to_mel(pairs[self._slice], (knobs[0][self._slice], knobs[1][self._slice]))

    def _embeddings(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """First and second segments' projections, those of all ranks."""
        first, second = self.project(mel).chunk(2)
        return self.ranks.gather(first), self.ranks.gather(second)

    def project(self, mel: Tensor) -> Tensor:
        """Project frames at the recipe's precision, to float32."""
        bf16 = self.recipe.precision == "bf16"
        with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=bf16):
            return self.model(mel).float()

    def _update(self) -> float:
        parameters = list(self.model.parameters())
        self.ranks.sum_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.recipe.clip)
        self.optimizer.step()
        return float(norm)

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def _optimizer(model: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    """AdamW, which lets matrices decay, but no biases, norms or class token."""
    named = list(model.named_parameters())
    decays = [p for name, p in named if p.ndim == 2]
    stays = [p for name, p in named if p.ndim != 2]
    groups = [
        {"params": decays, "weight_decay": recipe.weight_decay},
        {"params": stays, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True)


class Validation:
    """Retrieval among held-out tracks: for each segment, is the nearest of all others its partner?

    The pairs are drawn once: two disjoint segments of each of `VALIDATION_PAIRS` songs, or of as many
    as there are; where training has aligned positives, those of `VALIDATION_SIBLINGS` times a song.

    Parameters
    ----------
    tracks : Tracks
    samples : (n,) int16 array
    config : Config
    recipe : Recipe
    device : torch.device
    """

    def __init__(
        self,
        tracks: Tracks,
        samples: np.ndarray[Any, Any],
        config: Config,
        recipe: Recipe,
        device: torch.device,
    ) -> None:
        plain = dataclasses.replace(recipe, augment=False, shared_timbre=0, seed=0)
        self._to_mel = Pairs2Mel(samples, config.mel, plain, device)
        self._pairs = self._drawn(tracks, plain)
        self.n_pairs = len(self._pairs.start) if self._pairs else 0

    def _drawn(self, tracks: Tracks, recipe: Recipe) -> Pairs | None:
        aligned = recipe.aligned and tracks.has_aligned
        siblings = VALIDATION_SIBLINGS if aligned else 1
        long_enough = tracks.length >= max(2, siblings) * self._to_mel.n_samples
        songs = len(np.unique(tracks.song[long_enough]))
        n_pairs = min(VALIDATION_PAIRS, siblings * songs)
        if n_pairs < 2:
            return None
        kind = {"batch": n_pairs, "siblings": siblings, "aligned": float(bool(aligned))}
        sampler = PairSampler(tracks, dataclasses.replace(recipe, **kind), self._to_mel.n_samples)
        return sampler.draw(_VALIDATION_SEED)

    def retrieval(self, trainer: Trainer) -> float | None:
        """Accuracy, chance being one in twice the number of pairs; None without tracks."""
        if self._pairs is None:
            return None
        trainer.model.eval()
        with torch.inference_mode():
            parts = [trainer.project(mel).chunk(2) for mel in self._batches(self._pairs)]
        trainer.model.train()
        first, second = (torch.cat(sides) for sides in zip(*parts))
        return float(retrieval_accuracy(first, second))

    def _batches(self, pairs: Pairs) -> Iterator[Tensor]:
        for begin in range(0, self.n_pairs, VALIDATION_BATCH):
            part = pairs[begin : begin + VALIDATION_BATCH]
            yield self._to_mel(part, self._to_mel.knobs(0, len(part.start)))


class Clock:
    """How far a run is, by its steps or by its minutes, those before it was resumed included."""

    def __init__(self, recipe: Recipe, seconds_before: float = 0.0) -> None:
        self._recipe, self._before = recipe, seconds_before
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return self._before + time.monotonic() - self._began

    def done(self, step: int) -> float:
        """Share of the run that lies behind, 1 at its end."""
        if self._recipe.steps is not None:
            return min(1.0, step / self._recipe.steps)
        return min(1.0, self.seconds / 60 / (self._recipe.minutes or 1))


class RunFolder:
    """A run's files: log, checkpoint, last and best weights.

    Parameters
    ----------
    folder : path
    output : path
        Where the best weights go as well.
    training : dict
        What the weights files say of their training.
    """

    def __init__(self, folder: Path, output: Path, training: dict[str, Any]) -> None:
        self.folder, self._output, self._training = folder, output, training
        self.best: float | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint(self) -> Path:
        """What a resumed run begins from."""
        return self.folder / CHECKPOINT

    def log(self, progress: Progress) -> None:
        """Add a row to the log."""
        path = self.folder / LOG
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Progress)])
            if new:
                writer.writeheader()
            writer.writerow({k: _short(v) for k, v in dataclasses.asdict(progress).items()})

    def cut_log(self, step: int) -> None:
        """Drop the rows after a step, which a resumed run will write again."""
        path = self.folder / LOG
        if path.exists():
            header, *rows = path.read_text().splitlines(keepends=True)
            kept = [row for row in rows if int(row.split(",")[0]) <= step]
            path.write_text("".join([header, *kept]))

    def save(self, trainer: Trainer, progress: Progress, seconds: float) -> None:
        """Write checkpoint and weights; the weights as the best ones too, if they are."""
        training = {**self._training, **_amount(progress), "retrieval": progress.retrieval}
        self._save_weights(self.folder / LAST, trainer, training)
        score = progress.retrieval
        if self.best is None or (score is not None and score >= self.best):
            self.best = score
            self._save_weights(self.folder / BEST, trainer, training)
            self._save_weights(self._output, trainer, training)
        extra = {"seconds": seconds, "best": self.best, "recipe": trainer.recipe.to_dict()}
        unfinished = self.checkpoint.with_suffix(".tmp")
        torch.save({**trainer.state(), **extra}, unfinished)
        os.replace(unfinished, self.checkpoint)

    def _save_weights(self, path: Path, trainer: Trainer, training: dict[str, Any]) -> None:
        save_weights(path, trainer.model.encoder, self._output.stem, training)

    def restore(self, trainer: Trainer) -> float:
        """Put a trainer where its run stopped; seconds of training that lie behind it."""
        if not self.checkpoint.exists():
            raise UsageError(f"--resume: no {self.checkpoint}; leave it out for a new run")
        state = torch.load(self.checkpoint, map_location=trainer.ranks.device, weights_only=True)
        changed = _changed(state["recipe"], trainer.recipe.to_dict())
        if changed:
            raise UsageError(f"--resume with another recipe than the run's: {changed}")
        trainer.load_state(state)
        self.best = state["best"]
        return float(state["seconds"])


def _changed(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Settings that differ; a run may be given more steps or minutes than it had."""
    names = [key for key in now if key not in ("steps", "minutes") and before.get(key) != now[key]]
    return ", ".join(f"{name} was {before.get(name)}, is {now[name]}" for name in names)


def _short(value: Any) -> Any:
    return f"{value:.7g}" if isinstance(value, float) else value


def _amount(progress: Progress) -> dict[str, Any]:
    return {
        "steps": progress.step,
        "segments": progress.segments,
        "minutes": round(progress.minutes, 1),
    }


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
        Folder of decoded audio; by default one in the run's folder. Runs may share it in turn.
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

    Returns
    -------
    Summary

    Raises
    ------
    Vit1dxError
        If something asked for cannot be had.
    """
    ranks = join_ranks(device)
    events = events if events and ranks.leads else Events()
    try:
        return _train(
            audio,
            output,
            recipe,
            groups,
            cache,
            init,
            resume,
            validate_every,
            workers,
            events,
            ranks,
        )
    finally:
        leave_ranks()


def _train(
    audio: Sequence[Path],
    output: Path,
    recipe: Recipe,
    groups: Path | None,
    cache: Path | None,
    init: Path | None,
    resume: bool,
    validate_every: int,
    workers: int,
    events: Events,
    ranks: Ranks,
) -> Summary:
    folder = output.with_suffix(".run")
    encoder = _encoder(init, recipe.seed)
    mel = encoder.config.mel
    cached, samples = _cached(
        audio, cache or folder / "cache", mel.sample_rate, workers, events, ranks
    )
    training, held_out = split_tracks(cached, read_groups(groups) if groups else None)
    to_mel = Pairs2Mel(samples, mel, recipe, ranks.device)
    sampler = PairSampler(training, recipe, to_mel.n_samples)
    validation = Validation(held_out, samples, encoder.config, recipe, ranks.device)
    trainer = Trainer(Contrast(encoder), recipe, sampler, to_mel, ranks)
    run = RunFolder(
        folder, output, _description(recipe, sampler.tracks, init, mel.sample_rate, ranks)
    )
    seconds = run.restore(trainer) if resume else 0.0
    if ranks.leads:
        _begin_log(run, trainer, resume)
    events.started(_opening(sampler, training, validation, ranks))
    last = _run(trainer, run, validation, Clock(recipe, seconds), validate_every, events)
    return Summary(output, last, run.best)


def _encoder(init: Path | None, seed: int) -> ViT1D:
    """The encoder to begin with; the head, made after it, is drawn by the same seed."""
    torch.manual_seed(seed)
    return load_encoder(init) if init else ViT1D()


def _cached(
    audio: Sequence[Path],
    folder: Path,
    sample_rate: int,
    workers: int,
    events: Events,
    ranks: Ranks,
) -> tuple[list[CachedTrack], np.ndarray[Any, Any]]:
    """Tracks of the files asked for and the cache's samples; the leading rank decodes."""
    paths = find_audio(audio)
    if ranks.leads:
        events.decoding(len(paths))
        for track in AudioCache(folder, sample_rate).fill(paths, workers):
            events.decoded(track)
    ranks.wait()
    cache = AudioCache(folder, sample_rate)
    tracks = [cache.tracks[str(path)] for path in paths if str(path) in cache.tracks]
    if not any(track.length for track in tracks):
        reasons = sorted({track.reason or "" for track in tracks})
        raise UsageError(f"none of {len(paths)} files could be decoded: {'; '.join(reasons[:3])}")
    return tracks, cache.samples()


def _begin_log(run: RunFolder, trainer: Trainer, resume: bool) -> None:
    if resume:
        run.cut_log(trainer.step)
    elif (run.folder / LOG).exists():
        raise UsageError(f"{run.folder} holds a run; go on with it by --resume, or name another -o")


def _run(
    trainer: Trainer,
    run: RunFolder,
    validation: Validation,
    clock: Clock,
    validate_every: int,
    events: Events,
) -> Progress | None:
    """Step until the run is done; validate and save now and then, and at the end."""
    ranks, first_step, began = trainer.ranks, trainer.step, time.monotonic()
    last = None
    done = ranks.agree(clock.done(trainer.step))
    while done < 1:
        figures = trainer.train_step(done)
        done = ranks.agree(clock.done(trainer.step))
        due = trainer.step % validate_every == 0 or done >= 1
        speed = 2 * trainer.recipe.batch * (trainer.step - first_step) / (time.monotonic() - began)
        last = Progress(
            step=trainer.step,
            segments=2 * trainer.recipe.batch * trainer.step,
            minutes=clock.seconds / 60,
            done=done,
            speed=speed,
            retrieval=validation.retrieval(trainer) if due and ranks.leads else None,
            **figures,
        )
        if ranks.leads:
            _record(trainer, run, last, clock, due)
        events.progress(last)
    return last


def _record(trainer: Trainer, run: RunFolder, last: Progress, clock: Clock, due: bool) -> None:
    run.log(last)
    if due:
        run.save(trainer, last, clock.seconds)


def _description(
    recipe: Recipe, tracks: Tracks, init: Path | None, sample_rate: int, ranks: Ranks
) -> dict[str, Any]:
    """What weights files say of their training, but for how much of it there was."""
    return {
        "recipe": recipe.to_dict(),
        "init": init.name if init else None,
        "seed": recipe.seed,
        "tracks": len(tracks),
        "songs": len(np.unique(tracks.song)),
        "hours": round(float(tracks.length.sum()) / sample_rate / 3600, 2),
        "hardware": _hardware(ranks),
        "torch": torch.__version__,
    }


def _hardware(ranks: Ranks) -> str:
    if ranks.device.type == "cuda":
        return f"{ranks.world} x {torch.cuda.get_device_name(ranks.device)}"
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line for line in lines if line.startswith("model name")).split(": ", 1)[1]
    return f"{ranks.world} x {torch.get_num_threads()} threads of {name}"


def _opening(sampler: PairSampler, training: Tracks, validation: Validation, ranks: Ranks) -> str:
    short = len(training) - len(sampler.tracks)
    return (
        f"{len(sampler.tracks)} tracks to train on ({short} too short), "
        f"{'with' if sampler.has_aligned else 'no'} aligned renditions, {validation.n_pairs} held-out "
        f"pairs, {_hardware(ranks)}"
    )


__all__ = ["Events", "Progress", "Recipe", "Summary", "WeightsError", "train"]
