"""Arrays between processes: the same at the other end, and not overwritten while they are read."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from vit1dx.arena import Arena
from vit1dx.arrays import Array
from vit1dx.channel import Channel, ChannelClosed

Ends = tuple[Channel, Channel]

ARRAYS: list[Array] = [
    np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),
    np.zeros((3, 0), np.float64),
    np.array(7, np.int8),
    np.arange(5, dtype=np.uint16)[::2],
]


@pytest.fixture(params=["arena", "socket"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    one, other = socket.socketpair()
    shared = Arena.new() if request.param == "arena" else None
    if request.param == "arena" and shared is None:
        pytest.skip("no shared memory by descriptor on this system")
    worker, run = Channel(one, shared and Arena(os.dup(shared.fileno()))), Channel(other, shared)
    yield worker, run
    worker.close()
    run.close()


def same(found: list[Array], expected: list[Array]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_messages_and_arrays_arrive_as_they_were(ends: Ends) -> None:
    worker, run = ends
    run.send({"do": "extract"})
    assert worker.receive() == ({"do": "extract"}, [])
    for count in range(len(ARRAYS) + 1):
        worker.send({"event": "part", "n": count}, ARRAYS[:count])
        message, arrays = run.receive()
        assert message == {"event": "part", "n": count}
        same(arrays, ARRAYS[:count])
        run.release()


def test_arrays_stay_until_they_are_released(ends: Ends) -> None:
    """The next ones are larger, and may not be laid over those that are still looked at."""
    worker, run = ends
    first, second = np.ones(1000, np.float32), np.full(2_000_000, 2, np.float32)
    worker.send({}, [first])
    _, held = run.receive()
    sending = threading.Thread(target=worker.send, args=({}, [second]))
    sending.start()
    sending.join(0.05)
    same(held, [first])
    run.release()
    _, arrays = run.receive()
    sending.join()
    same(arrays, [second])


def test_jobs_come_through_beside_releases(ends: Ends) -> None:
    worker, run = ends
    for number in range(4):
        worker.send({"event": "done"}, ARRAYS)
        run.receive()
        if number % 2:  # the next job comes before its last arrays are written
            run.send({"do": number})
        run.release()
        run.release()  # once is enough
        if not number % 2:
            run.send({"do": number})
        assert worker.receive() == ({"do": number}, [])


def test_the_end_of_the_other_side(ends: Ends) -> None:
    worker, run = ends
    worker.send({}, ARRAYS)
    _, arrays = run.receive()
    worker.close()
    with pytest.raises(ChannelClosed):
        run.receive()
    same(arrays, ARRAYS)
