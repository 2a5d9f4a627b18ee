"""The command line: parses, calls, and says what came of it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .. import __version__
from ..errors import (
    LockedError,
    SpaceError,
    StoreError,
    TrainingError,
    UsageError,
    Vit1dxError,
    WriteError,
)
from ..run.signals import SIGNALS
from ..run.wording import one_line
from .console import lost, settle
from .help import Command, Group, SearchingCommand
from .see import onsets, plot
from .train import train

if TYPE_CHECKING:
    from ..run.results import Summary

EXIT_SOME_FAILED, EXIT_USAGE, EXIT_NOTHING_DONE, EXIT_BUSY, EXIT_STORE = 1, 2, 3, 4, 5

#: The first that an error is.
ERROR_EXITS: dict[type[Vit1dxError], int] = {
    WriteError: EXIT_SOME_FAILED,
    SpaceError: EXIT_NOTHING_DONE,
    LockedError: EXIT_BUSY,
    StoreError: EXIT_STORE,
    TrainingError: EXIT_SOME_FAILED,
    Vit1dxError: EXIT_USAGE,
}

EXIT_CODES = """
Exit codes: 0 all files done; 1 some files failed, or the output could not be written to its end;
2 wrong usage; 3 nothing to do, no room for it, or no file succeeded; 4 another run writes the
output; 5 the output cannot be opened or made: no such folder, no permission, no feature file;
129 hung up (SIGHUP);
130 interrupted (SIGINT); 143 terminated (SIGTERM).
"""

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="ViT-1D features of music: class tokens, sequence tokens and attention maps.",
)


Attention = Literal["none", "class", "full"]
DType = Literal["float32", "float16"]
BackendName = Literal["auto", "onnx", "torch"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "int8", "bf16", "fp16"]
Exported = Literal["fp32", "int8"]

WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", metavar="W", help="Weights to use instead of the bundled ones."),
]
FeaturesArgument = Annotated[
    Path, typer.Argument(metavar="FEATS.h5|FOLDER", help="A feature file, or folder of them.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write the result as JSON on stdout.")]


@app.command(cls=SearchingCommand, epilog=EXIT_CODES)
def extract(
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT.h5|FOLDER/",
            help="Feature file to write, or folder of many, its shards.",
        ),
    ],
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Folders (searched for audio), files and globs.", show_default=False),
    ] = None,
    layers: Annotated[
        str, typer.Option(help="'all', 'last', or numbers such as 4,8 or 1-12; 0: the embedding.")
    ] = "all",
    attention: Annotated[
        Attention,
        typer.Option(help="Attention maps of those layers: the class token's rows, or all rows."),
    ] = "none",
    overlap: Annotated[
        float, typer.Option(metavar="S", help="Seconds of context on each side of a window.")
    ] = 0.0,
    dtype: Annotated[DType, typer.Option(help="How tokens and attention are stored.")] = "float32",
    weights: WeightsOption = None,
    backend: Annotated[BackendName, typer.Option(help="What runs the model.")] = "auto",
    device: Annotated[Device, typer.Option(help="Where it runs.")] = "auto",
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="What the model computes in: int8 in ONNX Runtime, bf16 and fp16 (CUDA) in "
            "PyTorch; by default as the weights are.",
            show_default=False,
        ),
    ] = None,
    files_from: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="List of files, one a line or separated by NUL bytes."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Leave these files and folders out; repeatable."),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Take these too, though hidden or of another ending, as '*.mpga'; repeatable.",
        ),
    ] = None,
    follow_symlinks: Annotated[
        bool, typer.Option("--follow-symlinks", help="Follow symbolic links out of a folder.")
    ] = False,
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Name tracks by their paths below this folder, however files are given.",
        ),
    ] = None,
    shard_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Most bytes of a shard of FOLDER/, as 500MB; 16GiB by default."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an output instead of going on with it.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Do files again that failed before.")
    ] = False,
    checksum: Annotated[
        bool,
        typer.Option("--checksum", help="Know changed files by content, not by size and time."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Processes; by default one a usable core.", show_default=False
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            metavar="S",
            help="Seconds a file may take; by default ten minutes and its duration.",
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        float,
        typer.Option(min=0.1, metavar="GIB", help="Memory that a file may take, GiB, or inf."),
    ] = 2.0,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but the result.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Extract tokens and attention of folders of music into an HDF5 file, or a folder of them.

    A file that cannot be used is reported, recorded in the output, and does not stop the others.
    The same command again goes on where a run ended: what is done and unchanged is not done again.
    """
    from ..extractor import Extractor
    from ..run.pool import Pool
    from ..run.run import Options, extract_all
    from ..run.sources import PassedOver, collect, read_list
    from ..store.place import shard_limit
    from .printing import describe, print_json, print_summary, show_passed_over

    if not paths and files_from is None:
        raise UsageError("nothing to extract; give folders, files or globs, or --files-from")
    listed = [] if files_from is None else read_list(_read_all(files_from))
    options = Options(
        Path(output),
        shard_limit(output, shard_size),
        dtype,
        overwrite,
        retry_failed,
        checksum,
        workers,
        timeout,
        memory,
        quiet,
    )
    with Pool() as pool:
        extractor = Extractor(
            layers,
            attention,
            overlap=overlap,
            weights=weights,
            backend=backend,
            device=device,
            precision=precision,
        )
        passed_over = PassedOver()
        sources = collect(
            paths or [],
            listed,
            exclude=exclude or [],
            include=include or [],
            follow_symlinks=follow_symlinks,
            root=root,
            passed_over=passed_over,
        )
        if not sources:
            words = "; ".join(["nothing to do: no audio files found", *describe(passed_over)])
            raise typer.Exit(_say(words, EXIT_NOTHING_DONE))
        if not quiet:
            show_passed_over(passed_over)
        summary = extract_all(sources, extractor, options, pool)
    summary.passed_over = passed_over
    print_json(summary.to_dict()) if as_json else print_summary(summary, quiet)
    raise typer.Exit(_exit_code(summary))


@app.command("export-onnx", cls=Command)
def export_onnx(
    weights: WeightsOption = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="MODEL.onnx", help="Model to write.")
    ] = Path("model.onnx"),
    layers: Annotated[
        str | None, typer.Option(help="Layers the model gives; 0 to the last by default.")
    ] = None,
    attention: Annotated[
        Attention, typer.Option(help="Attention maps it gives of those layers.")
    ] = "full",
    precision: Annotated[
        Exported, typer.Option(help="int8 quantises the weights, and activations as they come.")
    ] = "fp32",
    as_json: JsonOption = False,
) -> None:
    """Export weights to ONNX, and compare every output with PyTorch's (needs the extra 'torch')."""
    from ..model.request import parse_layers
    from ..model.weights import bundled, read_info
    from .printing import print_json, print_table

    try:
        from ..model.export import export
    except ImportError as error:
        raise UsageError(f"export needs PyTorch ({error}); pip install 'vit1dx[torch]'") from None

    source = weights or bundled(".safetensors")
    wanted = None if layers is None else parse_layers(layers, read_info(source).config.model)
    agreements = export(source, output, wanted, attention, precision)
    if as_json:
        print_json({"output": str(output), "outputs": [vars(a) for a in agreements]})
    else:
        rows = [[a.output, f"{a.max_error:.2e}", f"{a.cosine:.6f}"] for a in agreements]
        print_table(["output", "max abs error", "min cosine similarity"], rows)
        print(f"{output}: every output compared with PyTorch's")


@app.command(cls=Command)
def info(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A feature file or folder of them, ONNX model or weights file."
        ),
    ],
    failures: Annotated[
        bool, typer.Option("--failures", help="List the files that gave no track, with the reason.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a feature file or folder, an ONNX model or a weights file holds."""
    from .info import describe, failures_of
    from .printing import flatten, print_failures, print_json, print_table

    if failures:
        listed = failures_of(path)
        print_json({"failures": listed}) if as_json else print_failures(listed)
    else:
        values = describe(path)
        print_json(values) if as_json else print_table([], flatten(values))


@app.command(cls=Command)
def verify(
    path: FeaturesArgument,
    as_json: JsonOption = False,
) -> None:
    """Read features back and check them: structure, values, attention rows, checksums.

    Exit code 1 if something is wrong; every track that is not sound is named.
    """
    from ..store.verify import verify as verify_features
    from .printing import print_json, print_report

    report = verify_features(path)
    print_json(report.to_dict()) if as_json else print_report(report)
    raise typer.Exit(EXIT_SOME_FAILED if report.problems else 0)


@app.command(cls=Command)
def repair(
    path: FeaturesArgument,
    as_json: JsonOption = False,
) -> None:
    """Keep the features that are sound, and drop the rest; 'extract' then does those again.

    Also gives back room that tracks done again left. Exit code 1 if something was dropped.
    """
    from ..store.verify import repair as repair_features
    from .printing import print_json, print_report

    report = repair_features(path)
    print_json(report.to_dict()) if as_json else print_report(report, repaired=True)
    raise typer.Exit(EXIT_SOME_FAILED if report.problems else 0)


app.command(cls=Command)(plot)
app.command(cls=Command)(onsets)
app.command(cls=Command)(train)


def main() -> None:
    """Run the command line; an error that a user can cause is one line and an exit code."""
    result, remarks = settle()
    code = _run()
    code_if_lost = lost(result, remarks)
    raise SystemExit(code or code_if_lost)


def _run() -> int:
    try:
        app()
    except SystemExit as end:
        return int(end.code or 0)
    except Vit1dxError as error:
        code = next(code for kind, code in ERROR_EXITS.items() if isinstance(error, kind))
        return _say(str(error), code)
    except KeyboardInterrupt:
        return _say(SIGNALS[signal.SIGINT], 128 + signal.SIGINT)
    return 0


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        print(f"vit1dx {__version__}")
        raise typer.Exit


def _exit_code(summary: Summary) -> int:
    if summary.stopped:
        codes = {word: 128 + number for number, word in SIGNALS.items()}
        return codes.get(summary.stopped, EXIT_NOTHING_DONE)
    if not summary.done + summary.already:
        return EXIT_NOTHING_DONE
    return EXIT_SOME_FAILED if summary.failures or summary.unreadable else 0


def _read_all(name: str) -> bytes:
    if name == "-" and sys.stdin is None:
        raise UsageError("list of files -: standard input is closed")
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"list of files {name}: {error.strerror}") from None


def _say(message: str, code: int) -> int:
    print(f"vit1dx: {one_line(message)}", file=sys.stderr)
    return code
