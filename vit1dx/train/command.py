"""The command `vit1dx train`: options in, a progress bar and a summary out."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..errors import BackendError, UsageError
from .recipe import Recipe

if TYPE_CHECKING:
    from .cache import CachedTrack
    from .loop import Events, Summary
    from .run import Progress as Now

_DEFAULT = Recipe(steps=1)
_RECIPE, _RUN = "Recipe", "Run"


def train(
    audio: Annotated[list[Path], typer.Argument(help="Audio files, and folders of them.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Weights to write, .safetensors.")],
    steps: Annotated[int | None, typer.Option(help="Steps to train.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes to train, instead.")] = None,
    batch: Annotated[
        int, typer.Option(help="Positive pairs in a step.", rich_help_panel=_RECIPE)
    ] = _DEFAULT.batch,
    seconds: Annotated[
        float, typer.Option(help="Length of a segment, s.", rich_help_panel=_RECIPE)
    ] = _DEFAULT.seconds,
    keep: Annotated[
        float,
        typer.Option(
            help="Share of a segment's frames that the encoder is given.", rich_help_panel=_RECIPE
        ),
    ] = _DEFAULT.keep,
    learning_rate: Annotated[
        float, typer.Option(help="AdamW's peak rate.", rich_help_panel=_RECIPE)
    ] = _DEFAULT.learning_rate,
    weight_decay: Annotated[
        float, typer.Option(help="AdamW's decay.", rich_help_panel=_RECIPE)
    ] = _DEFAULT.weight_decay,
    warmup: Annotated[
        int, typer.Option(help="Steps in which the rate rises.", rich_help_panel=_RECIPE)
    ] = _DEFAULT.warmup,
    temperature: Annotated[
        float, typer.Option(help="Of NT-Xent.", rich_help_panel=_RECIPE)
    ] = _DEFAULT.temperature,
    aligned: Annotated[
        float,
        typer.Option(
            help="Share of steps whose positives are aligned renditions (needs --groups).",
            rich_help_panel=_RECIPE,
        ),
    ] = _DEFAULT.aligned,
    shared_timbre: Annotated[
        float,
        typer.Option(
            help="Share of steps whose tracks share an ensemble (needs --groups).",
            rich_help_panel=_RECIPE,
        ),
    ] = _DEFAULT.shared_timbre,
    jitter: Annotated[
        float,
        typer.Option(
            help="Shift of aligned positives, as a share of a segment.", rich_help_panel=_RECIPE
        ),
    ] = _DEFAULT.jitter,
    siblings: Annotated[
        int, typer.Option(help="Aligned pairs of one song in a step.", rich_help_panel=_RECIPE)
    ] = _DEFAULT.siblings,
    own_heads: Annotated[
        bool,
        typer.Option(help="A projection head for aligned positives.", rich_help_panel=_RECIPE),
    ] = _DEFAULT.own_heads,
    augment: Annotated[
        bool, typer.Option(help="Alter segments at random.", rich_help_panel=_RECIPE)
    ] = True,
    precision: Annotated[
        str, typer.Option(help="bf16 or fp32.", rich_help_panel=_RECIPE)
    ] = _DEFAULT.precision,
    seed: Annotated[int, typer.Option(help="Of all draws.", rich_help_panel=_RECIPE)] = 0,
    groups: Annotated[
        Path | None,
        typer.Option(help="JSON lines: audio, song, aligned_group, ensemble, split."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of decoded audio, kept between runs.")
    ] = None,
    init: Annotated[Path | None, typer.Option(help="Weights to begin from.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=_RUN)] = "auto",
    validate_every: Annotated[
        int, typer.Option(help="Steps between validations.", rich_help_panel=_RUN)
    ] = 250,
    workers: Annotated[int, typer.Option(help="Decoding threads.", rich_help_panel=_RUN)] = 2,
) -> None:
    """Train ViT-1D on a folder of music, by NT-Xent on its class token.

    The best weights by retrieval among held-out tracks go to OUTPUT; log, checkpoint and cache go
    to the folder beside it that ends in .run. Under torchrun, processes train together.
    """
    recipe = Recipe(
        steps=steps,
        minutes=minutes,
        batch=batch,
        seconds=seconds,
        keep=keep,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warmup=warmup,
        temperature=temperature,
        aligned=aligned,
        shared_timbre=shared_timbre,
        jitter=jitter,
        siblings=siblings,
        own_heads=own_heads,
        augment=augment,
        precision=precision,
        seed=seed,
    )
    _require(output, init, resume)
    from .loop import train as run
    from .ranks import end_rank

    with Report() as report:
        run(
            audio,
            output,
            recipe,
            groups=groups,
            cache=cache,
            init=init,
            resume=resume,
            device=device,
            validate_every=validate_every,
            workers=workers,
            events=report.events(),
        )
    end_rank()


def _require(output: Path, init: Path | None, resume: bool) -> None:
    missing = [name for name in ("torch", "safetensors") if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendError(
            f"training needs {' and '.join(missing)}, not installed: pip install 'vit1dx[torch]'"
        )
    if output.suffix != ".safetensors":
        raise UsageError(f"output {output}; a name that ends in .safetensors is needed")
    if init and resume:
        raise UsageError(f"--init {init} and --resume; a resumed run begins from its checkpoint")


class Report:
    """What a run says on the terminal: on standard error, a bar where that is one."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("decoding", total=None)
        self._failed = 0

    def __enter__(self) -> Report:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def events(self) -> Events:
        """What the loop is to call."""
        from .loop import Events

        return Events(
            decoding=lambda total: self._bar.update(self._task, total=total),
            decoded=self._decoded,
            started=self._started,
            progress=self._progress,
            finished=self._finished,
        )

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _finished(self, summary: Summary) -> None:
        if self._failed:
            self._print(f"{self._failed} files could not be decoded")
        if summary.last is None:
            self._print("nothing left to do: the run was complete")
            return
        self._print(f"best weights: {summary.weights}{_retrieving(summary.retrieval)}")

    def _decoded(self, track: CachedTrack) -> None:
        self._bar.advance(self._task)
        if track.reason:
            self._failed += 1
            self._print(f"{track.path}: {track.reason}")

    def _started(self, line: str) -> None:
        self._print(line)
        self._bar.update(self._task, total=1.0, completed=0.0)

    def _progress(self, now: Now) -> None:
        text = f"step {now.step}, loss {now.loss:.3f}, {now.speed:.0f} segments/s"
        self._bar.update(self._task, description=text, completed=now.done)
        if now.retrieval is not None:
            self._print(f"{text}{_retrieving(now.retrieval)}, {now.minutes:.1f} min")


def _retrieving(share: float | None) -> str:
    return "" if share is None else f", held-out retrieval {share:.1%}"
