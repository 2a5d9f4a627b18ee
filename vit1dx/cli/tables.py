"""The commands that hand features on: `vit1dx export`, `ls` and `cat`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import UsageError
from .options import Features as FeaturesPath

if TYPE_CHECKING:
    from ..doors.arrays import Part
    from ..store.index import Row
    from ..store.reader import Features

Form = Literal["npy", "npz", "parquet", "csv", "zarr"]
What = Literal["mean", "class", "sequence"]
ArrayName = Literal[
    "class_token", "sequence_tokens", "mean_token", "attention", "time", "window_start"
]

EXPORT_EXAMPLES = """Examples:

vit1dx export feats.h5 --to npy --layers 8 -o feats.npy

vit1dx export feats.h5 --to parquet --what sequence --layers 4,8 -o frames.parquet"""
LS_EXAMPLES = """Examples:

vit1dx ls feats.h5 | head

vit1dx ls feats/ --long --json"""
CAT_EXAMPLES = """Examples:

vit1dx cat feats.h5 a/song.mp3 sequence_tokens --layer 8 --format npy > song.npy

vit1dx cat feats.h5 a/song.mp3 class_token --layer 8 --format csv | head"""

#: Rows between two lines of progress on a terminal.
EVERY = 1000


def export(
    path: FeaturesPath,
    *,
    to: Annotated[
        Form,
        typer.Option(
            "--to",
            help="npy: an array, and OUT.csv with a line a row; npz: a folder, a file a track; "
            "parquet, csv, zarr: a table with columns for each layer.",
        ),
    ],
    what: Annotated[
        What, typer.Option(help="A row a track, a row a window, or a row a frame.")
    ] = "mean",
    layers: Annotated[
        str | None,
        typer.Option(help="Such as 4,8; all that were kept by default.", show_default=False),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT", help="File, or for npz and zarr folder, to make."
        ),
    ],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an export that is there.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Write features as a table or as arrays: rows with id, file, start and end (s).

    Memory does not grow with the features. A file has its name once it is whole; of npz, files that
    are there already are kept, and the same command continues.
    """
    from ..config import ModelConfig
    from ..doors.tables import export as write
    from ..model.request import parse_layers
    from ..store.folder import open_features

    with open_features(path) as features:
        model = ModelConfig(**features.config["model"])
        chosen = None if layers is None else parse_layers(layers, model)
        shown = _progress(len(features), quiet)
        count = write(features, output, to, what, chosen, overwrite=overwrite, progress=shown)
    unit = "files" if to == "npz" else "rows"
    print(f"{count} {unit}; {output}" + (f", {output.with_suffix('.csv')}" * (to == "npy")))


def _progress(tracks: int, quiet: bool) -> Any:
    """Print now and then how much was written, on one line of a terminal."""
    if quiet or not sys.stderr.isatty():
        return lambda rows: None
    last = [0]

    def show(rows: int) -> None:
        if rows - last[0] >= EVERY:
            last[0] = rows
            print(f"\r{rows} of {tracks} tracks' rows", end="", file=sys.stderr, flush=True)

    return show


def ls(
    path: FeaturesPath,
    long: Annotated[
        bool,
        typer.Option("--long", "-l", help="With duration (s), layers and warnings, by tabs."),
    ] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="The files that failed instead, with the reason.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object a line, with all that is known.")
    ] = False,
) -> None:
    """List the tracks, one a line, in the order in which they lie in the file.

    The first lines come at once, whatever there is; of a folder, the last shard's come first.
    """
    from ..store.folder import open_features

    with open_features(path) as features:
        rows = sorted(features.failed().items()) if failed else features.rows()
        layers = ",".join(map(str, features.layers))
        for track_id, row in rows:
            if as_json:
                line = _json_line(track_id, row, features)
            elif failed:
                line = _text(track_id, str(row["reason"]))
            elif long:
                line = _text(f"{row['duration']:.2f}", layers, row.get("warnings", ""), track_id)
            else:
                line = _text(track_id)
            print(line)
            if getattr(sys.stdout, "error", None) is not None:
                return  # nobody reads on


def _text(*cells: str) -> str:
    from ..run.wording import one_line

    return "\t".join(map(one_line, cells))


def _json_line(track_id: str, row: Row, features: Features) -> str:
    import json

    values = {"id": track_id, **row}
    if "warnings" in values:
        values["warnings"] = [code for code in str(values["warnings"]).split(",") if code]
    if "duration" in values:
        values["layers"] = list(features.layers)
    return json.dumps(values)


def cat(
    path: FeaturesPath,
    track: Annotated[str, typer.Argument(help="Its id, as ls lists it.", show_default=False)],
    array: Annotated[ArrayName, typer.Argument(help="What of it.")],
    layer: Annotated[
        int | None,
        typer.Option(help="One layer; by default all, after each other.", show_default=False),
    ] = None,
    form: Annotated[
        Literal["npy", "csv"],
        typer.Option("--format", help="csv: a line a token, beginning with its time, s."),
    ] = "csv",
) -> None:
    """Write an array of a track to standard output."""
    from ..doors.arrays import part_of
    from ..store.folder import open_features
    from ..tokens import CLOCKS

    if form == "npy" and sys.stdout.isatty():
        raise UsageError("npy is no text for a terminal; send it into a file or a pipe, or csv")
    with open_features(path) as features:
        if array != CLOCKS[array]:
            found = features[track]
            rows = _rows(found.attended_layers if array == "attention" else found.layers, layer)
        elif layer is None:
            rows = None
        else:
            raise UsageError(f"{array} is the same for all layers; leave out --layer")
        part = part_of(features, track, array, rows)
        _write_npy(part, layer is not None) if form == "npy" else _write_csv(part)


def _rows(layers: Sequence[int], layer: int | None) -> list[int]:
    if layer is None:
        return list(range(len(layers)))
    if layer not in layers:
        raise UsageError(f"no layer {layer} of it; layers {', '.join(map(str, layers))} were kept")
    return [layers.index(layer)]


class _Binary:
    """Standard output for bytes, whose errors are kept as those of text are."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._out: Any = sys.stdout

    def write(self, data: Any) -> int:
        """Write, or end the command where nobody reads."""
        try:
            self._out.buffer.write(data)
            self._out.buffer.flush()
        except OSError as error:
            self._out.error = self._out.error or error
            raise typer.Exit from None
        return len(data)


def _write_npy(part: Part, is_one_layer: bool) -> None:
    from ..doors.arrays import write_npy

    write_npy(_Binary(), part, is_one_layer)  # type: ignore[arg-type]


def _write_csv(part: Part) -> None:
    from ..tokens import CLOCKS

    axes = len(part.shape) - (part.rows is not None)
    if axes > 2 or (part.rows is not None and len(part.rows) > 1):
        layer = "" if axes > 2 else "choose a --layer, or "
        raise UsageError(f"{part.name} of shape {part.shape} is no table; {layer}give --format npy")
    clock = CLOCKS[part.name]
    numbers = (row for piece in part.pieces() for row in piece.tolist())
    if clock is None:
        lines: Iterator[list[float]] = iter([list(numbers)])
    elif part.name == clock:
        lines = ([number] for number in numbers)
    else:
        times = part.features.visit(part.track_id, lambda group: group[clock][:]).tolist()
        lines = ([time, *row] for time, row in zip(times, numbers, strict=True))
    for line in lines:
        print(",".join(f"{number:.9g}" for number in line))
        if getattr(sys.stdout, "error", None) is not None:
            return
