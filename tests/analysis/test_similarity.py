"""Similarity: by hand, against librosa, and by what must hold whatever the tokens."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from vit1dx.analysis.similarity import (
    boundaries,
    layer_likeness,
    layer_novelty,
    layer_similarity,
    linear_cka,
    novelty,
    recurrence,
    self_similarity,
    time_lag,
)
from vit1dx.errors import UsageError

from .tracks import RATE, track

RNG = np.random.default_rng(0)


def test_self_similarity_by_hand() -> None:
    found = self_similarity(np.array([[1.0, 0], [-1, 0], [0, 2], [0, -2]]))
    expected = [[1, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 1, -1], [0, 0, -1, 1]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_self_similarity_is_symmetric_and_blind_to_offset_and_scale() -> None:
    features = RNG.standard_normal((50, 6))
    found = self_similarity(features)
    np.testing.assert_allclose(found, found.T)
    np.testing.assert_allclose(np.diag(found), 1, atol=1e-6)
    assert np.abs(found).max() <= 1
    np.testing.assert_allclose(self_similarity(3 * features + 100), found, atol=1e-5)
    assert not self_similarity(np.ones((4, 3))).any()  # nothing changes: no direction


def test_time_lag_has_repetitions_as_rows() -> None:
    similarity = self_similarity(np.tile(RNG.standard_normal((5, 4)), (3, 1)))
    lagged = time_lag(similarity)
    np.testing.assert_allclose(lagged[0], 1, atol=1e-6)
    np.testing.assert_allclose(lagged[5, 5:], 1, atol=1e-6)
    assert np.isnan(lagged[5, :5]).all()
    assert lagged[3, 7] == similarity[7, 4]


def test_recurrence_is_librosas() -> None:
    features = RNG.standard_normal((40, 5))
    centred = (features - features.mean(0)).T
    # By distance: with mode="connectivity", librosa 0.11 keeps any k of the k + 2 * width nearest.
    expected = librosa.segment.recurrence_matrix(
        centred, k=4, width=2, metric="cosine", mode="distance", sparse=False
    )
    found = recurrence(self_similarity(features), k=4, width=2)
    np.testing.assert_array_equal(found, expected.T > 0)
    assert (recurrence(self_similarity(features)).sum(1) == 14).all()


@pytest.mark.parametrize("half", [3, 8])
def test_novelty_is_the_checkerboard_along_the_diagonal(half: int) -> None:
    similarity = self_similarity(RNG.standard_normal((30, 4)))
    offsets = np.arange(-half, half) + 0.5
    taper = np.exp(-2 * (offsets / half) ** 2)
    kernel = np.outer(np.sign(offsets) * taper, np.sign(offsets) * taper)
    padded = np.pad(similarity, half, mode="symmetric")
    expected = [
        (padded[i : i + 2 * half, i : i + 2 * half] * kernel).sum() / np.abs(kernel).sum()
        for i in range(30)
    ]
    np.testing.assert_allclose(novelty(similarity, half), expected, atol=1e-5)


def test_novelty_peaks_between_sections_and_not_at_the_ends() -> None:
    sections = np.repeat(RNG.standard_normal((3, 8)), (50, 70, 40), axis=0)
    time = np.arange(160) * 0.5
    similarity = self_similarity(sections + 0.01 * RNG.standard_normal((160, 8)))
    curve = layer_novelty(similarity, time)
    assert curve[0] == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(boundaries(curve, time), [24.75, 59.75])
    opposite = self_similarity(np.repeat([[1.0], [-1.0]], 10, axis=0))
    assert novelty(opposite, 4)[10] == pytest.approx(1, abs=1e-5)


def test_cka_is_blind_to_rotation_scale_and_offset() -> None:
    one = RNG.standard_normal((300, 10))
    rotation = np.linalg.qr(RNG.standard_normal((10, 10)))[0]
    assert linear_cka(one, one) == pytest.approx(1)
    assert linear_cka(one, 5 * one @ rotation + 3) == pytest.approx(1)
    assert linear_cka(one, RNG.standard_normal((300, 10))) < 0.2
    assert linear_cka(one, np.ones((300, 3))) == 0


def test_cka_is_hsics_of_centred_grams() -> None:
    x, y = RNG.standard_normal((20, 3)), RNG.standard_normal((20, 5))
    centring = np.eye(20) - 1 / 20
    grams = [centring @ a @ a.T @ centring for a in (x, y)]
    norms = np.linalg.norm(grams[0]) * np.linalg.norm(grams[1])
    assert linear_cka(x, y) == pytest.approx((grams[0] * grams[1]).sum() / norms)


def test_layers_of_a_track_are_pooled_to_a_bound() -> None:
    whole = track(n=200)
    similarity, time = layer_similarity(whole, 2, most=60)
    assert similarity.shape == (50, 50)
    tokens = whole.sequence_tokens[1].reshape(50, 4, 8).mean(1)
    np.testing.assert_allclose(similarity, self_similarity(tokens), atol=1e-5)
    np.testing.assert_allclose(time, (np.arange(50) * 4 + 1.5) / RATE)


def test_a_part_of_a_track_is_that_part() -> None:
    whole = track(n=200)
    similarity, time = layer_similarity(whole, 1, start=1.0, stop=2.0)
    frames = (whole.time >= 1) & (whole.time < 2)
    np.testing.assert_allclose(time, whole.time[frames])
    expected = self_similarity(whole.sequence_tokens[0, frames])
    np.testing.assert_allclose(similarity, expected, atol=1e-5)


def test_likeness_of_layers_is_symmetric_with_one_on_the_diagonal() -> None:
    found = layer_likeness(track(layers=(1, 2, 5)), (1, 2, 5))
    np.testing.assert_allclose(found, found.T)
    np.testing.assert_allclose(np.diag(found), 1)


def test_half_precision_gives_the_same_within_it() -> None:
    exact, _ = layer_similarity(track(), 1)
    rough, _ = layer_similarity(track(dtype="float16"), 1)
    assert rough.dtype == np.float32
    np.testing.assert_allclose(rough, exact, atol=5e-3)


@pytest.mark.parametrize(
    ("start", "stop", "words"),
    [
        (2.0, 2.0, "from 2 to 2 s; the start must be 0 or more and come before the end"),
        (3.0, 1.0, "from 3 to 1 s"),
        (99.0, None, "from 99 s; the track is 6.40 s long"),
        (1.001, 1.002, "no token from 1.001 to 1.002 s"),
    ],
)
def test_a_part_that_is_none_is_refused(start: float, stop: float | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        layer_similarity(track(), 1, start=start, stop=stop)
