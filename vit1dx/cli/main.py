"""The command line: its commands, and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from .._version import __version__
from ..errors import Vit1dxError
from ..run.signals import SIGNALS
from ..run.wording import one_line
from . import exits, export, extract, features, merge, probe, report, search, see, tables, train
from .console import lost, settle
from .help import Command, Group, SearchingCommand
from .signals import Ended, ending, signal_of

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="ViT-1D features of music: class tokens, sequence tokens and attention maps.",
)
#: Commands and the ends of their help, as `vit1dx --help` groups them.
PANELS: dict[str, dict[Callable[..., None], str]] = {
    "Features": {
        extract.extract: f"{extract.EXAMPLES}\n\n{exits.HELP}",
        features.info: features.INFO_EXAMPLES,
        features.verify: features.VERIFY_EXAMPLES,
        features.repair: features.REPAIR_EXAMPLES,
        merge.merge: merge.EXAMPLES,
    },
    "Pictures and sounds": {
        see.plot: see.PLOT_EXAMPLES,
        see.onsets: see.ONSETS_EXAMPLES,
        report.report: report.EXAMPLES,
    },
    "Probes and search": {
        probe.probe: probe.PROBE_EXAMPLES,
        probe.predict: probe.PREDICT_EXAMPLES,
        search.search: search.EXAMPLES,
    },
    "Into other tools": {
        tables.ls: tables.LS_EXAMPLES,
        tables.cat: tables.CAT_EXAMPLES,
        tables.export: tables.EXPORT_EXAMPLES,
    },
    "Models": {
        train.train: train.EXAMPLES,
        export.export_onnx: export.EXAMPLES,
    },
}
for _panel, _commands in PANELS.items():
    for _command, _epilog in _commands.items():
        _cls = SearchingCommand if _command is extract.extract else Command
        app.command(cls=_cls, epilog=_epilog, rich_help_panel=_panel)(_command)


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
        with ending():
            app(prog_name="vit1dx")  # also as python -m vit1dx
    except SystemExit as end:
        return int(end.code or 0)
    except Vit1dxError as error:
        return _end(str(error), exits.of_error(error))
    except (Ended, KeyboardInterrupt, SystemError) as error:
        if number := signal_of(error):
            return _end(SIGNALS[number], 128 + number)
        raise
    return 0


def _end(message: str, code: int) -> int:
    print(f"vit1dx: {one_line(message)}", file=sys.stderr)
    return code
