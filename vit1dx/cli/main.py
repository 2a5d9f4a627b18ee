"""The command line: its commands, and how it ends."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from .._version import __version__
from ..errors import Vit1dxError
from ..run.signals import SIGNALS
from ..run.wording import one_line
from . import exits, export, extract, features, merge, probe, report, search, see, tables, train
from .console import lost, settle
from .help import Command, Group, SearchingCommand

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="ViT-1D features of music: class tokens, sequence tokens and attention maps.",
)
app.command(cls=SearchingCommand, epilog=f"{extract.EXAMPLES}\n\n{exits.HELP}")(extract.extract)
app.command(cls=Command, epilog=features.INFO_EXAMPLES)(features.info)
app.command(cls=Command, epilog=features.VERIFY_EXAMPLES)(features.verify)
app.command(cls=Command, epilog=features.REPAIR_EXAMPLES)(features.repair)
app.command(cls=Command, epilog=merge.EXAMPLES)(merge.merge)
app.command(cls=Command, epilog=see.PLOT_EXAMPLES)(see.plot)
app.command(cls=Command, epilog=see.ONSETS_EXAMPLES)(see.onsets)
app.command(cls=Command, epilog=report.EXAMPLES)(report.report)
app.command(cls=Command, epilog=probe.PROBE_EXAMPLES)(probe.probe)
app.command(cls=Command, epilog=probe.PREDICT_EXAMPLES)(probe.predict)
app.command(cls=Command, epilog=search.EXAMPLES)(search.search)
app.command(cls=Command, epilog=tables.LS_EXAMPLES)(tables.ls)
app.command(cls=Command, epilog=tables.CAT_EXAMPLES)(tables.cat)
app.command(cls=Command, epilog=tables.EXPORT_EXAMPLES)(tables.export)
app.command("export-onnx", cls=Command, epilog=export.EXAMPLES)(export.export_onnx)
app.command(cls=Command, epilog=train.EXAMPLES)(train.train)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        print(f"vit1dx {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; an error that a user can cause is one line and an exit code."""
    result, remarks = settle()
    code = _run()
    code_if_lost = lost(result, remarks)
    raise SystemExit(code or code_if_lost)


def _run() -> int:
    try:
        app(prog_name="vit1dx")  # also as python -m vit1dx
    except SystemExit as end:
        return int(end.code or 0)
    except Vit1dxError as error:
        return _end(str(error), exits.of_error(error))
    except KeyboardInterrupt:
        return _end(SIGNALS[signal.SIGINT], 128 + signal.SIGINT)
    return 0


def _end(message: str, code: int) -> int:
    print(f"vit1dx: {one_line(message)}", file=sys.stderr)
    return code
