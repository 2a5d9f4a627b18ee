"""The command `vit1dx train`: options in, a progress bar and a summary out."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..audio.files import printable
from ..errors import BackendError, UsageError
from ..model.request import Device
from ..run.lists import list_files
from ..train.recipe import Optimizer, Recipe, TrainingPrecision
from .exits import of_signal
from .options import FilesFrom

if TYPE_CHECKING:
    from ..train.cache import CachedTrack
    from ..train.run import Progress as Now
    from ..train.stepper import Events, Summary

_DEFAULT = Recipe(steps=1)
_INPUT, _OUTPUT, _RECIPE, _RUN = "Input", "Output", "Recipe", "Run"

EXAMPLES = """Examples:

vit1dx train ./audio -o mine.safetensors --minutes 240

vit1dx train ./audio -o mine.safetensors --minutes 480 --resume"""

#: Seconds after which a line shows where a run is, without a terminal.
QUIET_SECONDS = 30.0


def train(
    audio: Annotated[
        list[Path] | None,
        typer.Argument(help="Audio files, and folders of them.", show_default=False),
    ] = None,
    *,
    files_from: FilesFrom = None,
    groups: Annotated[
        list[Path] | None,
        typer.Option(
            help="JSON lines: audio, song, aligned_group, ensemble, source, split. Several times "
            "for several files.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="W.safetensors",
            help="Weights to write.",
            rich_help_panel=_OUTPUT,
        ),
    ],
    steps: Annotated[
        int | None, typer.Option(help="Steps to train.", rich_help_panel=_RECIPE)
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Minutes to train, instead.", rich_help_panel=_RECIPE)
    ] = None,
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
    optimizer: Annotated[
        Optimizer,
        typer.Option(
            help="Muon for the matrices of the blocks, or AdamW for all.", rich_help_panel=_RECIPE
        ),
    ] = _DEFAULT.optimizer,
    learning_rate: Annotated[
        float, typer.Option(help="Peak rate.", rich_help_panel=_RECIPE)
    ] = _DEFAULT.learning_rate,
    weight_decay: Annotated[
        float, typer.Option(help="Decay of matrices.", rich_help_panel=_RECIPE)
    ] = _DEFAULT.weight_decay,
    warmup: Annotated[
        int, typer.Option(help="Steps in which the rate rises.", rich_help_panel=_RECIPE)
    ] = _DEFAULT.warmup,
    cooldown: Annotated[
        float,
        typer.Option(
            help="Last share of the run, in which the rate falls to 0.", rich_help_panel=_RECIPE
        ),
    ] = _DEFAULT.cooldown,
    ema: Annotated[
        float,
        typer.Option(
            help="Keep a moving average of the weights, of which so much stays at each step.",
            rich_help_panel=_RECIPE,
        ),
    ] = _DEFAULT.ema,
    temperature: Annotated[
        float, typer.Option(help="Of NT-Xent.", rich_help_panel=_RECIPE)
    ] = _DEFAULT.temperature,
    mix: Annotated[
        str,
        typer.Option(
            help="Kinds of steps and their shares, as paper=0.5,aligned=0.5 or paper:SOURCE=0.5: "
            "positives are two segments of a track, or one time in two aligned renditions "
            "(needs --groups).",
            rich_help_panel=_RECIPE,
        ),
    ] = _DEFAULT.mix,
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
        TrainingPrecision,
        typer.Option(help="auto: what suits the device.", rich_help_panel=_RECIPE),
    ] = _DEFAULT.precision,
    seed: Annotated[int, typer.Option(help="Of all draws.", rich_help_panel=_RECIPE)] = 0,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of decoded audio, kept between runs.", rich_help_panel=_RUN),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Weights to begin from, or the name of bundled ones.", rich_help_panel=_RUN
        ),
    ] = None,
    branch: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN.run",
            help="Begin from another run's checkpoint, optimiser included where it is the same; "
            "it stays as it is.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue a stopped run; --steps, --minutes and --cooldown may change.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    device: Annotated[Device, typer.Option(help="Where to train.", rich_help_panel=_RUN)] = "auto",
    validate_every: Annotated[
        int, typer.Option(help="Steps between validations.", rich_help_panel=_RUN)
    ] = 250,
    workers: Annotated[int, typer.Option(help="Decoding threads.", rich_help_panel=_RUN)] = 2,
) -> None:
    """Train ViT-1D on a folder of music, by NT-Xent on its class token.

    The last weights, or their average, go to OUTPUT; log, checkpoint and cache go to the folder
    beside it that ends in .run. Ctrl-C stops after a step, and --resume continues from there. Under
    torchrun, processes train together.

    Exit codes: 0 trained to the end; 1 the loss was no number; 2 wrong usage; 130 interrupted
    (SIGINT); 143 terminated (SIGTERM).
    """
    recipe = Recipe(
        steps=steps,
        minutes=minutes,
        batch=batch,
        seconds=seconds,
        keep=keep,
        optimizer=optimizer,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warmup=warmup,
        cooldown=cooldown,
        ema=ema,
        temperature=temperature,
        mix=mix,
        shared_timbre=shared_timbre,
        jitter=jitter,
        siblings=siblings,
        own_heads=own_heads,
        augment=augment,
        precision=precision,
        seed=seed,
    )
    _require(audio, files_from, output)
    _require_one_beginning(init, branch, resume)
    from ..model.weights import located
    from ..train.loop import train as run
    from ..train.ranks import end_rank

    with Report() as report:
        summary = run(
            audio or [],
            output,
            recipe,
            listed=[] if files_from is None else list_files(files_from),
            groups=groups or [],
            cache=cache,
            init=None if init is None else located(init, ".safetensors"),
            branch=branch,
            resume=resume,
            device=device,
            validate_every=validate_every,
            workers=workers,
            events=report.events(),
        )
    code = of_signal(summary.stopped)
    end_rank(code)
    raise typer.Exit(code)


def _require(audio: list[Path] | None, files_from: str | None, output: Path) -> None:
    missing = [name for name in ("torch", "safetensors") if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendError(
            f"training needs {' and '.join(missing)}, not installed: pip install 'vit1dx[torch]'"
        )
    if output.suffix != ".safetensors":
        raise UsageError(f"output {output}; a name that ends in .safetensors is needed")
    if not audio and files_from is None:
        raise UsageError("no audio; give files, folders or --files-from")


def _require_one_beginning(init: Path | None, branch: Path | None, resume: bool) -> None:
    given = {f"--init {init}": init, f"--branch {branch}": branch, "--resume": resume}
    named = [name for name, value in given.items() if value]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)}; a run begins from one of them")


class Report:
    """Shows a run on standard error: by a bar where that is a terminal, else by a line at times."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("decoding", total=None)
        self._total = self._decodes = self._failed = 0
        self._printed = time.monotonic()

    def __enter__(self) -> Report:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def events(self) -> Events:
        """What the loop is to call."""
        from ..train.stepper import Events

        return Events(
            decoding=self._decoding,
            decoded=self._decoded,
            started=self._started,
            progress=self._progress,
            finished=self._finished,
        )

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        self._printed = time.monotonic()

    def _print_at_times(self, line: str) -> None:
        """Where no bar moves, a line shows that something does."""
        if not self._console.is_terminal and time.monotonic() > self._printed + QUIET_SECONDS:
            self._print(line)

    def _decoding(self, total: int) -> None:
        self._total = total
        self._bar.update(self._task, total=total)

    def _decoded(self, track: CachedTrack) -> None:
        self._decodes += 1
        self._bar.advance(self._task)
        if track.reason:
            self._failed += 1
            self._print(f"{printable(track.path)}: {track.reason}")
        self._print_at_times(f"{self._decodes} files decoded, of {self._total} at most")

    def _started(self, line: str) -> None:
        self._print(line)
        self._bar.update(self._task, total=1.0, completed=0.0)

    def _progress(self, now: Now) -> None:
        text = f"step {now.step}, loss {now.loss:.3f}, {now.speed:.0f} segments/s"
        self._bar.update(self._task, description=text, completed=now.done)
        line = f"{text}{_retrieving(now)}, {now.minutes:.1f} min, {now.done:.0%} done"
        if now.retrieval:
            self._print(line)
        self._print_at_times(line)

    def _finished(self, summary: Summary) -> None:
        if self._failed:
            self._print(f"{self._failed} file{'s' * (self._failed > 1)} could not be decoded")
        if summary.stopped and summary.last:
            at = f"{summary.stopped} after step {summary.last.step}"
            self._print(f"{at}; --resume continues; weights so far: {printable(summary.weights)}")
        elif summary.last is None:
            self._print(f"nothing left to do: the run was complete: {printable(summary.weights)}")
        else:
            self._print(f"weights: {printable(summary.weights)}{_retrieving(summary.last)}")


def _retrieving(now: Now) -> str:
    return "".join(f", held-out {name} {share:.1%}" for name, share in now.retrieval.items())
