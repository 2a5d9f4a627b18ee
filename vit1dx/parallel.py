"""Work side by side in threads, its results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

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
