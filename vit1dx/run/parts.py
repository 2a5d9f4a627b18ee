"""A share of a collection for each of several machines: stable, and balanced.

Each file belongs to one of `SLOTS` slots by a hash of its id. The first run over a collection deals
the slots out to the parts, the longest first, each to the part with the least to do by then, and
keeps the result in ``parts.json``. So the shares are even, and a file stays where it is whatever is
added later; and without that file, too, any machine that sees the same files comes to the same.

Files of one kind have slots of their own, and are dealt out together. Within a kind, size says
how files' durations compare; so each part has its share of each, and the shares are even though
what is usual (`KINDS`) may be far from what a collection has.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._types import Array
from ..errors import StoreError, UsageError
from ..remote import AnyPath
from ..store.journal import sync_folder
from ..store.place import SHARES_NAME, Part
from .sources import Source

#: What a file is dealt out with; many times the parts, so that slots are small.
SLOTS = 1 << 16
MOST_PARTS = 4096
#: What a file costs besides its audio, in seconds of audio.
FILE_SECONDS = 1.0
#: Endings that have slots together, and bytes of a second of audio: what is usual, as that it is
#: the same everywhere matters more here than what headers say.
KINDS = (
    (".mp3 .mp2 .mp1", 24_000),
    (".aif .aifc .aiff .au .rf64 .snd .w64 .wav .wave", 176_400),
    (".flac .alac .ape .wv .tta", 100_000),
    (".m4a .aac .m4b .wma", 24_000),
    (".ogg .oga", 20_000),
    (".opus .spx .amr", 12_000),
    (".3gp .avi .m4v .mkv .mov .mp4 .webm .wmv", 125_000),
    ("", 24_000),  # all others
)
_KINDS = {ending: kind for kind, (endings, _) in enumerate(KINDS) for ending in endings.split()}
#: Slots of a kind.
KIND_SLOTS = SLOTS // len(KINDS)

_FORMAT = "vit1dx-parts"
_FIELDS = ("ID", "COUNT", "MIN", "MAX", "STEP")


def parse_part(text: str, environ: Mapping[str, str] = os.environ) -> Part:
    """A part from ``"3/16"``, or from ``"slurm"``: the task of a SLURM job array.

    Raises
    ------
    UsageError
        If it is neither, or there is no such part, or no array, or one with gaps.
    """
    if text == "slurm":
        return _slurm_part(environ)
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found:
        raise UsageError(f"--part {text}; K/N is accepted, as 3/16, or slurm in a job array")
    number, count = int(found[1]), int(found[2])
    if not 1 <= number <= count <= MOST_PARTS:
        raise UsageError(
            f"--part {text}; parts are counted from 1/N to N/N, and N is at most {MOST_PARTS}"
        )
    return Part(count, number)


def part_for(output: str | os.PathLike[str], text: str, limit: int | None) -> Part:
    """`parse_part`, for an output; raises `UsageError` too where that is no folder of shards."""
    part = parse_part(text)
    if limit is None:
        raise UsageError(
            f"--part {text} with one file, {output}; end -o in '/' for a folder, in which each "
            "part has one of its own"
        )
    return part


def _slurm_part(environ: Mapping[str, str]) -> Part:
    names = [f"SLURM_ARRAY_TASK_{field}" for field in _FIELDS]
    known = {"SLURM_ARRAY_TASK_STEP": "1", **environ}
    missing = [name for name in names if not known.get(name, "").isdecimal()]
    if missing:
        raise UsageError(
            f"--part slurm, and {missing[0]} is not set to a number; submit a job array (sbatch "
            "--array=1-16), or give --part K/N"
        )
    task, count, first, last, step = (int(known[name]) for name in names)
    if step < 1 or (last - first) // step + 1 != count or not first <= task <= last:
        raise UsageError(
            f"--part slurm in an array with gaps ({count} tasks from {first} to {last}), which "
            "does not say how many parts there are; give --part $SLURM_ARRAY_TASK_ID/N"
        )
    return parse_part(f"{(task - first) // step + 1}/{count}")


def slot_of(track_id: str) -> int:
    """The slot of an id, which nothing but the id decides."""
    digest = hashlib.blake2b(track_id.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return _kind_of(track_id) * KIND_SLOTS + int.from_bytes(digest, "little") % KIND_SLOTS


def _kind_of(name: str) -> int:
    return _KINDS.get(os.path.splitext(name)[1].lower(), len(KINDS) - 1)


def weight_of(source: Source) -> int:
    """What a file is expected to cost, in ms of audio."""
    _, rate = KINDS[_kind_of(source.path.name)]
    return round(1000 * FILE_SECONDS) + source.size * 1000 // rate


@dataclass(frozen=True)
class Shares:
    """Which part each file of a collection belongs to.

    Attributes
    ----------
    count : int
        Parts.
    table : (slot,) array of uint16
        The part of each slot, counted from 0.
    """

    count: int
    table: Array

    @classmethod
    def balanced(cls, count: int, sources: Iterable[Source]) -> Shares:
        """Deal out files, such that each part has as much to do as any other."""
        weights = [0] * SLOTS
        for source in sources:
            weights[slot_of(source.id)] += weight_of(source)
        table = np.arange(SLOTS, dtype="<u2") % count  # of slots that are empty as yet
        loads = [(0, part) for part in range(count)]
        kinds = [sum(weights[at : at + KIND_SLOTS]) for at in range(0, SLOTS, KIND_SLOTS)]

        def order(slot: int) -> tuple[int, ...]:
            kind = slot // KIND_SLOTS
            return -kinds[kind], kind, -weights[slot], slot

        for slot in sorted(filter(weights.__getitem__, range(SLOTS)), key=order):
            load, part = loads[0]
            table[slot] = part
            heapq.heapreplace(loads, (load + weights[slot], part))
        return cls(count, table)

    def of(self, track_id: str) -> int:
        """The part of a file, counted from 1."""
        return int(self.table[slot_of(track_id)]) + 1

    @property
    def digest(self) -> str:
        """What tells these shares from others."""
        return hashlib.blake2b(self.table.tobytes(), digest_size=8).hexdigest()

    def to_json(self) -> str:
        """As they are kept."""
        table = base64.b64encode(self.table.tobytes()).decode()
        return json.dumps({"format": _FORMAT, "parts": self.count, "table": table})

    @classmethod
    def from_json(cls, text: str) -> Shares:
        """Read what `to_json` gave; raises ValueError if it is not that."""
        values = json.loads(text)
        if not isinstance(values, dict) or values.get("format") != _FORMAT:
            raise ValueError(f"it is not of format {_FORMAT}")
        table = np.frombuffer(base64.b64decode(str(values.get("table"))), "<u2")
        count = values.get("parts")
        if table.shape != (SLOTS,) or not isinstance(count, int) or not table.max() < count:
            raise ValueError("its table is not whole")
        return cls(count, table)


def shares_in(folder: AnyPath) -> Shares | None:
    """How the files of an output in parts were shared out; None if they were not yet.

    Raises
    ------
    StoreError
        If that cannot be read.
    """
    path = folder / SHARES_NAME
    try:
        return Shares.from_json(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}, which says how the collection was shared out, cannot be read: {error}; "
            "remove it, and it is made anew"
        ) from None


def keep_shares(folder: AnyPath, shares: Shares) -> Shares:
    """Keep shares in an output, unless another run has kept its own by now; those that count.

    Raises
    ------
    StoreError
        If they cannot be written.
    """
    try:
        if isinstance(folder, Path):
            _write_shares(folder, shares)
        else:
            with suppress(FileExistsError):
                (folder / SHARES_NAME).write_new(shares.to_json())
    except OSError as error:
        raise StoreError(f"{folder / SHARES_NAME} cannot be written: {error.strerror}") from None
    return shares_in(folder) or shares


def _write_shares(folder: Path, shares: Shares) -> None:
    path = folder / SHARES_NAME
    new = folder / f".{SHARES_NAME}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        new.write_text(shares.to_json())
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        try:
            os.link(new, path)  # unlike a renaming, replaces nothing
        except OSError:
            if not path.exists():  # a file system without links
                os.replace(new, path)
        sync_folder(folder)
    finally:
        new.unlink(missing_ok=True)


def shares_for(folder: AnyPath, part: Part, sources: Iterable[Source], keep: bool = True) -> Shares:
    """How an output's files are shared out: as they were before, or now, and then kept.

    Parameters
    ----------
    sources : iterable of Source
        All files of the collection; looked at only where they were not shared out before.
    keep : bool
        Otherwise, what is made now is not kept.

    Raises
    ------
    UsageError
        If the output is in another number of parts than is asked for.
    """
    shares = shares_in(folder)
    if shares is None:
        shares = Shares.balanced(part.count, sources)
        shares = keep_shares(folder, shares) if keep else shares
    if shares.count != part.count:
        raise UsageError(
            f"{folder} is in {shares.count} parts, and --part {part} was asked for; give --part "
            f"K/{shares.count} (in a job array, $SLURM_ARRAY_TASK_ID/{shares.count}), or another -o"
        )
    return shares
