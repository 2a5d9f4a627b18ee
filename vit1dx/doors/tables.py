"""Features as tables that other programs read: npy, npz, parquet, csv, zarr.

Each form is written in bounded memory, under another name, which it keeps until it is whole; the
one file a track of npz appear one by one, and what is there already is not written again.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import StoreError, UsageError
from ..store.matrix import dim_of
from ..store.place import beside
from ..store.reader import Features
from .rows import Rows, What, chosen_layers, rows_of
from .tree import write_tree

Form = Literal["npy", "npz", "parquet", "csv", "zarr"]
ENDINGS: dict[Form, str] = {"npy": ".npy", "parquet": ".parquet", "csv": ".csv", "zarr": ".zarr"}
#: Called with the rows (tracks, of npz) that were written.
Progress = Callable[[int], None]


def export(
    features: Features,
    output: Path,
    to: Form,
    what: What = "mean",
    layers: Sequence[int] | None = None,
    *,
    overwrite: bool = False,
    progress: Progress = lambda rows: None,
) -> int:
    """Write features as a table; returns its rows, or of npz, the files that were written.

    Parameters
    ----------
    features : Features
    output : Path
        The file, or for npz the folder, to make. With npy, a csv of this name lies beside it.
    to : {"npy", "npz", "parquet", "csv", "zarr"}
    what : {"mean", "class", "sequence"}
        A row for each track, window, or frame.
    layers : sequence of int, optional
        All by default.
    overwrite : bool
        Replace what is there.
    progress : callable

    Raises
    ------
    UsageError
        If the output exists, or has another ending; or layers or tokens were not kept, or the
        library is not installed.
    StoreError
        If the output cannot be written.
    """
    chosen = chosen_layers(features, layers)
    if to == "npz":
        return write_tree(features, output, what, chosen, overwrite, progress)
    if output.suffix != ENDINGS[to]:
        raise UsageError(f"-o {output}: {to} is written to a name that ends in {ENDINGS[to]}")
    table = _TABLES[to](output, _columns(features, chosen), what)
    for path in table.paths:
        if (path.exists() or path.is_symlink()) and not overwrite:
            raise UsageError(f"{path} exists; --overwrite replaces it, or give another -o")
    try:
        return _write(table, rows_of(features, what, chosen), progress)
    except OSError as error:
        raise StoreError(f"{output} cannot be written: {error.strerror or error}") from None


class _Columns:
    """The vectors of a table: their layers and lengths, and what is said of their origin."""

    def __init__(self, layers: tuple[int, ...], dim: int, made: Mapping[str, str]) -> None:
        self.layers, self.dim, self.made = layers, dim, made


def _columns(features: Features, layers: tuple[int, ...]) -> _Columns:
    keys = ("model_name", "model_sha256", "precision", "generator")
    made = {key: str(features.attributes.get(key, "")) for key in keys}
    return _Columns(layers, dim_of(features), made)


class _Table(ABC):
    """A table being written, in files that get their names when it is whole."""

    def __init__(self, output: Path, columns: _Columns, what: What) -> None:
        self.paths = self._paths(output)
        self.new = [beside(path, ".new") for path in self.paths]
        self.columns, self.what = columns, what

    def _paths(self, output: Path) -> list[Path]:
        return [output]

    @abstractmethod
    def begin(self) -> None:
        """Open the files."""

    @abstractmethod
    def add(self, rows: Rows) -> None:
        """Write rows."""

    @abstractmethod
    def end(self) -> None:
        """Close the files; called once, whether all was written or not."""


def _write(table: _Table, rows: Iterable[Rows], progress: Progress) -> int:
    count = 0
    _clear(table.new)  # what a run that was killed left
    try:
        try:
            table.begin()
            for some in rows:
                table.add(some)
                count += len(some.ids)
                progress(count)
        finally:
            table.end()
        for new, path in zip(table.new, table.paths, strict=True):
            _move(new, path)
    finally:
        _clear(table.new)
    return count


def _clear(paths: Iterable[Path]) -> None:
    for path in paths:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _move(new: Path, path: Path) -> None:
    """Put a file or folder in its place; a folder that is there is moved aside first."""
    if not path.is_dir():
        os.replace(new, path)
        return
    if not new.is_dir() or not (path / ".zgroup").exists():
        raise StoreError(f"{path} is a folder, and no zarr group; it is left as it is")
    old = beside(path, ".old")
    os.replace(path, old)
    os.replace(new, path)
    shutil.rmtree(old)


LEADING = ("id", "file", "start", "end")


def _leading(rows: Rows) -> Iterator[tuple[str, str, float, float]]:
    return zip(rows.ids, rows.files, rows.start.tolist(), rows.end.tolist(), strict=True)


class _Csv(_Table):
    """One line a row: id, file, start, end, then each layer's numbers."""

    def begin(self) -> None:
        """See `_Table`."""
        self._file = self.new[-1].open("w", encoding="utf-8", newline="", errors="backslashreplace")
        self._csv = csv.writer(self._file, lineterminator="\n")
        self._csv.writerow([*LEADING, *self.numbers])

    @property
    def numbers(self) -> list[str]:
        """Names of the columns of numbers."""
        columns = self.columns
        return [f"layer{layer}_{n}" for layer in columns.layers for n in range(columns.dim)]

    def add(self, rows: Rows) -> None:
        """See `_Table`; nine digits give each float32 back."""
        form = ",".join(["%.9g"] * (rows.vectors.shape[1] * rows.vectors.shape[2])) + "\n"
        for leading, numbers in zip(_leading(rows), rows.vectors, strict=True):
            text = io.StringIO()
            csv.writer(text, lineterminator=",").writerow(_rounded(leading))
            self._file.write(text.getvalue() + form % tuple(numbers.ravel().tolist()))

    def end(self) -> None:
        """See `_Table`."""
        if hasattr(self, "_file"):
            self._file.close()


def _rounded(leading: tuple[str, str, float, float]) -> tuple[str, str, str, str]:
    """With times as they are, to the microsecond."""
    track_id, file, start, end = leading
    return track_id, file, f"{start:.6f}", f"{end:.6f}"


class _Npy(_Csv):
    """An array, (row, feature) of one layer or (row, layer, feature), and a csv of its rows."""

    def _paths(self, output: Path) -> list[Path]:
        return [output, output.with_suffix(".csv")]

    @property
    def numbers(self) -> list[str]:
        """None: they are in the array."""
        return []

    def begin(self) -> None:
        """See `_Table`."""
        super().begin()
        self._rows = 0
        self._array = self.new[0].open("wb")
        self._write_header()

    def _write_header(self) -> None:
        """The same length for any number of rows: numpy leaves room for it to grow."""
        layers = len(self.columns.layers)
        shape = (self._rows, *([layers] if layers > 1 else []), self.columns.dim)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._array, header)

    def add(self, rows: Rows) -> None:
        """See `_Table`."""
        self._csv.writerows(_rounded(leading) for leading in _leading(rows))
        self._array.write(np.ascontiguousarray(rows.vectors, "<f4").data)
        self._rows += len(rows.ids)

    def end(self) -> None:
        """See `_Table`."""
        super().end()
        if hasattr(self, "_array"):
            with self._array:
                self._array.seek(0)
                self._write_header()


class _Parquet(_Table):
    """Columns id, file, start, end, and a list of numbers for each layer."""

    def begin(self) -> None:
        """See `_Table`."""
        self._arrow = needed("pyarrow", "parquet")
        needed("pyarrow.parquet", "parquet")
        arrow, columns = self._arrow, self.columns
        text, time = arrow.string(), arrow.float64()
        numbers = arrow.list_(arrow.float32(), columns.dim)
        fields = [*zip(LEADING, (text, text, time, time), strict=True)]
        fields += [(f"layer{layer}", numbers) for layer in columns.layers]
        self._schema = arrow.schema(fields, metadata={**columns.made, "what": self.what})
        self._writer = arrow.parquet.ParquetWriter(self.new[0], self._schema, compression="zstd")

    def add(self, rows: Rows) -> None:
        """See `_Table`."""
        arrow = self._arrow
        vectors = [
            arrow.FixedSizeListArray.from_arrays(
                arrow.array(np.ascontiguousarray(part).ravel()), self.columns.dim
            )
            for part in rows.vectors.swapaxes(0, 1)
        ]
        arrays = [*map(arrow.array, (list(rows.ids), list(rows.files), rows.start, rows.end))]
        self._writer.write_batch(arrow.record_batch([*arrays, *vectors], schema=self._schema))

    def end(self) -> None:
        """See `_Table`."""
        if hasattr(self, "_writer"):
            self._writer.close()


class _Zarr(_Table):
    """A group (format 2): vectors (row, layer, feature), id, file, start, end and layer."""

    def begin(self) -> None:
        """See `_Table`."""
        zarr = needed("zarr", "zarr")
        columns = self.columns
        self._group = zarr.open_group(self.new[0], mode="w", zarr_format=2)
        self._group.attrs.update({**columns.made, "what": self.what})
        shape = (len(columns.layers), columns.dim)
        rows = max(1, (1 << 20) // (4 * columns.dim))
        self._make("vectors", "f4", shape, (rows, 1, columns.dim), ("row", "layer", "feature"))
        for name, kind in (("id", str), ("file", str), ("start", "f8"), ("end", "f8")):
            self._make(name, kind, (), (1 << 13,), ("row",))
        self._make("layer", "i8", (), (64,), ("layer",))
        self._group["layer"].append(np.array(columns.layers))

    def _make(
        self, name: str, dtype: Any, shape: tuple[int, ...], chunks: tuple[int, ...], axes: Any
    ) -> None:
        fill = {"i8": -1, str: ""}.get(dtype, np.nan)  # xarray takes it for what is missing
        array = self._group.create_array(
            name, shape=(0, *shape), chunks=chunks, dtype=dtype, fill_value=fill
        )
        array.attrs["_ARRAY_DIMENSIONS"] = list(axes)

    def add(self, rows: Rows) -> None:
        """See `_Table`."""
        texts = {name: np.array(list(values), dtype=object) for name, values in _texts(rows)}
        values = {"vectors": rows.vectors, "start": rows.start, "end": rows.end, **texts}
        for name, array in values.items():
            self._group[name].append(array)

    def end(self) -> None:
        """See `_Table`."""
        if hasattr(self, "_group"):
            import_module("zarr").consolidate_metadata(self._group.store, zarr_format=2)


def _texts(rows: Rows) -> tuple[tuple[str, Sequence[str]], ...]:
    return ("id", rows.ids), ("file", rows.files)


_TABLES: dict[Form, type[_Table]] = {
    "npy": _Npy,
    "csv": _Csv,
    "parquet": _Parquet,
    "zarr": _Zarr,
}


def needed(library: str, form: str) -> Any:
    """A library of the extra ``tables``, or an error that says how to have it."""
    try:
        return import_module(library)
    except ImportError as error:
        raise UsageError(
            f"{form} needs {library.partition('.')[0]} ({error}); pip install 'vit1dx[tables]'"
        ) from None
