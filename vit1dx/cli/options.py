"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

FilesFrom = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|-",
        help="List of files: text, one a line or separated by NUL bytes, or .csv, .tsv, .jsonl, "
        ".parquet with columns path and id; -: standard input.",
        rich_help_panel="Input",
    ),
]
#: Text, as it may be a URL.
Features = Annotated[
    str,
    typer.Argument(
        metavar="FEATS.h5|FOLDER",
        help="A feature file, or folder of them.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
