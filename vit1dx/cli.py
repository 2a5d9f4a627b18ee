"""The command line: parses, calls, and says what came of it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from . import __version__
from .cli_see import onsets, plot
from .errors import SpaceError, UsageError, Vit1dxError, WriteError
from .stop import SIGNALS
from .train.command import train

if TYPE_CHECKING:
    from .batch import Summary

EXIT_SOME_FAILED, EXIT_USAGE, EXIT_NOTHING_DONE = 1, 2, 3

ERROR_EXITS: dict[type[Vit1dxError], int] = {
    WriteError: EXIT_SOME_FAILED,
    SpaceError: EXIT_NOTHING_DONE,
}

EXIT_CODES = """
Exit codes: 0 all files done; 1 some files failed, or the output could not be written to its end;
2 wrong usage; 3 nothing to do, no room for it, or no file succeeded; 130 interrupted (SIGINT);
143 terminated (SIGTERM).
"""

app = typer.Typer(
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


@app.command(epilog=EXIT_CODES)
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
        list[str] | None, typer.Option(metavar="GLOB", help="Leave these out; may be repeated.")
    ] = None,
    follow_symlinks: Annotated[
        bool, typer.Option("--follow-symlinks", help="Follow symbolic links out of a folder.")
    ] = False,
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
        float, typer.Option(min=0.1, metavar="GIB", help="Memory that a file may take, GiB.")
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
    from .collect import collect, read_list
    from .extract import Extractor
    from .extraction import Options, extract_all
    from .output import shard_limit
    from .pool import Pool
    from .report import print_json, print_summary

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
            layers, attention, overlap, weights, backend, device, precision=precision
        )
        sources = collect(paths or [], listed, exclude or [], follow_symlinks)
        if not sources:
            _fail("nothing to do: no audio files found", EXIT_NOTHING_DONE)
        summary = extract_all(sources, extractor, options, pool)
    print_json(summary.to_dict()) if as_json else print_summary(summary)
    raise typer.Exit(_exit_code(summary))


@app.command("export-onnx")
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
    from .report import print_json, print_table
    from .request import parse_layers
    from .weights import bundled, read_info

    try:
        from .export import export
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


@app.command()
def info(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A feature file or folder of them, ONNX model or weights file."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Show what a feature file or folder, an ONNX model or a weights file holds."""
    from .info import describe
    from .report import flatten, print_json, print_table

    values = describe(path)
    if as_json:
        print_json(values)
    else:
        print_table(["", ""], flatten(values))


@app.command()
def verify(
    path: FeaturesArgument,
    as_json: JsonOption = False,
) -> None:
    """Read features back and check them: structure, values, attention rows, checksums.

    Exit code 1 if something is wrong; every track that is not sound is named.
    """
    from .report import print_json, print_report
    from .verify import verify as verify_features

    report = verify_features(path)
    print_json(report.to_dict()) if as_json else print_report(report)
    raise typer.Exit(EXIT_SOME_FAILED if report.problems else 0)


@app.command()
def repair(
    path: FeaturesArgument,
    as_json: JsonOption = False,
) -> None:
    """Keep the features that are sound, and drop the rest; 'extract' then does those again.

    Also gives back room that tracks done again left. Exit code 1 if something was dropped.
    """
    from .report import print_json, print_report
    from .verify import repair as repair_features

    report = repair_features(path)
    print_json(report.to_dict()) if as_json else print_report(report, repaired=True)
    raise typer.Exit(EXIT_SOME_FAILED if report.problems else 0)


app.command()(plot)
app.command()(onsets)
app.command()(train)


def main() -> None:
    """Run the command line; an error that a user can cause is one line and an exit code."""
    try:
        app()
    except Vit1dxError as error:
        _fail(str(error), ERROR_EXITS.get(type(error), EXIT_USAGE))
    except KeyboardInterrupt:
        _fail(SIGNALS[signal.SIGINT], 128 + signal.SIGINT)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        print(f"vit1dx {__version__}")
        raise typer.Exit


def _exit_code(summary: Summary) -> int:
    if summary.stopped:
        return next(128 + number for number, word in SIGNALS.items() if word == summary.stopped)
    if not summary.done + summary.already:
        return EXIT_NOTHING_DONE
    return EXIT_SOME_FAILED if summary.failures else 0


def _read_all(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"list of files {name}: {error.strerror}") from None


def _fail(message: str, code: int) -> NoReturn:
    print(f"vit1dx: {message}", file=sys.stderr)
    raise SystemExit(code)
