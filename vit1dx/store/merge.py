"""Feature files, shards and parts, put together in one file or in new shards."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np

from .._version import __version__
from ..errors import AudioError, NoFilesError, StoreError, UsageError, WriteError
from ..model.request import require_choice
from ..remote import AnyPath, require_here
from .adopt import adopt, has_shard_size, is_shard_like
from .choice import Choice, Duplicates, Failure, Unit, failure_of
from .copying import TrackCopier
from .existing import require_extendable, require_no_shard, require_replaceable
from .folder import SHARED, FeatureFolder
from .format import differences
from .index import Row
from .journal import recover
from .lock import OutputLock
from .place import feature_files, require_folder, require_writable, shard_limit, shard_path
from .reader import FeatureFile, Features
from .shards import FolderWriter, next_number, remove_shards
from .verify import Report, check_all, combined
from .writer import FeatureWriter, Output

#: What inputs may differ in; an output names all that are met.
_BACKEND = ("backend", "backend_version", "device")
#: What of an input's root an output has not.
_OWN = ("shard", "shares", "finished")


@dataclass
class Merged:
    """What came of a merge.

    Attributes
    ----------
    output : Path
    inputs : int
        Feature files, each shard counted.
    copied, already : int
        Tracks written, and those that the output held.
    duplicates : int
        Tracks that were met in several inputs.
    failures : int
        Records of files that failed, carried over.
    missing : dict of str to str
        Ids that were selected and are in no input, with the reason where their files failed.
    unread : list of (id, reason)
        Tracks that could not be copied.
    unfinished : dict of str to str
        Inputs that are not whole, and what is missing.
    report : Report or None
        What the check of the whole output found; None if it did not come to that.
    """

    output: Path
    inputs: int = 0
    copied: int = 0
    already: int = 0
    duplicates: int = 0
    failures: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    unread: list[tuple[str, str]] = field(default_factory=list)
    unfinished: dict[str, str] = field(default_factory=dict)
    report: Report | None = None

    @property
    def is_good(self) -> bool:
        """Whether all that was asked for is in the output, and sound."""
        is_sound = self.report is not None and self.report.is_good
        return is_sound and not (self.missing or self.unread)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "output": str(self.output),
            "inputs": self.inputs,
            "copied": self.copied,
            "already": self.already,
            "duplicates": self.duplicates,
            "failures": self.failures,
            "missing": self.missing,
            "unread": [{"id": key, "reason": reason} for key, reason in self.unread],
            "unfinished": self.unfinished,
            "verified": None if self.report is None else self.report.to_dict(),
        }


def merge(
    inputs: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    select: Sequence[str] | None = None,
    duplicates: Duplicates = "newer",
    shard_size: str | None = None,
    overwrite: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Merged:
    """Put tracks of several outputs together in one, as they are stored, and check the result.

    A file of which all is taken becomes a shard of a folder as it is, if it has at least half of a
    shard's size. The same call again continues, and adds what inputs have got since.

    Parameters
    ----------
    inputs : iterable of paths
        Feature files, and folders of shards or of parts.
    output : path
        Feature file; or a folder of shards, if it ends in "/" or is one.
    select : sequence of str, optional
        Ids of the only tracks to take.
    duplicates : {"newer", "error", "first"}
        What to do with tracks of one id in several inputs: take that of the newest audio file (of
        one age, that of the input that was made last); refuse; or take the first input's.
    shard_size : str, optional
        Most bytes of a shard, as ``"500MB"``; 16 GiB by default.
    overwrite : bool
        Replace an output instead of adding to it.
    check : callable
        Called between tracks. What it raises ends the merge, and what was copied is kept.

    Raises
    ------
    UsageError
        If inputs were made differently, or hold one track twice where that is refused.
    NoFilesError
        If there is nothing to merge.
    LockedError
        If another run writes the output.
    StoreError
        If an input cannot be read, or the output not be written.
    """
    require_choice("duplicates", duplicates, get_args(Duplicates))
    inputs = list(inputs)
    for path in (*inputs, output):
        require_here(path, "merge")
    limit = shard_limit(os.fspath(output), shard_size)
    job = _Job(Path(output), limit, overwrite, check)
    job.require_output()
    with Choice(duplicates, select) as choice:
        job.read_inputs([Path(path) for path in inputs], choice)
        with OutputLock(job.output):
            job.run(choice)
            job.verify()
    if job.output.is_dir():
        with FeatureFolder(job.output) as features:
            len(features)  # makes the index of the shards
    return job.merged


@dataclass(frozen=True)
class _Heading:
    """Of an output: as its inputs have it."""

    root: Mapping[str, Any]

    def attributes(self) -> Mapping[str, Any]:
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        made = {"generator": f"vit1dx {__version__}", "created": now, "finished": np.int8(0)}
        return {**self.root, **made}


class _Job:
    """One merge, step by step."""

    def __init__(
        self, output: Path, limit: int | None, overwrite: bool, check: Callable[[], None]
    ) -> None:
        self.output, self._limit, self._overwrite = output, limit, overwrite
        self._check = check
        self._paths: list[Path] = []
        self._roots: list[dict[str, Any]] = []
        #: Shards that were copied as files, and so were checked already.
        self._checked: dict[AnyPath, Report] = {}
        self.merged = Merged(output)

    def require_output(self) -> None:
        """Make sure that the output can be written."""
        if self._limit is None:
            require_writable(self.output)
            require_no_shard(self.output)
        else:
            require_folder(self.output)
        for file in feature_files(self.output) if self._overwrite else ():
            require_replaceable(file)

    def read_inputs(self, inputs: Sequence[Path], choice: Choice) -> None:
        """Find the feature files of all inputs, require that they go together, and choose."""
        taken = {os.path.realpath(file): self.output for file in feature_files(self.output)}
        for number, path in enumerate(inputs):
            if path.is_dir():
                with FeatureFolder(path) as features:
                    self._note_state(path, features)
            for file in feature_files(path) or [path]:
                self._check()
                real = os.path.realpath(file)
                if taken.get(real) == self.output:
                    raise UsageError(f"{file} is an input and the output; give another -o")
                if real not in taken:
                    taken[real] = path
                    self._read(file, path, number, choice)
        self.merged.inputs = len(self._paths)
        self.merged.duplicates, self.merged.missing = choice.duplicates, choice.missing()
        if not len(choice):
            raise NoFilesError("nothing to merge: no input holds any of the tracks")

    def _read(self, file: Path, path: Path, number: int, choice: Choice) -> None:
        with FeatureFile(file) as features:
            self._require_same(features, "merge only what was made alike")
            if file == path:
                self._note_state(path, features)
            root = dict(features.committed.current().attrs)
            self._roots.append({key: root[key] for key in root if key not in _OWN})
            self._paths.append(file)
            unit = Unit(file, number, str(root.get("created", "")))
            choice.add(unit, features.index(), features.failed())

    def _note_state(self, path: Path, features: Features) -> None:
        if not features.attributes.get("finished"):
            unfinished = "the run that wrote it did not come to its end"
            self.merged.unfinished[str(path)] = str(features.parts or unfinished)

    def _require_same(self, features: FeatureFile, hint: str) -> None:
        """Raise `UsageError` unless a file was made as the first input."""
        if not self._roots:
            return
        first = {key: self._roots[0].get(key) for key in SHARED}
        found = differences({key: features.attributes.get(key) for key in SHARED}, first)
        if found:
            said = "; ".join(f"{key} {theirs}, not {ours}" for key, theirs, ours in found)
            raise UsageError(
                f"{features.path} was made differently from {self._paths[0]}: {said}; {hint}"
            )

    def run(self, choice: Choice) -> None:
        """Copy what was chosen; the output is locked."""
        failures = list(choice.failures())
        if feature_files(self.output) and not self._overwrite:
            failures = self._continue(choice, failures)
        self.merged.failures = len(failures)
        if self._limit is not None:
            failures = self._adopt(choice, failures, self._limit)
        adopted = self.merged.copied
        with self._writer() as writer:
            for unit, ids in choice.tracks():
                with FeatureFile(unit.path) as features:
                    copier = TrackCopier(features, writer)
                    for track_id in ids:
                        self._check()
                        self._copy(copier, track_id)
            for row in failures:
                writer.fail(*row)
            writer.finished = not (self.merged.unfinished or self.merged.unread)
        if last := next(reversed(self._checked), None):  # where the writer went on
            self._checked[last].finished = writer.finished
            if failures or self.merged.copied > adopted:
                del self._checked[last]

    def _adopt(self, choice: Choice, failures: list[Failure], limit: int) -> list[Failure]:
        """Make shards of files that are taken as a whole; returns the failures that are left."""
        if self._overwrite:
            remove_shards(feature_files(self.output))
            self._overwrite = False
        left, heading = dict.fromkeys(failures), self._heading().attributes()
        shard = next_number(self.output)
        for number, unit in choice.whole():
            if not has_shard_size(unit.path, limit):
                continue
            with FeatureFile(unit.path) as features:
                own = [failure_of(key, row) for key, row in features.failed().items()]
                if not (is_shard_like(features) and left.keys() >= set(own)):
                    continue
                target = shard_path(self.output, shard)
                report = adopt(features, target, {**heading, "shard": shard}, self._check)
            if report is not None:
                self._checked[target] = report
                self.merged.copied += report.tracks
                choice.hold_all(number)
                shard += 1
                for failure in own:
                    del left[failure]
        return list(left)

    def verify(self) -> None:
        """Check the whole output."""
        self.merged.report = combined(self.output, check_all(self.output, self._checked))

    def _copy(self, copier: TrackCopier, track_id: str) -> None:
        try:
            copier.copy(track_id)
        except WriteError:
            raise
        except (StoreError, AudioError) as error:
            self.merged.unread.append((track_id, str(error)))
        else:
            self.merged.copied += 1

    def _continue(self, choice: Choice, failures: list[Failure]) -> list[Failure]:
        """Leave out what the output holds: the same, or what is better; returns new failures."""
        files = feature_files(self.output)
        for file in files:
            with FeatureFile(file) as features:
                self._require_same(features, "give another -o")
            recover(file)
        if self._limit is None:
            require_extendable(self.output)
        with _opened(self.output) as features:
            held = [key for key, row in choice.rows() if choice.keeps(features.row(key), row)]
            known = features.failed()
            new = [row for row in failures if _is_news(row, known, features.row(row[0]))]
        choice.hold(held)
        self.merged.already = len(held)
        return new

    def _writer(self) -> Output:
        heading = self._heading()
        if self._limit is None:
            return FeatureWriter(self.output, heading, self._overwrite)
        return FolderWriter(self.output, heading, self._limit, self._overwrite)

    def _heading(self) -> _Heading:
        return _Heading({**self._roots[0], **self._backends()})

    def _backends(self) -> dict[str, str]:
        return {
            key: ", ".join(dict.fromkeys(str(root[key]) for root in self._roots if key in root))
            for key in _BACKEND
        }


def _is_news(failure: Failure, known: Mapping[str, Row], track: Row | None) -> bool:
    """Whether an output should have a failure beside those known, and a track of that id."""
    key, reason, size, mtime_ns, segment = failure
    row = {"reason": reason, "size": size, "mtime_ns": mtime_ns, "segment": segment}
    if {"segment": "", **known.get(key, {})} == row:
        return False
    return track is None or mtime_ns > track["mtime_ns"]


def _opened(path: Path) -> Features:
    """As `vit1dx.open`, without a word on missing parts."""
    return FeatureFolder(path) if path.is_dir() else FeatureFile(path)
