"""The page as a file: what it holds is gathered, and written piece by piece.

All that comes from outside (ids, labels, paths) stands in blocks of JSON, which no text of theirs
can end, and scripts put it on the page as text. A content security policy names the page's own
script and style by their hashes, so that no other ever runs, and forbids every network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import mimetypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import numpy as np

from ..._version import __version__
from ...errors import CODES, StoreError, UsageError, reason_of
from ...model.guide import guide_of, layer_to_compare_by
from ...store.reader import Features, StoredTrack
from ...whole import whole
from ..sound import music_of
from .collection import (
    Labels,
    MapKind,
    centred,
    folders,
    nearest,
    principal_axes,
    read_labels,
    rows_of,
    umap_axes,
)
from .details import SIDES, details, expected_bytes, packed

#: Bytes that the details of all tracks may take, unless a number of tracks is asked for.
DETAIL_BYTES = 4_000_000
#: Scripts of the page, in the order in which they stand.
SCRIPTS = ("base", "pictures", "list", "map", "player", "track", "guide", "main")
#: Bytes of music embedded at once: a multiple of 3, so that base64 needs no padding between.
EMBEDDED_AT_ONCE = 3 << 18
#: What ends a script, or is a line's end to some, inside JSON.
_UNSAFE = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class Options:
    """What a page shows.

    Attributes
    ----------
    layer : int or None
        Whose mean tokens make the map and the neighbours; see `layer_to_compare_by`.
    layers : tuple of int
        Of the details.
    map : {"pca", "umap"}
    labels : Path or None
        A table to colour by, instead of folders.
    color : str or None
        Its column.
    details : int or None
        Tracks with details; by default as many as fit `DETAIL_BYTES`.
    embed_audio : bool
        Put the music of tracks with details into the page; it is linked otherwise.
    """

    layer: int | None
    layers: tuple[int, ...]
    map: MapKind = "pca"
    labels: Path | None = None
    color: str | None = None
    details: int | None = None
    embed_audio: bool = False


def write_report(
    features: Features,
    output: Path,
    options: Options,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Write the page of a collection; nothing is there until all of it is.

    Parameters
    ----------
    features : Features
    output : Path
        Ends in ``.html``.
    options : Options
    tell : callable
        Takes lines about what is being done.

    Raises
    ------
    UsageError
        If there is nothing to show, an option cannot be used, or it cannot be written there.
    """
    ids = list(features)
    if not ids:
        raise UsageError(f"no track in {features.path}")
    layer = options.layer
    if layer is None:
        depth = features.config["model"]["depth"]
        layer = layer_to_compare_by(features.attributes, features.layers, depth)
    if layer not in features.layers:
        kept = ", ".join(map(str, features.layers))
        raise UsageError(f"no layer {layer} in {features.path}; layers {kept} were kept")
    with _whole_file(output) as page:
        tell(f"{len(ids)} tracks: mean tokens, map, neighbours")
        labels = _labels(features, ids, options)
        if labels.missing:
            tell(f"{labels.missing} of {len(ids)} tracks have no {labels.name}")
        chosen, side = choose_details(len(ids), options, features.config["model"]["heads"])
        whole = _collection(features, ids, layer, labels, options)
        before, after = _template().split("{{data}}")
        page.write(before + _block("collection", {**whole, "details": chosen}))
        for count, at in enumerate(chosen, 1):
            if count % 20 == 1:
                tell(f"details of tracks: {count} of {len(chosen)}")
            _write_details(page, features[ids[at]], at, options, side, output)
        page.write(after)


@contextmanager
def _whole_file(output: Path) -> Iterator[IO[str]]:
    """A file beside its place, which it takes when it is whole, and otherwise goes."""
    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{output}: a name ending in .html is needed")
    if output.is_dir():
        raise UsageError(f"{output} is a folder")
    try:
        with whole(output) as new, new.open("w", encoding="utf-8", newline="\n") as file:
            yield file
    except OSError as error:
        if error.errno is None:  # HDF5's, of features that are damaged
            raise StoreError(f"the features cannot be read: {reason_of(error)}") from None
        raise UsageError(f"{output} cannot be written: {error.strerror}") from None


def choose_details(count: int, options: Options, heads: int) -> tuple[list[int], int]:
    """Which tracks of `count` have details, spread evenly over them, and the side of a matrix."""

    def of(side: int) -> int:
        return expected_bytes(side, len(options.layers), heads)

    fit = DETAIL_BYTES // of(SIDES[-1])
    wanted = min(count, max(1, fit) if options.details is None else options.details)
    sides = [side for side in SIDES if wanted * of(side) <= DETAIL_BYTES]
    chosen = np.linspace(0, count - 1, wanted).round().astype(int)
    return [int(at) for at in chosen], (sides or SIDES[-1:])[0]


def _labels(features: Features, ids: Sequence[str], options: Options) -> Labels:
    if options.labels is None:
        if options.color is not None:
            raise UsageError(f"--color {options.color!r} needs --labels, the table that has it")
        return Labels("folder", folders(ids))
    sources = features.files(ids)
    return read_labels(options.labels, options.color, {key: sources.get(key, "") for key in ids})


def _collection(
    features: Features, ids: Sequence[str], layer: int, labels: Labels, options: Options
) -> dict[str, Any]:
    index = features.index()
    vectors = centred(features.matrix(layer, ids=ids)[0])
    shares = None
    if options.map == "pca":
        places, shares = principal_axes(vectors)
    else:
        places = umap_axes(vectors)
    near, cosines = nearest(vectors)
    names = sorted(set(labels.values))
    numbers = {name: number for number, name in enumerate(names)}
    return {
        "title": features.path.name or str(features.path),
        "version": __version__,
        "model": features.attributes["model_name"],
        "created": features.attributes["created"],
        "layers": list(features.layers),
        "layer": layer,
        "failures": len(features.failures),
        "codes": CODES,
        "ids": list(ids),
        **rows_of(index, ids),
        "label": {
            "name": labels.name,
            "names": names,
            "of": [numbers[value] for value in labels.values],
        },
        "map": {
            "kind": options.map,
            "shares": shares,
            "places": packed(_in_unit_square(places).astype("<f4")),
        },
        "near": {
            "count": near.shape[1],
            "tracks": packed(near.astype("<u4")),
            "cosines": packed(cosines.astype("<f4")),
        },
        "guide": [vars(advice) for advice in guide_of(features.attributes).values()],
    }


def _in_unit_square(places: np.ndarray) -> np.ndarray:
    """Points moved and scaled, alike along both axes, to lie within 0 to 1."""
    low, high = places.min(0), places.max(0)
    span = max(float((high - low).max()), 1e-9)
    return (places - (low + high) / 2) / span + 0.5


def _write_details(
    page: IO[str], track: StoredTrack, at: int, options: Options, side: int, output: Path
) -> None:
    found = details(track, options.layers, side)
    music = music_of(track.attributes)
    if music is None or not options.embed_audio:
        found["audio"] = music and _link(music, output)
        page.write(_block(f"track-{at}", found))
        return
    page.write(_block(f"track-{at}", found))
    kind = mimetypes.guess_type(music.name)[0] or "audio/mpeg"
    page.write(f'<script type="text/plain" id="audio-{at}">data:{kind};base64,')
    with music.open("rb") as file:
        while block := file.read(EMBEDDED_AT_ONCE):
            page.write(base64.b64encode(block).decode("ascii"))
    page.write("</script>\n")


def _link(music: Path, output: Path) -> str:
    """The address of a file, relative to the page's."""
    try:
        relative = os.path.relpath(music, output.resolve().parent)
    except ValueError:  # on another drive
        return music.as_uri()
    return quote(Path(relative).as_posix())


def _block(name: str, value: Any) -> str:
    """JSON that no text in it can end, in a block that is data and never runs."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f'<script type="application/json" id="{name}">{text.translate(_UNSAFE)}</script>\n'


def _template() -> str:
    """The page without its data: HTML, style and scripts as one file."""
    home = files(__package__) / "page"

    def text(name: str) -> str:
        return (home / name).read_text("utf-8")

    script = '"use strict";\n(() => {\n' + "".join(text(f"{s}.js") for s in SCRIPTS) + "})();\n"
    style = text("style.css")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(script)}",
            f"style-src {_hash(style)}",
            "media-src 'self' file: data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    page = text("index.html")
    for name, value in (("policy", policy), ("style", style), ("script", script)):
        page = page.replace(f"{{{{{name}}}}}", value)
    return page


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
