"""Arrays between processes: the same at the other end, and not overwritten while they are read."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from vit1dx._types import Array
from vit1dx.run.channel import Arena, Channel, ChannelClosed

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
        shared = [worker.share(array) for array in ARRAYS[:count]]
        worker.send({"event": "part", "n": count}, [*shared, *ARRAYS])
        message, arrays = run.receive()
        assert message == {"event": "part", "n": count}
        same(arrays, [*ARRAYS[:count], *ARRAYS])
        run.release()


def test_arrays_stay_until_they_are_released(ends: Ends) -> None:
    """The next ones are larger, and may not be written over those in use."""
    worker, run = ends
    first, second = np.ones(1000, np.float32), np.full(2_000_000, 2, np.float32)

    def send(array: Array) -> None:
        worker.send({}, [worker.share(array)])

    send(first)
    _, held = run.receive()
    sending = threading.Thread(target=send, args=(second,))
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
        worker.send({"event": "done"}, [worker.share(array) for array in ARRAYS])
        same(run.receive()[1], ARRAYS)
        if number % 2:  # the next job comes before its last arrays are written
            run.send({"do": number})
        run.release()
        run.release()  # once is enough
        if not number % 2:
            run.send({"do": number})
        assert worker.receive() == ({"do": number}, [])


def test_what_is_filled_in_place_is_sent_without_a_copy(ends: Ends) -> None:
    worker, run = ends
    made = [worker.empty((2, 3), np.dtype(np.float32)) for _ in range(2)]
    for number, array in enumerate(made):
        array[...] = number
        np.testing.assert_array_equal(worker.share(array), array)
    worker.send({}, made)
    same(run.receive()[1], made)
    run.release()


def test_the_end_of_the_other_side(ends: Ends) -> None:
    worker, run = ends
    worker.send({}, [worker.share(array) for array in ARRAYS])
    _, arrays = run.receive()
    worker.close()
    with pytest.raises(ChannelClosed):
        run.receive()
    same(arrays, ARRAYS)


def test_what_was_shared_and_not_sent_is_forgotten(ends: Ends) -> None:
    """A track that ends halfway leaves nothing behind, and takes no room for ever."""
    worker, run = ends
    for number in range(5):
        worker.share(np.full(100, number))
        worker.discard()
        kept = [worker.share(np.full(3, number)), worker.share(np.full(2, -number))]
        worker.send({}, kept)
        same(run.receive()[1], [np.full(3, number), np.full(2, -number)])
        run.release()


def test_memory_that_is_not_to_be_had_costs_time_and_no_arrays() -> None:
    """RLIMIT_FSIZE bounds shared memory too; what does not fit goes through the socket."""
    resource = pytest.importorskip("resource")
    shared = Arena.new()
    if shared is None:
        pytest.skip("no shared memory by descriptor on this system")
    one, other = socket.socketpair()
    worker, run = Channel(one, Arena(os.dup(shared.fileno()))), Channel(other, shared)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    arrays = [np.arange(100), np.arange(5000), np.arange(10)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        worker.send({}, [worker.share(array) for array in arrays])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    same(run.receive()[1], arrays)
    worker.close()
    run.close()
