"""The command `vit1dx merge`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from . import exits
from .options import AsJson

EXAMPLES = """Examples:

vit1dx merge feats/ -o feats.h5

vit1dx merge monday.h5 tuesday.h5 -o week/ --shard-size 4GiB

vit1dx merge feats/ -o few.h5 --select ids.txt"""


def merge(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUTS...",
            help="Feature files, folders of shards, folders of parts.",
        ),
    ],
    *,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT.h5|FOLDER/",
            help="Feature file to write or add to, or folder of shards: a name that ends in '/'.",
        ),
    ],
    select: Annotated[
        str | None,
        typer.Option(
            metavar="LIST|-",
            help="Take these tracks only: a list of ids, one a line; -: standard input.",
        ),
    ] = None,
    duplicates: Annotated[
        Literal["newer", "error", "first"],
        typer.Option(
            help="Of tracks in several inputs, take that of the newest audio file, or the first "
            "input's; or refuse."
        ),
    ] = "newer",
    shard_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Most bytes of a shard of FOLDER/; 16GiB by default."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an output instead of adding to it.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put feature files, shards and parts together in one output, and check it.

    Tracks are copied as they are stored. Inputs must have been made with the same weights,
    precision and options. The same command again continues where it stopped. Exit code 1 if a
    track that was selected is missing, or something is not sound.
    """
    from ..run.lists import list_files
    from ..run.progress import stderr_console, waiting
    from ..run.signals import Stopped, StopSignals
    from ..store.merge import merge as run
    from .printing import print_json, print_merged

    ids = None if select is None else list_files(select)
    try:
        with StopSignals() as signals, waiting("merging", stderr_console(), quiet) as passing:

            def check() -> None:
                signals.check()
                passing()

            merged = run(
                inputs,
                output,
                select=ids,
                duplicates=duplicates,
                shard_size=shard_size,
                overwrite=overwrite,
                check=check,
            )
    except Stopped as stopped:
        typer.echo(f"vit1dx: {stopped}; the same command continues from there", err=True)
        raise typer.Exit(exits.of_signal(str(stopped))) from None
    print_json(merged.to_dict()) if as_json else print_merged(merged)
    raise typer.Exit(0 if merged.is_good else exits.SOME_FAILED)
