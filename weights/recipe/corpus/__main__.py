"""Command line: render a corpus of music with ground truth."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from weights.recipe import DEFAULT_DATA
from weights.recipe.corpus.build import Outcome, build, jobs_of, write_failures, write_manifest
from weights.recipe.corpus.compose import COMPOSED_SONGS
from weights.recipe.corpus.fluidsynth import HELD_OUT, SOUNDFONTS, soundfont_path
from weights.recipe.corpus.rendition import Plan
from weights.recipe.corpus.sources import BY_DEFAULT, SOURCES, songs_of
from weights.recipe.corpus.split import SPLITS

PLAIN_PERIOD = 100  # renders between two lines of progress where there is no terminal

app = typer.Typer(add_completion=False)


@app.command()
def main(
    out: Annotated[Path, typer.Argument(help="Folder for audio, labels and manifest.")],
    data: Annotated[Path, typer.Option(help="Folder of the symbolic sources.")] = DEFAULT_DATA,
    source: Annotated[str, typer.Option(help=f"Any of {','.join(SOURCES)}.")] = BY_DEFAULT,
    renditions: Annotated[int, typer.Option(min=1, help="Renders of each song.")] = 3,
    aligned: Annotated[int, typer.Option(min=1, help="Renders that share key and tempo.")] = 3,
    shared_drums: Annotated[
        float, typer.Option(min=0, max=1, help="Share of those with the same drums.")
    ] = 0.0,
    seconds: Annotated[float, typer.Option(min=1, help="Length of a render, at most.")] = 60.0,
    soundfont: Annotated[str, typer.Option(help=f"Any of {','.join(SOUNDFONTS)}.")] = (
        "FluidR3,TimGM6mb"
    ),
    ensembles: Annotated[int, typer.Option(min=1, help="Orchestrations to share.")] = 96,
    composed: Annotated[int, typer.Option(min=0, help="Songs to compose.")] = COMPOSED_SONGS,
    limit: Annotated[int, typer.Option(min=0, help="First songs only; 0 takes all.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    split: Annotated[str, typer.Option(help=f"One of {', '.join(SPLITS)}.")] = "train",
    label: Annotated[
        str,
        typer.Option(
            help="Source to be named in the manifest, and with it the songs and ensembles, so that "
            "those of several folders are kept apart."
        ),
    ] = "",
) -> None:
    """Render songs to 16 kHz FLAC with labels beside it. A render that is there is not redone."""
    console = Console()
    signal.signal(signal.SIGTERM, _stop)
    try:
        names = checked_soundfonts(soundfont, split)
        songs = list(songs_of(source.split(","), data, split, composed))
    except (ValueError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from error
    songs = songs[: limit or None]
    out.mkdir(parents=True, exist_ok=True)
    plan = Plan(seed, seconds, names, ensembles, aligned, shared_drums)
    outcomes = build(jobs_of(songs, renditions, plan, out, data.resolve()), workers)
    failed = _followed(outcomes, len(songs) * renditions, console)
    write_failures(out, failed)
    console.print(f"{write_manifest(out, label)} renders in {out}, {len(failed)} failed")
    raise typer.Exit(1 if failed else 0)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """End in the ordinary way when told to, so that the workers end too."""
    raise SystemExit(128 + number)


def checked_soundfonts(names: str, split: str) -> tuple[str, ...]:
    """Soundfonts by name, refusing those held out for anything but testing."""
    chosen = tuple(names.split(","))
    for name in chosen:
        soundfont_path(name)
        if name in HELD_OUT and split != "test":
            raise ValueError(f"soundfont {name} with split {split!r}: it is held out for 'test'")
    return chosen


def _followed(outcomes: Iterator[Outcome], total: int, console: Console) -> list[Outcome]:
    failed = []
    columns = (TextColumn("rendering"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        for count, outcome in enumerate(outcomes, 1):
            progress.advance(task)
            if outcome.reason:
                failed.append(outcome)
                console.print(f"{outcome.song} rendition {outcome.index}: {outcome.reason}")
            if not console.is_terminal and (count % PLAIN_PERIOD == 0 or count == total):
                console.print(f"{count} of {total} rendered", highlight=False)
    return failed


if __name__ == "__main__":
    app()
