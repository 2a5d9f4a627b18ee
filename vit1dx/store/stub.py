"""A stub: a shard's tables without its tracks, which are somewhere else.

A folder with stubs in the place of shards tells a run what is done, and takes no room.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import StoreError
from .existing import STUB
from .format import VERSIONS
from .index import FAILURES, INDEX, Table, read_table
from .writer import create


def write_stub(file: Any, path: Path) -> None:
    """Write the stub of an open HDF5 file, or file-like object of one, in the place of `path`.

    Raises
    ------
    StoreError
        If it is no feature file.
    """
    new = path.with_name(f".{path.name}.stub")
    try:
        with h5py.File(file, "r") as shard:
            attributes = {key: shard.attrs[key] for key in shard.attrs}
            tables = {name: read_table(shard[name]) for name in ("index", "failures")}
        create(new, {**attributes, STUB: np.int8(1)})
        with h5py.File(new, "r+", libver=VERSIONS) as stub:
            for name, columns in (("index", INDEX), ("failures", FAILURES)):
                table = Table(stub[name], columns)
                for track_id, row in tables[name].items():
                    table.put(track_id, **row)
                table.write()
    except (OSError, KeyError, ValueError) as error:
        new.unlink(missing_ok=True)
        raise StoreError(f"{path.name} is no shard: {error}") from None
    os.replace(new, path)
