"""Files in batches for the workers of a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from vit1dx.run.batches import BATCH_FILES, BATCH_SECONDS, Batches
from vit1dx.run.parts import FILE_SECONDS
from vit1dx.run.sources import Source


def _cut(seconds: list[float], workers: int = 1) -> list[list[float]]:
    sources = [Source(str(index), Path(str(index))) for index in range(len(seconds))]
    by_id = {str(index): value for index, value in enumerate(seconds)}
    batches = list(Batches(sources, by_id, lambda: workers))
    assert sorted(s.id for batch in batches for s in batch) == sorted(by_id)  # each once
    return [[by_id[source.id] for source in batch] for batch in batches]


def _cost(batch: list[float]) -> float:
    return sum(batch) + FILE_SECONDS * len(batch)


@pytest.mark.parametrize("seconds", [1.0, 30.0, 240.0, 1200.0])
def test_batches_are_of_one_size_until_the_end_is_near(seconds: float) -> None:
    batches = _cut([seconds] * 20_000, workers=8)
    assert max(map(_cost, batches)) <= BATCH_SECONDS
    assert max(map(len, batches)) <= BATCH_FILES
    full = min(BATCH_FILES, BATCH_SECONDS // (seconds + FILE_SECONDS))
    assert [len(batch) for batch in batches[:10]] == [full] * 10
    sizes = [len(batch) for batch in batches]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-8:] == [1] * 8  # so that eight workers end together


def test_what_is_long_comes_first_and_alone() -> None:
    batches = _cut([10.0, 7200.0, 10.0, 2000.0, 36_000.0, 10.0])
    assert batches[:3] == [[36_000.0], [7200.0], [2000.0]]


def test_a_few_files_go_to_as_many_workers() -> None:
    assert _cut([60.0] * 8, workers=8) == [[60.0]] * 8


def test_nothing_makes_no_batch_and_no_workers_yet_is_no_error() -> None:
    assert _cut([]) == []
    assert _cut([0.0, 1.0], workers=0) == [[0.0], [1.0]]
