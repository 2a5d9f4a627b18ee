"""What of a run is done already: by content and configuration, never by a file's mere existence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .collect import Source
from .errors import AudioError, StoreError
from .features import Features
from .folder import open_features
from .tables import Row
from .worker import file_sha256


@dataclass
class Plan:
    """What is to be done, and what is not.

    Attributes
    ----------
    todo : list of Source
    already : int
        Files whose tracks are in the output.
    changed : int
        Files of `todo` that are not as they were when their tracks were made.
    failures : list of (id, reason)
        Files that failed before, and are as they were.
    gone : list of str
        Tracks in the output whose files are not among the sources.
    finished : bool
        Whether the run that wrote the output last came to its end.
    """

    todo: list[Source]
    already: int = 0
    changed: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    finished: bool = False


def plan(
    sources: Sequence[Source],
    output: Path,
    settings: Mapping[str, Any],
    retry_failed: bool = False,
    checksum: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Plan:
    """Compare sources with what an output holds.

    Parameters
    ----------
    sources : sequence of Source
    output : Path
        A feature file, or a folder of shards, at its last commit.
    settings : mapping
        See `require_same`.
    retry_failed : bool
        Do files again that failed and did not change.
    checksum : bool
        Compare contents, where the output knows them, instead of sizes and times.
    check : callable
        Called between files, and many times a second while one is hashed.

    Raises
    ------
    StoreError
        If the output is no feature file, or was made with other settings.
    """
    with open_features(output) as features:
        require_same(output, features, settings)
        index, failures = features.index(), features.failed()
        finished = bool(features.attributes["finished"])
    gone = sorted(set(index).difference(source.id for source in sources))
    result = Plan([], gone=gone, finished=finished)
    for source in sources:
        check()
        if source.id in index:
            if _same(source, index[source.id], checksum, check):
                result.already += 1
                continue
            result.changed += 1
        elif source.id in failures and not retry_failed:
            row = failures[source.id]
            if (row["size"], row["mtime_ns"]) == (source.size, source.mtime_ns):
                result.failures.append((source.id, row["reason"]))
                continue
        result.todo.append(source)
    return result


def _same(source: Source, row: Row, checksum: bool, check: Callable[[], None]) -> bool:
    if checksum and row["sha256"]:
        try:
            return bool(file_sha256(source.path, check) == row["sha256"])
        except (AudioError, OSError):
            return False
    return (row["size"], row["mtime_ns"]) == (source.size, source.mtime_ns)


def require_same(output: Path, features: Features, settings: Mapping[str, Any]) -> None:
    """Raise `StoreError`, with the difference, unless a file was made with these settings.

    Parameters
    ----------
    output : Path
    features : Features
    settings : mapping
        ``model_sha256``, ``precision`` and ``config`` (nested), as the root of a file has them.
    """
    found = {**{key: features.attributes.get(key) for key in settings}, "config": features.config}
    theirs, ours = (dict(_flat("", json.loads(json.dumps(v)))) for v in (found, settings))
    differences = [
        f"{key} {theirs.get(key)} there, {ours.get(key)} asked for"
        for key in sorted({*theirs, *ours})
        if theirs.get(key) != ours.get(key)
    ]
    if differences:
        raise StoreError(
            f"{output} was made differently: {'; '.join(differences)}; give another -o, or "
            "--overwrite to replace it"
        )


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{key}.", value)
        else:
            yield prefix + key, value
