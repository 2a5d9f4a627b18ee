"""The command `vit1dx extract`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..model.request import (
    LAYERS,
    TOKENS,
    USUAL_ATTENTION,
    Attention,
    BackendName,
    DType,
    Precision,
)
from . import exits
from .config import apply_config
from .options import AsJson, FilesFrom

if TYPE_CHECKING:
    from ..run.results import Summary

_INPUT, _COMPUTE, _OUTPUT, _RUN = "Input", "What to compute", "Output", "Run"

EXAMPLES = """Examples:

vit1dx extract ./audio --layers 4,8 -o feats.h5

vit1dx extract ./audio --attention full --dtype float16 -o feats/ --shard-size 4GiB"""


def extract(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders (searched for audio), files and globs; or URLs of these, as s3://bucket/music/.",
            show_default=False,
        ),
    ] = None,
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="Options, as this command names them, from a file; those given here win.",
            show_default=False,
            is_eager=True,
            callback=apply_config,
            rich_help_panel=_INPUT,
        ),
    ] = None,
    files_from: FilesFrom = None,
    segments: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv|jsonl",
            help="Excerpts, each a track: columns path, start, end (s), and perhaps id.",
            show_default=False,
            rich_help_panel=_INPUT,
        ),
    ] = None,
    mirdata: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET[:FILE]",
            help="Tracks of a mirdata data set, by its name or index (.json), in the folder PATHS; "
            "FILE: which of a track, as audio_mic.",
            show_default=False,
            rich_help_panel=_INPUT,
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Leave these files and folders out; repeatable.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Take these too, though hidden or of another ending, as '*.mpga'; repeatable.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    follow_symlinks: Annotated[
        bool,
        typer.Option(
            "--follow-symlinks",
            help="Follow symbolic links out of a folder.",
            rich_help_panel=_INPUT,
        ),
    ] = False,
    root: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Name tracks by their paths below this folder or URL, however files are given.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    layers: Annotated[
        str, typer.Option(help=f"{LAYERS}; 0: the embedding.", rich_help_panel=_COMPUTE)
    ] = "all",
    tokens: Annotated[
        str,
        typer.Option(metavar="KINDS", help=f"Tokens to keep: {TOKENS}.", rich_help_panel=_COMPUTE),
    ] = "all",
    pool: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            help="Average sequence tokens over so many seconds.",
            show_default=False,
            rich_help_panel=_COMPUTE,
        ),
    ] = None,
    attention: Annotated[
        Attention | None,
        typer.Option(
            help="Attention maps of those layers: none, the class token's rows, or all rows.",
            show_default=f"{USUAL_ATTENTION}; none without sequence tokens",
            rich_help_panel=_COMPUTE,
        ),
    ] = None,
    overlap: Annotated[
        float,
        typer.Option(
            metavar="S",
            help="Context on either side of a window, seconds.",
            rich_help_panel=_COMPUTE,
        ),
    ] = 0.0,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="W",
            help="Weights to use instead of the bundled ones, or the name of other bundled ones.",
            rich_help_panel=_COMPUTE,
        ),
    ] = None,
    weights_sha256: Annotated[
        str | None,
        typer.Option(
            metavar="HEX",
            help="Refuse weights of another SHA-256.",
            show_default=False,
            rich_help_panel=_COMPUTE,
        ),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="What the model computes in: int8 in ONNX Runtime, bf16 in OpenVINO or PyTorch, "
            "fp16 (CUDA) in PyTorch; by default as the weights are.",
            show_default=False,
            rich_help_panel=_COMPUTE,
        ),
    ] = None,
    backend: Annotated[
        BackendName, typer.Option(help="What runs the model.", rich_help_panel=_COMPUTE)
    ] = "auto",
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE",
            help="Where it runs: auto, cpu, cuda, or cuda:N by number.",
            rich_help_panel=_COMPUTE,
        ),
    ] = "auto",
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT.h5|FOLDER/",
            help="Feature file to write, or folder of shards: a name or URL that ends in '/'.",
            rich_help_panel=_OUTPUT,
        ),
    ],
    dtype: Annotated[
        DType,
        typer.Option(help="How tokens and attention are stored.", rich_help_panel=_OUTPUT),
    ] = "float32",
    shard_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Most bytes of a shard of FOLDER/, as 500MB; 16GiB by default.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="K/N|slurm",
            help="Do one of N even shares, as 3/16, in a folder of its own in FOLDER/; slurm: that "
            "of a job array's task.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace an output instead of continuing it.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Write nothing; say what would be done, how much and how long.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Do files again that failed before.", rich_help_panel=_RUN
        ),
    ] = False,
    checksum: Annotated[
        bool,
        typer.Option(
            "--checksum",
            help="Know changed files by content, not by size and time.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Processes; by default one a usable core.",
            show_default=False,
            rich_help_panel=_RUN,
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS|FILE",
            help="Do the files on a Dask cluster: its scheduler's address, as "
            "tcp://10.0.0.1:8786, or scheduler file.",
            show_default=False,
            rich_help_panel=_RUN,
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            help="Seconds a file may take; by default ten minutes and its duration.",
            show_default=False,
            rich_help_panel=_RUN,
        ),
    ] = None,
    memory: Annotated[
        float,
        typer.Option(
            metavar="GIB", help="Memory that a file may take, GiB, or inf.", rich_help_panel=_RUN
        ),
    ] = 2.0,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Print only the result.", rich_help_panel=_RUN),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Extract tokens and attention of folders of music into an HDF5 file, or a folder of them.

    A file that cannot be used is reported, recorded in the output, and does not stop the others.
    The same command again continues where a run stopped: what is done and unchanged is not done
    again.
    """
    from ..run.extract import extract as run
    from .printing import print_json, print_summary

    summary = run(
        paths or [],
        output,
        layers=layers,
        tokens=tokens,
        pool=pool,
        attention=attention,
        overlap=overlap,
        dtype=dtype,
        weights=weights,
        weights_sha256=weights_sha256,
        backend=backend,
        device=device,
        precision=precision,
        files_from=files_from,
        segments=segments,
        mirdata=mirdata,
        exclude=exclude or [],
        include=include or [],
        follow_symlinks=follow_symlinks,
        root=root,
        shard_size=shard_size,
        part=part,
        overwrite=overwrite,
        dry_run=dry_run,
        retry_failed=retry_failed,
        checksum=checksum,
        workers=workers,
        scheduler=scheduler,
        timeout=timeout,
        memory=memory,
        quiet=quiet,
        raise_signals=False,
    )
    print_json(summary.to_dict()) if as_json else print_summary(summary, quiet)
    raise typer.Exit(_exit_code(summary))


def _exit_code(summary: Summary) -> int:
    if summary.forecast:
        return 0
    if summary.stopped:
        return exits.of_signal(summary.stopped) or exits.NOTHING_DONE
    if summary.files and not summary.done + summary.already:  # a part may have none
        return exits.NOTHING_DONE
    return exits.SOME_FAILED if summary.failures or summary.unreadable else 0
