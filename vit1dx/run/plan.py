"""What of a run is done already: by content and configuration, never by a file's mere existence."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import AudioError, UsageError
from ..model.guide import bundled_name_of
from ..remote import AnyPath, RemotePath, is_url
from ..store.folder import open_features
from ..store.format import differences
from ..store.index import Row
from ..store.reader import Features
from .sources import Source
from .worker import file_sha256

#: Most tracks of other files whose files are looked for, on the disk.
LOOKED_FOR = 1000

#: Options of the command, by the setting that each makes.
OPTIONS = {
    "config.request.attention": "--attention",
    "config.request.dtype": "--dtype",
    "config.request.layers": "--layers",
    "config.window.overlap": "--overlap",
    "model_sha256": "--weights",
    "precision": "--precision",
}

_BYTE = re.compile(rb"\\x([89a-f][0-9a-f])")


@dataclass
class Plan:
    """What is to be done, and what is not.

    Attributes
    ----------
    todo : list of Source
    already : int
        Files whose tracks are in the output.
    changed : list of str
        Files of `todo` that are not as they were when their tracks were made.
    failures : list of (id, reason)
        Files that failed before, and are as they were then.
    outdated : set of str
        Tracks made of files as they were before: those of `changed`, and of some in `failures`.
    unreadable : list of (id, reason)
        Files that cannot be compared with their tracks, which are kept.
    gone : list of str
        Tracks in the output whose files are no longer where they were read from.
    others : int
        Tracks in the output whose files are not among the sources, and not known to be gone.
    finished : bool
        Whether the run that wrote the output last came to its end.
    """

    todo: list[Source]
    already: int = 0
    changed: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    outdated: set[str] = field(default_factory=set)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    others: int = 0
    finished: bool = False


def plan(
    sources: Sequence[Source],
    output: AnyPath,
    settings: Mapping[str, Any],
    retry_failed: bool = False,
    checksum: bool = False,
    check: Callable[[], None] = lambda: None,
    others: bool = True,
) -> Plan:
    """Compare sources with what an output holds.

    Parameters
    ----------
    sources : sequence of Source
    output : Path or RemotePath
        A feature file, or a folder of shards, at its last commit.
    settings : mapping
        See `require_same`.
    retry_failed : bool
        Do files again that failed and did not change.
    checksum : bool
        Compare contents, where the output knows them, instead of sizes and times.
    check : callable
        Called between files, and many times a second while one is hashed.
    others : bool
        Look for tracks in the output whose files are not among the sources.

    Raises
    ------
    StoreError
        If the output is no feature file.
    UsageError
        If it was made with other settings.
    """
    with open_features(output) as features:
        require_same(output, features, settings)
        result = Plan([], finished=bool(features.attributes["finished"]))
        comparison = _Comparison(features, result, retry_failed, checksum, check)
        comparison.run(sources)
        if others:
            comparison.look_for_others(sources)
    return result


class _Comparison:
    """Finds out, source by source, what there is to do."""

    def __init__(
        self,
        features: Features,
        plan: Plan,
        retry_failed: bool,
        checksum: bool,
        check: Callable[[], None],
    ) -> None:
        self._features, self._plan = features, plan
        self._digests: dict[AnyPath, str] = {}
        self._failures = features.failed()
        self._retry_failed, self._checksum, self._check = retry_failed, checksum, check

    def run(self, sources: Sequence[Source]) -> None:
        for source in sources:
            self._check()
            try:
                self._compare(source)
            except (FileNotFoundError, NotADirectoryError):
                self._plan.gone.append(source.id)
            except (AudioError, OSError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                self._plan.unreadable.append((source.id, reason))

    def look_for_others(self, sources: Sequence[Source]) -> None:
        """Find the tracks whose files are not among the sources, and which of those are gone."""
        others = sorted(set(self._features).difference(source.id for source in sources))
        gone = _gone(self._features, others[:LOOKED_FOR])
        self._plan.gone = sorted(self._plan.gone + gone)
        self._plan.others = len(others) - len(gone)

    def _compare(self, source: Source) -> None:
        """Sort a source in; raise if it has a track, and cannot be compared with it."""
        row = self._features.row(source.id)
        if row is not None:
            if self._is_same(source, row):
                self._plan.already += 1
                return
            self._plan.outdated.add(source.id)
        failure = self._failures.get(source.id)
        if failure and not self._retry_failed and _stamp(source) == _stamp_of(failure):
            self._plan.failures.append((source.id, failure["reason"]))
            return
        if row is not None:
            self._plan.changed.append(source.id)
        self._plan.todo.append(source)

    def _is_same(self, source: Source, row: Row) -> bool:
        if source.problem is not None:
            raise AudioError(source.problem)
        if not isinstance(source.path, RemotePath):  # of which the search knows all
            source.path.stat()
        if self._checksum and row["sha256"] and source.size:
            is_same = self._digest(source.path) == row["sha256"]
            return is_same and source.part == row.get("segment", "")
        return _stamp(source) == _stamp_of(row)

    def _digest(self, path: AnyPath) -> str:
        """Of a file's bytes, which are read once for all its segments."""
        if path not in self._digests:
            self._digests[path] = file_sha256(path, self._check)
        return self._digests[path]


def _stamp(source: Source) -> tuple[int, int, str]:
    return source.size, source.mtime_ns, source.part


def _stamp_of(row: Row) -> tuple[int, int, str]:
    return row["size"], row["mtime_ns"], row.get("segment", "")


def _gone(features: Features, track_ids: Sequence[str]) -> list[str]:
    """Those of some tracks whose files are no longer where they were read from."""
    return [key for key, file in features.files(track_ids).items() if _is_gone(file)]


def _is_gone(file: str) -> bool:
    if is_url(file):  # to ask for each would take long
        return False
    for path in (file, _unprintable(file)):
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError):  # it may be there, out of reach
            pass
        return False
    return True


def _unprintable(text: str) -> bytes:
    r"""The path that is shown as this text, if its ``\xff`` are bytes that are not UTF-8."""
    return _BYTE.sub(lambda found: bytes([int(found[1], 16)]), os.fsencode(text))


def require_same(output: AnyPath, features: Features, settings: Mapping[str, Any]) -> None:
    """Raise `UsageError`, with the difference, unless a file was made with these settings.

    Parameters
    ----------
    output : Path or RemotePath
    features : Features
    settings : mapping
        ``model_sha256``, ``precision`` and ``config`` (nested), as the root of a file has them.
    """
    found = {**{key: features.attributes.get(key) for key in settings}, "config": features.config}
    differing = differences(found, settings)
    if not differing:
        return
    words = [f"{key} {theirs} there, {ours} asked for" for key, theirs, ours in differing]
    mel = settings["config"]["mel"]
    rate = mel["sample_rate"] / mel["hop_length"]
    options = [_option(key, theirs, rate) for key, theirs, _ in differing]
    to_type = f"add {' '.join(options)}" if all(options) else "give the options it was made with"
    raise UsageError(
        f"{output} was made differently: {'; '.join(words)}; to continue it, {to_type}; or give "
        "another -o"
    )


def _option(key: str, value: Any, frame_rate: float) -> str:
    """The option of the command that makes a setting; empty if no single one does."""
    if key == "model_sha256":
        value = bundled_name_of(value)
    if value is None or key not in OPTIONS:
        return ""
    if key == "config.window.overlap":
        value = f"{value / frame_rate:g}"
    if key == "config.request.layers":
        value = ",".join(map(str, value))
    return f"{OPTIONS[key]} {value}"
