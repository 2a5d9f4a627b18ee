"""Room on the disk, watched while a run writes whose size could only be guessed."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from ..whole import resolved
from .estimate import format_bytes
from .signals import Stopped

#: Bytes left free, for what a commit writes besides: groups, tables and its journal.
LEFT_FREE = 8 << 20


class NoRoom(Stopped):
    """A run ends because the disk is full, or nearly so."""


class Room:
    """What is left on a disk, for a run over files of which some do not say how long they are.

    Parameters
    ----------
    output : Path
    guessed : collection of str
        Ids of those files; where there are none, nothing is watched.
    """

    def __init__(self, output: Path, guessed: Collection[str]) -> None:
        self._home = output if output.is_dir() else resolved(output).parent
        self._guessed = sorted(guessed)

    def require(self, track_id: str, size: int) -> None:
        """Raise `NoRoom` unless so many bytes more of a track can be written."""
        if not self._guessed:
            return
        with suppress(OSError):  # what cannot be asked will be found out by writing
            free = shutil.disk_usage(self._home).free
            if free < size + LEFT_FREE:
                raise NoRoom(
                    f"no room left at {self._home} for {track_id} ({format_bytes(free)} free; "
                    f"{self._unknown()} not known beforehand)"
                )

    def _unknown(self) -> str:
        first, *others = self._guessed
        if not others:
            return f"the length of {first} was"
        return f"the length of {len(self._guessed)} files, such as {first}, was"
