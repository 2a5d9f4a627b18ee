"""The commands `vit1dx probe` and `vit1dx predict`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import UsageError
from ..model.request import LAYERS
from ..remote import path_of
from ..whole import require_apart
from .options import Features
from .probed import Form, plot_layers, progress, write, write_folder, write_lines

Task = Literal[
    "classes", "tags", "regression", "chords", "keys", "beats", "downbeats", "onsets", "notes"
]
Baselines = Literal["auto", "all", "majority"]
_LABELS, _SPLITS, _FEATURES, _OUTPUT = "Labels", "Splits", "Features", "Output"
#: Bytes of one unit of --memory.
GIB = 2**30
#: What the extra brings.
EXTRA = ("sklearn", "scipy", "threadpoolctl", "mir_eval")

PROBE_EXAMPLES = """Examples:

vit1dx probe feats.h5 genres.csv --group-by artist

vit1dx probe feats.h5 chords/ --task chords --save chords.npz --plot chords.png"""

PREDICT_EXAMPLES = """Examples:

vit1dx predict feats.h5 genres.npz -o genres.csv

vit1dx predict feats.h5 chords.npz -o chords/"""


def probe(
    features: Features,
    labels: Annotated[
        Path,
        typer.Argument(
            metavar="LABELS",
            help="A table of tracks and labels (CSV, TSV, JSON lines), or a folder of .lab, "
            ".beats, .onsets, .notes, .csv or .jams files, named like the tracks.",
        ),
    ],
    task: Annotated[
        Task | None,
        typer.Option(
            help="What the labels are; by default classes for a table, and what a folder's "
            "endings say.",
            show_default=False,
            rich_help_panel=_LABELS,
        ),
    ] = None,
    track_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column of tracks: their ids, or paths that end like them.",
            show_default="track, id, file, path, ...",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column of labels.",
            show_default="label, class, tags, genre, ...",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    separator: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Between tags in one cell.",
            show_default="| or ; or ,",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            metavar="parent|COLUMN",
            help="Tracks that stay on one side of a split: of a folder, or with one value in a "
            "column (artist, album, song).",
            show_default=False,
            rich_help_panel=_SPLITS,
        ),
    ] = None,
    split_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column of train, valid and test, instead of folds.",
            show_default=False,
            rich_help_panel=_SPLITS,
        ),
    ] = None,
    metadata: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="Table of tracks with these columns, where the labels have none.",
            show_default=False,
            rich_help_panel=_SPLITS,
        ),
    ] = None,
    folds: Annotated[
        int, typer.Option(min=2, help="Folds of the cross-validation.", rich_help_panel=_SPLITS)
    ] = 5,
    seeds: Annotated[
        int,
        typer.Option(
            min=1,
            help="Divisions into folds; with --split-column, draws of what is fitted on.",
            rich_help_panel=_SPLITS,
        ),
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The first seed.", rich_help_panel=_SPLITS)] = 0,
    layers: Annotated[
        str | None,
        typer.Option(
            help=f"{LAYERS}; all that were kept by default.",
            show_default=False,
            rich_help_panel=_FEATURES,
        ),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Of class (mean class token), mean (mean of all tokens), class+mean (both side "
            "by side); tasks over time go by sequence tokens.",
            show_default="all",
            rich_help_panel=_FEATURES,
        ),
    ] = None,
    frames: Annotated[
        int,
        typer.Option(
            min=100,
            help="Frames that tasks over time are fitted on, at about the most.",
            rich_help_panel=_FEATURES,
        ),
    ] = 30_000,
    baselines: Annotated[
        Baselines,
        typer.Option(
            help="log-mel and MFCC of the music: where it is at hand and not over 10 hours, in "
            "any case, or not.",
            rich_help_panel=_FEATURES,
        ),
    ] = "auto",
    audio: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the music, if it was moved.",
            show_default=False,
            rich_help_panel=_FEATURES,
        ),
    ] = None,
    memory: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="GIB",
            help="Frames kept between two passes; others are read twice.",
            rich_help_panel=_FEATURES,
        ),
    ] = 2.0,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Features probed side by side.",
            show_default="one a core",
            rich_help_panel=_FEATURES,
        ),
    ] = None,
    form: Annotated[
        Form, typer.Option("--format", help="Of the result.", rich_help_panel=_OUTPUT)
    ] = "table",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the result there instead of standard output.",
            show_default=False,
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="X.png|svg|pdf|webp",
            help="Also draw the scores by layer (extra 'plot').",
            show_default=False,
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="PROBE.npz",
            help="Also fit the best layer's probe on all labels, for 'vit1dx predict'.",
            show_default=False,
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
) -> None:
    """Linear probes on labels of your own: which layer knows what (extra 'probe').

    Each layer and kind of tokens is scored by cross-validation, beside log-mel, MFCC and what is
    most frequent. The layer of the first line is chosen on the training side of each fold alone.
    """
    _require_places(output, plot, save)
    for place in (output, plot, save):
        require_apart(place, [Path(features), labels, metadata])
    try:
        from ..probe.options import ProbeOptions
        from ..probe.run import probe as probe_features
        from ..probe.saved import fitted
        from ..probe.saved import save as save_probe
    except ModuleNotFoundError as error:
        _require_extra(error)
        raise
    options = ProbeOptions(
        task=task,
        layers=_layers(features, layers),
        tokens=tuple(part.strip() for part in tokens.split(",")) if tokens else None,
        track_column=track_column,
        label_column=label_column,
        separator=separator,
        group_by=group_by,
        split_column=split_column,
        metadata=metadata,
        folds=folds,
        seeds=seeds,
        seed=seed,
        frames=frames,
        memory=memory * GIB,
        audio=audio,
        baselines=baselines,
        workers=workers,
    )
    with progress() as show:
        report, best, data = probe_features(path_of(features), labels, options, show)
    write(report, form, output)
    if plot is not None:
        plot_layers(report, plot)
    if save is not None:
        from ..store.folder import open_features

        with open_features(features) as opened:
            save_probe(fitted(opened, best, data, report, options), save)
        print(f"{save}: {best.name}, fitted on {len(data.labels.ids)} tracks", file=sys.stderr)


def predict(
    features: Features,
    probe_file: Annotated[
        Path, typer.Argument(metavar="PROBE.npz", help="Made by 'vit1dx probe --save'.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.csv|FOLDER",
            help="A table of all tracks; or, of labels over time, a folder for a .lab, .beats, "
            ".onsets or .notes file a track. Standard output by default.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files of a folder that are there.")
    ] = False,
) -> None:
    """Labels of tracks, by a probe that 'vit1dx probe --save' fitted (extra 'probe').

    The features must be of the same weights and precision as those that it was fitted on.
    """
    try:
        from ..probe import predict as predictions
        from ..probe.saved import load
    except ModuleNotFoundError as error:
        _require_extra(error)
        raise
    from ..store.folder import open_features

    require_apart(output, [Path(features), probe_file])
    saved = load(probe_file)
    with open_features(features) as opened:
        saved.require_same(opened)
        as_table = output is None or output.suffix.lower() == ".csv"
        if saved.about.is_local and not as_table:
            write_folder(opened, saved, output or Path(), overwrite)
            return
        if not as_table:
            raise UsageError(f"-o {output}: labels of whole tracks go to a .csv file")
        if saved.about.is_local:
            lines = predictions.as_csv(saved.about.task, predictions.timelines(opened, saved))
        else:
            lines = map(predictions.csv_line, predictions.vector_rows(opened, saved))
        write_lines(lines, output)


def _require_extra(error: ModuleNotFoundError) -> None:
    """Say so if it is a package of the extra that is missing; anything else is not that."""
    if str(error.name).partition(".")[0] in EXTRA:
        raise UsageError(
            f"this needs scikit-learn and mir_eval ({error}); pip install 'vit1dx[probe]'"
        ) from None


def _layers(features: str, layers: str | None) -> tuple[int, ...] | None:
    """Layers asked for; `last` is the model's, and `all` what was kept."""
    if layers in (None, "all"):
        return None
    from ..config import ModelConfig
    from ..model.request import parse_layers
    from ..store.folder import open_features

    with open_features(features) as opened:
        return parse_layers(layers or "all", ModelConfig(**opened.config["model"]))


def _require_places(output: Path | None, plot: Path | None, save: Path | None) -> None:
    """Refuse what could not be written before anything is computed."""
    if plot is not None:
        try:
            from ..show.plot import require_suffix
        except ImportError as error:
            raise UsageError(
                f"--plot needs matplotlib ({error}); pip install 'vit1dx[plot]'"
            ) from None
        require_suffix(plot)
    if save is not None and save.suffix != ".npz":
        raise UsageError(f"--save {save}; a file ending in .npz is needed")
    for path in (output, plot, save):
        if path is not None:
            _require_place(path)


def _require_place(path: Path) -> None:
    """Raise `UsageError` unless a file can be made there, or is no file that is written to."""
    home = path.absolute().parent
    if not home.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; the name of a file is needed")
    if not os.access(home, os.W_OK) and (path.is_file() or not path.exists()):
        raise UsageError(f"{path}: no permission to write into {path.parent}")
