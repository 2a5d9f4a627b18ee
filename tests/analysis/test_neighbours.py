"""Nearest vectors: all of a sorted list of cosines, however the matrix comes."""

from __future__ import annotations

import numpy as np
import pytest

from vit1dx.analysis import neighbours
from vit1dx.analysis.neighbours import Nearest, nearest
from vit1dx.errors import UsageError


def _oracle(matrix: np.ndarray, query: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(matrix, axis=1) * np.linalg.norm(query)
    return matrix.astype("f8") @ query / np.where(norms > 0, norms, 1)


@pytest.mark.parametrize("block", [1, 7, 10_000])
@pytest.mark.parametrize("n", [1, 10, 500])
def test_as_a_sorted_list_of_cosines(block: int, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 64)
    generator = np.random.default_rng(0)
    matrix = generator.standard_normal((300, 12), np.float32) * 10
    query = generator.standard_normal(12)
    found = Nearest(query, n)
    for first in range(0, 300, block):
        found.add(matrix[first : first + block])
    expected = _oracle(matrix, query)
    assert found.rows.tolist() == np.argsort(-expected, kind="stable")[:n].tolist()
    np.testing.assert_allclose(found.similarity, np.sort(expected)[::-1][:n], atol=1e-6)
    rows, similarity = nearest(matrix, query, n)
    np.testing.assert_array_equal(rows, found.rows)
    np.testing.assert_array_equal(similarity, found.similarity)


def test_equals_stay_in_their_order() -> None:
    matrix = np.tile(np.random.default_rng(0).standard_normal((1, 192), np.float32), (20_001, 1))
    rows, similarity = nearest(matrix, matrix[0], 20_001)
    assert rows.tolist() == list(range(20_001))
    assert set(similarity.tolist()) == {similarity[0]}
    assert similarity[0] == pytest.approx(1)
    assert similarity[0] <= 1


def test_zeros_are_like_nothing() -> None:
    matrix = np.array([[0.0, 0], [1, 1], [-1, -1]])
    assert nearest(matrix, np.ones(2))[1].tolist() == pytest.approx([1, 0, -1])
    assert nearest(matrix, np.zeros(2))[1].tolist() == [0, 0, 0]
    assert nearest(np.empty((0, 2)), np.ones(2))[0].shape == (0,)


def test_queries_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="n 0"):
        nearest(np.ones((2, 2)), np.ones(2), 0)
    for query in (np.ones((2, 2)), np.array([1, np.nan])):
        with pytest.raises(UsageError, match="a vector of numbers"):
            nearest(np.ones((2, 2)), query)
