"""Parts of a stream of frames that overlap: each whole, and little held."""

from __future__ import annotations

import numpy as np
import pytest

from vit1dx.audio.tape import FrameTape


@pytest.mark.parametrize(
    "spans",
    [
        [(0, 10), (10, 20)],
        [(3, 40), (3, 5), (4, 60), (50, 70)],
        [(0, None), (2, 4), (90, None)],
        [(20, 30), (80, 200), (99, 101), (100, 110)],
        [(5, 5), (6, 7)],
    ],
)
@pytest.mark.parametrize("size", [1, 7, 100])
def test_each_part_is_what_a_slice_of_all_frames_is(
    spans: list[tuple[int, int | None]], size: int
) -> None:
    frames = np.arange(100)[:, None]
    tape = FrameTape((frames[i : i + size] for i in range(0, 100, size)), spans)
    for number, (first, end) in enumerate(spans):
        parts = [np.empty((0, 1), int), *tape.part(number)]
        np.testing.assert_array_equal(np.concatenate(parts), frames[first:end])


def test_it_reads_no_further_and_holds_no_more_than_it_must() -> None:
    read = []

    def frames() -> object:
        for number in range(1000):
            read.append(number)
            yield np.full((10, 1), number)

    tape = FrameTape(frames(), [(0, 5000), (40, 60)])  # type: ignore[arg-type]
    most = 0
    for _ in tape.part(0):
        most = max(most, len(tape._blocks))
    assert (most, read[-1]) == (3, 499)
    assert len(list(tape.part(1))) == 2
    assert read[-1] == 499
