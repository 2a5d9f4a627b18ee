"""One ``.npz`` a track, in the folder tree that ids make."""

from __future__ import annotations

import csv
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import h5py
import numpy as np

from .._types import Array
from ..errors import StoreError, UsageError
from ..store.journal import sync_folder
from ..store.matrix import layer_row
from ..store.reader import Features
from ..whole import whole
from .arrays import part_of, write_npy
from .names import file_names
from .rows import ARRAYS, What

#: What a folder holds besides: what was exported, and the file of each id.
SETTINGS, NAMES = "export.json", "ids.csv"


def write_tree(
    features: Features,
    folder: Path,
    what: What,
    layers: Sequence[int],
    overwrite: bool,
    progress: Callable[[int], None],
) -> int:
    """Write the files that are not there yet, or not of this track; returns how many.

    Raises
    ------
    UsageError
        If the folder holds other things, or an export of other arrays, and they may not be
        replaced.
    StoreError
        If it cannot be written.
    """
    settings = _settings(features, what, layers)
    names = file_names(features, ".npz")
    try:
        _require_ours(folder, settings, overwrite)
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / SETTINGS, json.dumps(settings, indent=2).encode())
        _write_names(folder / NAMES, names)
        written = 0
        for count, (track_id, name) in enumerate(names.items(), 1):
            written += _write_track(features, track_id, folder / name, what, layers)
            progress(count)
        return written
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}") from None


def _settings(features: Features, what: What, layers: Sequence[int]) -> dict[str, Any]:
    keys = ("model_sha256", "precision", "config")
    made = {key: features.attributes.get(key) for key in keys}
    return {"format": "vit1dx-npz", "what": what, "layers": list(layers), **made}


def _require_ours(folder: Path, settings: dict[str, Any], overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file; npz makes a folder of a file a track")
    if not any(folder.iterdir()):
        return
    try:
        found = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UsageError(
            f"{folder} holds other files than an export; give a new folder, or an empty one"
        ) from None
    if found != settings and not overwrite:
        raise UsageError(
            f"{folder} holds an export of {found.get('what')}, layers {found.get('layers')}, or of "
            "other features; --overwrite replaces it, or give another -o"
        )


def _write_names(path: Path, names: dict[str, str]) -> None:
    with (
        whole(path) as new,
        new.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file,
    ):
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["id", "file"])
        rows.writerows(names.items())


def _replace(path: Path, data: bytes) -> None:
    with whole(path) as new:
        new.write_bytes(data)
    sync_folder(path.parent)


def _write_track(
    features: Features, track_id: str, path: Path, what: What, layers: Sequence[int]
) -> bool:
    """Write a track's file, unless it is there; whether it was written."""
    rows = [layer_row(features, layer) for layer in layers]
    array, clock = ARRAYS[what]
    part = part_of(features, track_id, array, rows)
    sums = features.visit(track_id, lambda group: _sums(group[array], rows))
    if _is_there(path, sums):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    small = {"layer": np.array(layers), "id": np.array(track_id), "crc32": sums}
    # No `whole`: what a killed run left is no .npz, and the same command again writes over it.
    new = path.with_name(path.name + ".new")
    try:
        with zipfile.ZipFile(new, "w") as archive:
            for each in [part, *([part_of(features, track_id, clock)] if clock else [])]:
                with archive.open(f"{each.name}.npy", "w", force_zip64=True) as file:
                    write_npy(cast(BinaryIO, file), each)
            for name, value in small.items():
                with archive.open(f"{name}.npy", "w") as file:
                    np.save(file, value)
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)
    return True


def _sums(data: h5py.Dataset, rows: Sequence[int]) -> Array:
    """Checksums of layers; none where another program rewrote the file without them."""
    return np.asarray(data.attrs["crc32"])[list(rows)] if "crc32" in data.attrs else np.empty(0)


def _is_there(path: Path, sums: Array) -> bool:
    """Whether a file holds these arrays, by the checksums that the track has."""
    if not path.exists() or not len(sums):
        return False
    try:
        with np.load(path) as file:
            return np.array_equal(file["crc32"], sums)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False
