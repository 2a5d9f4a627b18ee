"""Lists of files, of any length: text, CSV, JSON lines or Parquet, read a piece at a time."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..audio.files import printable
from ..errors import UsageError

#: Entries up to which a list counts as short, and is looked at as a whole.
SHORT = 20_000
#: Bytes, or rows, read at once.
BLOCK, ROWS = 1 << 20, 10_000

#: How an editor marks what it writes, longest first: UTF-32 begins as UTF-16 does.
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Entry(NamedTuple):
    """A file of a list, and the id that it is given there, if any."""

    path: str
    id: str | None = None


class FileList:
    """A list of files, read again each time it is iterated over.

    By its name, a table with the columns ``path`` and, if it likes, ``id``: ``.csv``, ``.tsv``,
    ``.jsonl`` (or ``.ndjson``), ``.parquet`` (extra ``tables``). Otherwise paths, one a line or,
    where there are NUL bytes, between those; a byte order mark says how it is encoded, and without
    one, its bytes are the file names'. ``"-"`` is standard input, and text.

    Parameters
    ----------
    name : path

    Raises
    ------
    UsageError
        If it cannot be read; also while it is iterated over, naming the line that is wrong.
    """

    def __init__(self, name: str | os.PathLike[str]) -> None:
        self.name = os.fspath(name)
        self._input = _spooled() if self.name == "-" else None
        with self._errors():
            if self._input is None:
                Path(self.name).open("rb").close()

    @property
    def is_short(self) -> bool:
        """Whether it has no more than `SHORT` entries."""
        return len(list(islice(self, SHORT + 1))) <= SHORT

    def __iter__(self) -> Iterator[Entry]:
        kinds: dict[str, Callable[[BinaryIO], Iterator[_Row]]] = {
            ".csv": _csv,
            ".tsv": _tsv,
            ".jsonl": _json,
            ".ndjson": _json,
        }
        suffix = "" if self._input else Path(self.name).suffix.lower()
        with self._errors():
            if suffix == ".parquet":
                yield from _checked(_parquet(self.name), "row")
            elif self._input is not None:
                self._input.seek(0)
                yield from _text(self._input)
            else:
                with open(self.name, "rb") as file:
                    if suffix in kinds:
                        yield from _checked(kinds[suffix](file), "line")
                    else:
                        yield from _text(file)

    def _errors(self) -> _Errors:
        return _Errors(self.name)


class _Errors:
    """Turns what goes wrong with a list into a `UsageError` that names it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.strerror:
            raise UsageError(f"list of files {printable(self._name)}: {error.strerror}") from None
        if isinstance(error, (ValueError, csv.Error)) and not isinstance(error, UsageError):
            raise UsageError(f"list of files {printable(self._name)}: {error}") from None


def list_files(name: str | os.PathLike[str]) -> list[str]:
    """Paths of a list (see `FileList`)."""
    return [entry.path for entry in FileList(name)]


def read_list(data: bytes) -> list[str]:
    """Paths of a list that is text, from its bytes.

    Raises
    ------
    ValueError
        If it is not encoded as its mark says.
    """
    return [entry.path for entry in _text(io.BytesIO(data))]


def _spooled() -> BinaryIO:
    """Standard input, kept on the disk: it can be read once."""
    if sys.stdin is None:
        raise UsageError("list of files -: standard input is closed")
    file = tempfile.TemporaryFile()  # noqa: SIM115
    shutil.copyfileobj(sys.stdin.buffer, file)
    return file


def _text(file: BinaryIO) -> Iterator[Entry]:
    head = file.read(BLOCK)
    if any(head.startswith(mark) for mark, _ in MARKS):
        file = io.BytesIO(_without_mark(head + file.read()))
        head = file.read(BLOCK)
    separator = b"\0" if b"\0" in head else b"\n"
    rest = b""
    while head:
        *entries, rest = (rest + head).split(separator)
        yield from _entries(entries)
        head = file.read(BLOCK)
    yield from _entries([rest])


def _entries(lines: Iterable[bytes]) -> Iterator[Entry]:
    texts = (line.removesuffix(b"\r") for line in lines)
    return (Entry(os.fsdecode(text)) for text in texts if text)


def _without_mark(data: bytes) -> bytes:
    encoding = next(encoding for mark, encoding in MARKS if data.startswith(mark))
    try:
        return os.fsencode(data.decode(encoding).removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"not the {encoding.upper()} that its byte order mark declares ({error.reason} at "
            f"byte {error.start}); save it as UTF-8"
        ) from None


#: A line's number, its path and its id, as they stand there.
_Row = tuple[int, Any, Any]


def _csv(file: BinaryIO, delimiter: str = ",") -> Iterator[_Row]:
    text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
    rows = csv.DictReader(text, delimiter=delimiter)
    if "path" not in (rows.fieldnames or ()):
        raise ValueError(f"has no column 'path'; its columns are {rows.fieldnames}")
    for row in rows:
        yield rows.line_num, row["path"], row.get("id")


def _tsv(file: BinaryIO) -> Iterator[_Row]:
    return _csv(file, "\t")


def _json(file: BinaryIO) -> Iterator[_Row]:
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                values = json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} is not JSON: {error}") from None
            if not isinstance(values, dict):
                raise ValueError(f"line {number} is {values!r}; an object with a 'path' is needed")
            yield number, values.get("path"), values.get("id")


def _parquet(name: str) -> Iterator[_Row]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ValueError(
            "Parquet needs pyarrow; pip install 'vit1dx[tables]', or give CSV or JSON lines"
        ) from None
    with parquet.ParquetFile(name) as file:
        columns = [key for key in ("path", "id") if key in file.schema_arrow.names]
        if "path" not in columns:
            raise ValueError(f"has no column 'path'; its columns are {file.schema_arrow.names}")
        number = 0
        for batch in file.iter_batches(ROWS, columns=columns):
            values = batch.to_pydict()
            ids = values.get("id") or [None] * len(batch)
            for path, key in zip(values["path"], ids, strict=True):
                number += 1
                yield number, path, key


def _checked(rows: Iterable[_Row], unit: str) -> Iterator[Entry]:
    for number, path, key in rows:
        if not isinstance(path, str) or not path:
            raise ValueError(f"{unit} {number} has the path {path!r}; a file is needed")
        if key is not None and not isinstance(key, str):
            key = str(key)
        yield Entry(path, key or None)
