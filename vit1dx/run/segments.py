"""Excerpts of files, from a table of annotations: each a source of its own."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..audio.files import printable
from ..errors import UsageError
from .ids import placed
from .lists import MARKS, Entry
from .sources import PassedOver, Search, Segment, Source

#: Names of columns; "id" may be missing.
COLUMNS = ("path", "start", "end", "id")
#: What a name ends in whose lines are JSON.
_JSON_SUFFIXES = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class Row:
    """A row of a table: where it is, and what it says."""

    place: str
    values: Mapping[str, Any]


def collect_segments(
    name: str | os.PathLike[str],
    exclude: Sequence[str] = (),
    root: str | os.PathLike[str] | None = None,
    passed_over: PassedOver | None = None,
) -> list[Source]:
    """The excerpts that a table lists, as sources; where a row cannot be used, with a problem.

    Parameters
    ----------
    name : path
        A CSV file with a heading, or one of JSON objects, a line each (``.jsonl``): path (below the
        current folder), start and end (s; the file's by default), and perhaps an id.
    exclude, root, passed_over
        See `vit1dx.run.sources.collect`.

    Raises
    ------
    UsageError
        If it cannot be read, or lacks a column.
    """
    search = Search(exclude, (), False, passed_over or PassedOver())
    here, found = os.getcwd(), dict[str, tuple[str, Source]]()

    @lru_cache(1024)
    def known(file_id: str, place: str) -> list[Source]:
        return list(search.listed(file_id, place))

    for row in read_rows(name):
        for source in _sources(row, here, root, known):
            place, other = found.setdefault(source.id, (row.place, source))
            if other != source:
                problem = f"id {source.id} is that of {place} too; give each its own"
                found[row.place] = row.place, Source(row.place, source.path, problem=problem)
    sources = {key: source for key, (_, source) in found.items()}
    search.end()
    return [_unnested(source, sources) for source in sources.values()]


def _sources(
    row: Row, here: str, root: Any, known: Callable[[str, str], list[Source]]
) -> Iterator[Source]:
    """The source of a row; none if its file is excluded."""
    text = str(row.values.get("path") or "").strip()
    given = str(row.values.get("id") or "").strip()
    try:
        if "error" in row.values or not text:
            raise UsageError(row.values.get("error") or "no path")
        file_id, place = placed(Entry(text), here, root)
        segment = Segment(_seconds(row, "start") or 0.0, _seconds(row, "end"))
        if segment.end is not None and segment.end <= segment.start:
            raise UsageError(f"end {segment.end:g} s is not behind start {segment.start:g} s")
    except UsageError as error:
        where = f"{row.place}: " if given else ""
        yield Source(given or row.place, Path(text), problem=f"{where}{error}")
        return
    for source in known(file_id, place):
        yield replace(source, id=given or f"{file_id}#{segment}", segment=segment)


def _seconds(row: Row, name: str) -> float | None:
    value = row.values.get(name)
    if value is None or str(value).strip() == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if isinstance(value, bool) or not 0 <= seconds < math.inf:
        raise UsageError(f"{name} {value!r}; seconds, 0 or more, are needed")
    return seconds


def _unnested(source: Source, sources: Mapping[str, Source]) -> Source:
    """A source, with a problem if it would lie inside another's track."""
    parts = source.id.split("/")
    for count in range(1, len(parts)):
        if (outer := "/".join(parts[:count])) in sources and source.problem is None:
            return replace(source, problem=f"would lie inside track {outer}; give it another id")
    return source


def read_rows(name: str | os.PathLike[str]) -> Iterator[Row]:
    """The rows of a table, by the names of its columns in lower case.

    Raises
    ------
    UsageError
        If it cannot be read, or lacks a column.
    """
    path = Path(name)
    shown = printable(path)
    try:
        with path.open("rb") as file:
            mark = file.read(4)
            file.seek(0)
            encodings = (code for bytes_, code in MARKS if mark.startswith(bytes_))
            encoding = {"utf-8": "utf-8-sig"}.get(code := next(encodings, "utf-8"), code)
            # Names of files may hold other bytes.
            with io.TextIOWrapper(file, encoding, "surrogateescape", newline="") as text:
                is_json = path.suffix.lower() in _JSON_SUFFIXES
                for line, values in _objects(text) if is_json else _table(text, shown):
                    yield Row(f"{shown.lstrip('/')}:{line}", values)
    except OSError as error:
        raise UsageError(f"segments {shown}: {error.strerror}") from None
    except (UnicodeError, csv.Error) as error:
        raise UsageError(f"segments {shown} cannot be read: {error}") from None


def _table(text: io.TextIOWrapper, shown: str) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = csv.reader(text)
    names = [name.strip().lower() for name in next(rows, [])]
    missing = [name for name in COLUMNS[:3] if name not in names]
    if missing:
        raise UsageError(
            f"segments {shown} has no column {', '.join(missing)}; its first line names path, "
            f"start and end, and perhaps id, and here it is {', '.join(names) or 'empty'}"
        )
    for row in rows:
        if any(map(str.strip, row)):
            yield rows.line_num, dict(zip(names, row, strict=False))


def _objects(text: io.TextIOWrapper) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text, 1):
        if line.strip():
            try:
                values = json.loads(line)
            except ValueError as error:
                yield number, {"error": f"no JSON: {error}"}
                continue
            if isinstance(values, dict):
                yield number, {str(key).strip().lower(): value for key, value in values.items()}
            else:
                yield number, {"error": f"{line.strip()[:40]}; an object is needed"}
