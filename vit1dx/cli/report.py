"""The command `vit1dx report`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import UsageError
from ..whole import require_apart
from .options import Features

EXAMPLES = """Examples:

vit1dx report feats.h5 -o report.html

vit1dx report feats/ --labels genres.csv --color genre --map umap --details 200 -o report.html"""

_COLLECTION, _TRACKS = "Collection", "Tracks"


def report(
    source: Features,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="X.html", help="Page to write."),
    ] = Path("report.html"),
    layer: Annotated[
        int | None,
        typer.Option(
            help="Layer of the map and of the neighbours; the best for retrieval by default.",
            show_default=False,
            rich_help_panel=_COLLECTION,
        ),
    ] = None,
    kind: Annotated[
        Literal["pca", "umap"],
        typer.Option(
            "--map",
            help="Principal components, or UMAP (pip install umap-learn).",
            rich_help_panel=_COLLECTION,
        ),
    ] = "pca",
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="X.csv|tsv",
            help="Colour by this table, not by folder; its first column has the tracks' ids.",
            show_default=False,
            rich_help_panel=_COLLECTION,
        ),
    ] = None,
    color: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="The table's column; may be left out where there is but one.",
            show_default=False,
            rich_help_panel=_COLLECTION,
        ),
    ] = None,
    details: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Tracks with pictures; by default as many as take 4 MB.",
            show_default=False,
            rich_help_panel=_TRACKS,
        ),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            help="Layers of the pictures: 'all', 'last', or numbers such as 4,8; all by default.",
            show_default=False,
            rich_help_panel=_TRACKS,
        ),
    ] = None,
    embed_audio: Annotated[
        bool,
        typer.Option(
            "--embed-audio",
            help="Put the music of tracks with pictures into the page, instead of linking it.",
            rich_help_panel=_TRACKS,
        ),
    ] = False,
) -> None:
    """Write one page of HTML that shows a collection, and needs no network and no server.

    A map of its tracks, search, neighbours, a table, and of tracks their self-similarity, novelty,
    attention and onsets, with playback where the music is still where it was read from.
    """
    from ..show.report.write import Options, write_report
    from ..store.folder import open_features
    from .see import kept_layers

    require_apart(output, [Path(source), labels])
    with open_features(source) as features:
        if not features.layers:
            raise UsageError(f"no layer in {source}")
        shown = kept_layers(features, layers)
        options = Options(layer, shown, kind, labels, color, details, embed_audio)
        write_report(features, output, options, _tell)
    print(output)


def _tell(line: str) -> None:
    """A line about what is going on, where somebody looks."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr)
