"""Linear probes: logistic regressions on whitened features, fitted until they converge.

400 steps of AdamW on standardised tokens stop 20 points short of that, and rank features wrongly:
the features of a transformer are that correlated. L-BFGS on whitened ones converges in seconds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
ITERATIONS = 60
TUNING_ROWS = 6_000
EXCLUDED = -1  # a class that no probe is fitted or scored on


class Whitening:
    """Decorrelates and scales features as those that it was made of, and adds a constant one.

    Parameters
    ----------
    features : (n, dim) array
    """

    def __init__(self, features: np.ndarray) -> None:
        rows = torch.from_numpy(features)
        self._centre = rows.mean(0)
        centred = rows - self._centre
        basis, variance, _ = torch.linalg.svd((centred.T @ centred / len(rows)).double())
        self._turn = (basis / (variance + 1e-6 * variance[0] + 1e-12).sqrt()).float()

    def __call__(self, features: np.ndarray) -> Tensor:
        """Whitened features, (n, dim + 1)."""
        rows = (torch.from_numpy(features) - self._centre) @ self._turn
        return F.pad(rows, (0, 1), value=1.0)


class Probe:
    """A linear map from features to logits.

    Parameters
    ----------
    whitening : Whitening
    weights : (dim + 1, outputs) tensor
    """

    def __init__(self, whitening: Whitening, weights: Tensor) -> None:
        self._whitening, self._weights = whitening, weights

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Logits, (n, outputs), of features (n, dim)."""
        return np.asarray((self._whitening(features) @ self._weights).numpy())

    def classes(self, features: np.ndarray) -> np.ndarray:
        """The likeliest class, (n,)."""
        return self.logits(features).argmax(1)


def fit_classes(features: np.ndarray, truth: np.ndarray, n_classes: int) -> Probe:
    """Fit a multinomial regression.

    Parameters
    ----------
    features : (n, dim) float32 array
        In the order of the songs: the penalty is chosen on the last fifth, which are others.
    truth : (n,) int array
        Classes; `EXCLUDED` ones are left out.
    n_classes : int
    """
    known = truth != EXCLUDED
    target = torch.from_numpy(truth[known].astype(np.int64))
    return _fit(features[known], target, n_classes, F.cross_entropy)


def fit_tags(features: np.ndarray, truth: np.ndarray) -> Probe:
    """Fit one logistic regression for each column of truth, (n, outputs) of 0 to 1."""
    target = torch.from_numpy(truth.astype(np.float32))
    return _fit(features, target, truth.shape[1], _tag_loss)


Loss = Callable[[Tensor, Tensor], Tensor]


def _tag_loss(logits: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, target) * target.shape[1]


def _fit(features: np.ndarray, target: Tensor, outputs: int, loss: Loss) -> Probe:
    whitening = Whitening(features)
    rows = whitening(features)
    penalty = _best_penalty(rows, target, outputs, loss)
    return Probe(whitening, _regression(rows, target, outputs, loss, penalty))


def _best_penalty(rows: Tensor, target: Tensor, outputs: int, loss: Loss) -> float:
    part = 4 * len(rows) // 5
    step = max(1, len(rows) // TUNING_ROWS)
    # What has few rows to fit wants a heavier penalty: the same in all, not in each row.
    penalties = [p * max(1.0, TUNING_ROWS / len(rows)) for p in PENALTIES]

    def held_out(penalty: float) -> float:
        weights = _regression(rows[:part:step], target[:part:step], outputs, loss, penalty)
        return float(loss(rows[part::step] @ weights, target[part::step]))

    return min(penalties, key=held_out)


def _regression(rows: Tensor, target: Tensor, outputs: int, loss: Loss, penalty: float) -> Tensor:
    weights = torch.zeros(rows.shape[1], outputs, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(rows @ weights, target) + penalty * weights[:-1].square().sum()
        torch.autograd.backward(value)
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach()
