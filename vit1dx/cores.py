"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Cores by affinity and by the control group's share of time; at least one."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota())))


def _quota() -> float:
    """Cores' worth of time that the control groups above this process leave it."""
    try:
        own = Path("/proc/self/cgroup").read_text().strip().rpartition(":")[2].strip("/")
    except OSError:
        return math.inf
    folder = _CGROUPS / own
    return min(map(_quota_of, (folder, *folder.parents, _CGROUPS / "cpu")))


def _quota_of(folder: Path) -> float:
    """A group's own quota: version 2 keeps it in one file, version 1 in two."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = ((folder / name).read_text() for name in names)
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
