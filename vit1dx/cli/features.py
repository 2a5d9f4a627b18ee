"""The commands on files that are there: `vit1dx info`, `verify` and `repair`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from . import exits
from .options import AsJson, Features

INFO_EXAMPLES = """Examples:

vit1dx info feats.h5

vit1dx info feats.h5 --failures

vit1dx info feats.h5 --config > run.toml

vit1dx info (the bundled weights)

vit1dx info --runtime"""
VERIFY_EXAMPLES = """Examples:

vit1dx verify feats.h5

vit1dx verify feats/ --json"""
REPAIR_EXAMPLES = """Example:

vit1dx repair feats.h5 && vit1dx extract ./audio --layers 4,8 -o feats.h5"""


def info(
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            help="A feature file or folder of them, ONNX model, weights file, or the name of "
            "bundled weights; by default those that extract uses.",
            show_default=False,
        ),
    ] = None,
    failures: Annotated[
        bool, typer.Option("--failures", help="List the files that failed, with the reason.")
    ] = False,
    config: Annotated[
        bool,
        typer.Option(
            "--config", help="Write the options that made features as TOML, for extract --config."
        ),
    ] = False,
    runtime: Annotated[
        bool,
        typer.Option(
            "--runtime",
            help="Measure what this machine computes with, and say what is fastest; no FILE.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a feature file or folder, an ONNX model or a weights file holds.

    Of the bundled weights, and features made by them, also which layer serves which task.
    """
    from ..model.weights import BUNDLED, located, named
    from .info import config_of, describe, failures_of, shown
    from .printing import flatten, print_failures, print_json, print_table

    if runtime:
        from .runtime import describe_runtime, lines

        if path is not None or failures:
            raise UsageError("--runtime is of this machine; leave out the file and --failures")
        found = describe_runtime()
        print_json(found) if as_json else print_table([], list(lines(found)))
        return
    place: str | Path = path or BUNDLED[0]
    if named(place) and not Path(place).exists():
        place = located(place, ".onnx")
    if config:
        print(config_of(place))
    elif failures:
        listed = failures_of(place)
        print_json({"failures": listed}) if as_json else print_failures(listed)
    else:
        values = describe(place)
        print_json(values) if as_json else print_table([], flatten(shown(values)))


def verify(path: Features, as_json: AsJson = False) -> None:
    """Read features back and check them: structure, values, attention rows, checksums.

    Exit code 1 if something is wrong, or a part is missing or unfinished; every track that is not
    sound is named.
    """
    from ..store.verify import verify as verify_features
    from .printing import print_json, print_report

    report = verify_features(path)
    print_json(report.to_dict()) if as_json else print_report(report)
    raise typer.Exit(0 if report.is_good else exits.SOME_FAILED)


def repair(path: Features, as_json: AsJson = False) -> None:
    """Keep the features that are sound, and drop the rest; 'extract' then does those again.

    Also frees the space of tracks that were replaced. Exit code 1 if something was dropped.
    """
    from ..store.repair import repair as repair_features
    from .printing import print_json, print_report

    report = repair_features(path)
    print_json(report.to_dict()) if as_json else print_report(report, repaired=True)
    raise typer.Exit(exits.SOME_FAILED if report.problems else 0)
