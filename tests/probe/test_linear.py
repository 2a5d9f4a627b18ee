"""Linear probes find what is linear, and only that; their fits are at the optimum."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, Ridge

from vit1dx.errors import UsageError
from vit1dx.probe import linear
from vit1dx.probe.linear import Whitening, _tag_loss, fit, sigmoid, softmax


def _correlated(n: int, dim: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Independent features, and the same mixed, of very different scales."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, dim)).astype(np.float32)
    scales = np.logspace(3, 1, dim, dtype=np.float32)
    turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
    return features, (features * scales) @ turn + 7


def _last(n: int, share: float = 0.2) -> np.ndarray:
    return (np.arange(n) >= (1 - share) * n)[None]


def test_whitened_features_are_uncorrelated() -> None:
    _, mixed = _correlated(2000)
    rows = Whitening.of(mixed)(mixed)
    np.testing.assert_allclose(rows.T @ rows / len(rows), np.eye(10), atol=0.02)


def test_classes_that_are_linear_are_found_and_others_not() -> None:
    features, mixed = _correlated(2000)
    rng = np.random.default_rng(1)
    classes = (features @ rng.standard_normal((10, 4))).argmax(axis=1)
    shuffled = rng.permutation(classes)
    for truth, least, most in ((classes, 0.95, 1.0), (shuffled, 0.0, 0.45)):
        probe = fit(mixed[:1200], truth[:1200], "classes", 4, _last(1200)).whole
        right = (probe.outputs(mixed[1200:]).argmax(axis=1) == truth[1200:]).mean()
        assert least <= right <= most
        assert probe.converged


def test_fits_are_where_scikit_learns_are(monkeypatch: pytest.MonkeyPatch) -> None:
    features, mixed = _correlated(600, 5)
    rng = np.random.default_rng(1)
    classes = (features @ rng.standard_normal((5, 3)) + rng.gumbel(size=(600, 3))).argmax(axis=1)
    monkeypatch.setattr(linear, "PENALTIES", (1e-3,))  # of which all three take the same
    probe = fit(mixed, classes, "classes", 3, _last(600)).whole
    rows = probe.whitening(mixed)
    theirs = LogisticRegression(C=1 / (2 * probe.penalty * 600), tol=1e-8, max_iter=1000)
    expected = theirs.fit(rows, classes).predict_proba(rows)
    np.testing.assert_allclose(softmax(probe.outputs(mixed)), expected, atol=2e-3)
    tag = (classes == 0).astype(np.float32)[:, None]
    alone = fit(mixed, np.hstack([tag, 1 - tag]), "tags", 2, _last(600)).whole
    rows = alone.whitening(mixed)
    expected = theirs.fit(rows, tag[:, 0]).predict_proba(rows)
    np.testing.assert_allclose(sigmoid(alone.outputs(mixed))[:, 0], expected[:, 1], atol=2e-3)
    number = (features @ rng.standard_normal((5, 1))).astype(np.float32)
    ridge = fit(mixed, number, "numbers", 1, _last(600)).whole
    rows = ridge.whitening(mixed)
    expected = Ridge(alpha=ridge.penalty * 600).fit(rows, number).predict(rows)
    np.testing.assert_allclose(ridge.outputs(mixed), expected.reshape(-1, 1), atol=2e-3)


def test_a_fit_that_may_not_finish_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    features, mixed = _correlated(500)
    classes = (features[:, 0] > 0).astype(int)
    monkeypatch.setattr(linear, "MOST_ITERATIONS", 1)
    assert not fit(mixed, classes, "classes", 2, _last(500)).whole.converged


def test_a_class_that_no_row_has_is_never_found_and_disturbs_nothing() -> None:
    features, mixed = _correlated(600)
    classes = 2 * (features[:, 0] > 0)
    probe = fit(mixed, classes, "classes", 3, _last(600)).whole
    assert set(probe.outputs(mixed).argmax(axis=1)) == {0, 2}
    assert probe.converged


def test_fewer_tracks_than_features_do_not_break_it() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((20, 100)).astype(np.float32)
    classes = np.arange(20) % 2
    features[:, 0] += 6 * classes
    probe = fit(features, classes, "classes", 2, _last(20)).whole
    other = rng.standard_normal((40, 100)).astype(np.float32)
    other[:, 0] += 6 * (np.arange(40) % 2)
    assert np.isfinite(probe.outputs(other)).all()


def test_there_must_be_rows_on_both_sides() -> None:
    with pytest.raises(UsageError, match="10 examples to fit on and 0 to choose on"):
        fit(np.zeros((10, 2)), np.zeros(10, int), "classes", 2, np.zeros((1, 10), bool))


def test_loss_of_tags_counts_what_quiet_outputs_add() -> None:
    """Most pitches are silent at any time: thousands of faint losses, each below 1e-6, add up."""
    rng = np.random.default_rng(0)
    logits = rng.normal(-14, 3, (2000, 80)).astype(np.float32)
    logits[0, :3] = -200, 0, 200
    target = (rng.uniform(size=logits.shape) < 0.01).astype(np.float32)
    value, slope = _tag_loss(logits, target)
    wide = logits.astype(np.float64)
    expected = np.logaddexp(0, wide) - target * wide
    assert value == pytest.approx(expected.sum() / len(logits), rel=1e-6)
    np.testing.assert_allclose(slope * len(logits), expit(wide) - target, atol=1e-7)
    quiet, _ = _tag_loss(logits[1:], np.zeros_like(logits[1:]))
    assert quiet == pytest.approx(np.logaddexp(0, wide[1:]).sum() / 1999, rel=1e-6)
