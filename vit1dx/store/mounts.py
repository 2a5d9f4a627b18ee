"""What a file system is, by the table of mounts (Linux)."""

from __future__ import annotations

import os
import re
from pathlib import Path

#: File systems that pass flock on to other hosts: always, or by an option of the mount.
SHARED_LOCKS = {
    "nfs": "local_lock=none",
    "nfs4": "local_lock=none",
    "lustre": "flock",
    "ceph": "",
}


def locks_reach_other_hosts(path: Path, table: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether a lock on a file keeps processes of other hosts off too, by the file system's word.

    Parameters
    ----------
    path : Path
    table : Path
        As Linux has it (proc_pid_mountinfo(5)); nothing is known where there is none.
    """
    try:
        mounts = [_parse(line) for line in table.read_text().splitlines()]
    except OSError:
        return False
    place = Path(os.path.realpath(path))
    above = [mount for mount in mounts if place.is_relative_to(mount[0])]
    if not above:
        return False
    # The longest, and of several mounted there the last, which hides the others.
    _, kind, options = max(enumerate(above), key=lambda at: (len(at[1][0]), at[0]))[1]
    needed = SHARED_LOCKS.get(kind)
    return needed is not None and (not needed or needed in options)


def _parse(line: str) -> tuple[str, str, list[str]]:
    """Where something is mounted, its kind, and its options."""
    mount, _, system = line.partition(" - ")
    kind, _, options = system.split(" ", 2)
    return _unescaped(mount.split(" ")[4]), kind, options.split(",")


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
