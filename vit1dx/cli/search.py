"""The command `vit1dx search`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from .options import AsJson
from .options import Features as FeaturesPath

if TYPE_CHECKING:
    from .._types import Array
    from ..store.reader import Features

EXAMPLES = """Examples:

vit1dx search feats.h5 a/song.mp3

vit1dx search feats.h5 new.mp3 --layer 8 -n 20 --json"""


def search(
    path: FeaturesPath,
    query: Annotated[
        str,
        typer.Argument(
            metavar="TRACK|AUDIO",
            help="A track's id, or a music file, which is extracted as the features were.",
            show_default=False,
        ),
    ],
    layer: Annotated[
        int | None,
        typer.Option(
            "--layer",
            "-l",
            help="By default, the nearest to what finds similar recordings best, or to the middle.",
            show_default=False,
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Tracks to show.")] = 10,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="W", help="The weights that the features were made with, if not the bundled."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the tracks that sound most like one, by the cosine of mean tokens.

    A track of the features is not compared with itself. All others are, a block at a time.
    """
    from ..model.guide import layer_to_compare_by
    from ..store.folder import open_features
    from .printing import print_json, print_table

    with open_features(path) as features:
        if layer is None:
            depth = features.config["model"]["depth"]
            layer = layer_to_compare_by(features.attributes, features.layers, depth)
            print(f"layer {layer}", file=sys.stderr)
        vector = _vector(features, query, layer, weights)
        found = _found(features, query, layer, vector, n)
    if as_json:
        results = [{"id": track_id, "similarity": value} for track_id, value in found]
        print_json({"query": query, "layer": layer, "results": results})
    else:
        print_table([], [[f"{value:.4f}", track_id] for track_id, value in found])


def _vector(features: Features, query: str, layer: int, weights: Path | None) -> Array:
    from ..store.matrix import layer_row

    layer_row(features, layer)
    if not len(features):
        raise UsageError(f"no track in {features.path}")
    if query in features:
        return features.matrix(layer, ids=[query])[0][0]
    if not Path(query).is_file():
        raise UsageError(f"{query} is neither a track of {features.path} nor a file")
    return _extractor(features, layer, weights)(query).read("mean_token", layer=layer)


def _extractor(features: Features, layer: int, weights: Path | None) -> Any:
    """What makes the same features of other music."""
    from ..config import MelConfig
    from ..extractor import Extractor

    made = features.attributes
    window, mel = features.config["window"], MelConfig(**features.config["mel"])
    extractor = Extractor(
        [layer],
        attention="none",
        overlap=window["overlap"] / mel.frame_rate,
        weights=weights,
        precision=made["precision"],
    )
    info = extractor.weights
    if not {info.sha256, info.exported_from} & {made["model_sha256"]}:
        raise UsageError(
            f"{features.path} was made with {made['model_name']} "
            f"({made['model_sha256'][:12]}), and {info.name} is {info.sha256[:12]}; give the "
            "weights with --weights"
        )
    return extractor


def _found(
    features: Features, query: str, layer: int, vector: Array, n: int
) -> list[tuple[str, float]]:
    from ..analysis.neighbours import Nearest
    from ..store.matrix import id_batches

    best = Nearest(vector, n + 1)  # with the track itself
    ids: dict[int, str] = {}
    seen = 0
    for batch in id_batches(features):
        best.add(features.matrix(layer, ids=batch)[0])
        ids = {row: ids[row] if row < seen else batch[row - seen] for row in best.rows.tolist()}
        seen += len(batch)
    found = zip(best.rows.tolist(), best.similarity.tolist(), strict=True)
    return [(ids[row], value) for row, value in found if ids[row] != query][:n]
