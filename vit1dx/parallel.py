"""The cores that may be used, and work side by side on them."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

_CGROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Cores by affinity and by the control group's share of time; at least one."""
    return max(1, math.ceil(min(_by_affinity(), _quota())))


def cores() -> dict[str, Any]:
    """Cores that are ``usable``, and why: ``there``, by ``affinity``, and ``quota`` (or None)."""
    quota = _quota()
    return {
        "usable": usable_cores(),
        "there": os.cpu_count(),
        "affinity": _by_affinity(),
        "quota": None if math.isinf(quota) else quota,
    }


def _by_affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """Map a function over items in so many threads, while the caller makes the next items.

    Parameters
    ----------
    function : callable
        Should leave Python's lock most of the time; its errors are the caller's.
    items : iterable
        Taken one more than there are threads ahead of the results, and no further.
    threads : int
        One is the caller's own.

    Yields
    ------
    The function of each item, in order.
    """
    if threads == 1:
        yield from map(function, items)
        return
    ahead: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                ahead.append(pool.submit(function, item))
                if len(ahead) > threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
