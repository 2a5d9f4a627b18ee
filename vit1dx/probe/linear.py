"""Linear probes: regressions on whitened features, fitted until they converge.

Tokens of a transformer are strongly correlated: gradient steps on standardised ones stop far short
of the optimum, and rank layers wrongly. L-BFGS on whitened ones is there in some ten iterations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
from scipy.optimize import minimize

from .._types import Array
from ..errors import UsageError

#: What a probe's outputs are: logits of exclusive classes, of tags each on its own, or a number.
Kind: TypeAlias = Literal["classes", "tags", "numbers"]
#: Strengths of the L2 penalty that are tried, for `TUNING_ROWS` rows and more; for fewer, times as
#: much as there are fewer.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
#: Rows that the penalty is chosen on, at most.
TUNING_ROWS = 6_000
MOST_ITERATIONS = 400
#: Converged: no derivative of the loss is larger, or by as much as float32 rounds.
GRADIENT = 1e-5
ROUNDING = 10
#: Directions of less variance, of the largest, are scaled by no more.
LEAST_VARIANCE = 1e-6
#: Of few rows, directions of little variance are mostly noise: the best of these is chosen too.
SHRINKAGES = (LEAST_VARIANCE, 1e-2, 1.0)
FEW_ROWS = 3_000

#: Bias of a class that no row to fit on has: it is never found.
ABSENT = -1e3

#: Loss of logits (n, outputs) against targets, and its derivative by them.
_Loss: TypeAlias = Callable[[Array, Array], tuple[float, Array]]


@dataclass(frozen=True)
class Whitening:
    """Standardisation: features less their mean, decorrelated, each direction of unit variance.

    Attributes
    ----------
    centre : (dim,) float32 array
    turn : (dim, dim) float32 array
        To right-multiply by.
    """

    centre: Array
    turn: Array

    @classmethod
    def of(cls, features: Array, least_variance: float = LEAST_VARIANCE) -> Whitening:
        """That of (n, dim) features; variances are taken for more by a share of the largest."""
        centre = features.mean(axis=0, dtype=np.float64)
        centred = features - centre.astype(np.float32)
        variance, basis = np.linalg.eigh((centred.T @ centred / len(features)).astype(np.float64))
        least = least_variance * variance[-1] + 1e-12
        turn = basis / np.sqrt(np.maximum(variance, 0) + least)
        return cls(centre.astype(np.float32), turn.astype(np.float32))

    def __call__(self, features: Array) -> Array:
        """Whitened features, (n, dim) float32."""
        return np.asarray((features - self.centre) @ self.turn, dtype=np.float32)


@dataclass(frozen=True)
class Probe:
    """A linear map from features to outputs.

    Attributes
    ----------
    whitening : Whitening
    weights : (dim + 1, outputs) float32 array
        The last row is the bias.
    penalty : float
        Of the squared weights, beside the mean loss.
    iterations : int
        That the fit took; 0 where there is a closed form.
    converged : bool
    """

    whitening: Whitening
    weights: Array
    penalty: float
    iterations: int
    converged: bool

    def outputs(self, features: Array) -> Array:
        """Logits, or numbers, (n, outputs), of features (n, dim)."""
        return np.asarray(self.whitening(features) @ self.weights[:-1] + self.weights[-1])


@dataclass(frozen=True)
class Fitted:
    """Probes of the same rows.

    Attributes
    ----------
    inner : list of Probe
        Each fitted without some rows held out, for choices made on these.
    whole : Probe
        Fitted on all rows, with the penalty that did best on those held out.
    """

    inner: list[Probe]
    whole: Probe

    @property
    def probes(self) -> list[Probe]:
        """All of them."""
        return [*self.inner, self.whole]


def fit(features: Array, target: Array, kind: Kind, outputs: int, held_out: Array) -> Fitted:
    """Fit a probe, its penalty chosen on rows held out.

    Parameters
    ----------
    features : (n, dim) array
    target : array
        Classes (n,) of int; tags (n, outputs) of 0 to 1; numbers (n, outputs).
    kind : {"classes", "tags", "numbers"}
    outputs : int
    held_out : (k, n) bool array
        Rows of groups that are kept from each of the fits of `Fitted.inner`.

    Raises
    ------
    UsageError
        If there are none to fit on, or none to choose on.
    """
    for part in held_out:
        if not part.any() or part.all():
            raise UsageError(
                f"{int((~part).sum())} examples to fit on and {int(part.sum())} to choose on; "
                "label more tracks"
            )
    features = np.asarray(features, np.float32)
    regress = partial(_regression, kind=kind, outputs=outputs)
    # What has few rows to fit wants a heavier penalty: the same in all, not in each row.
    scale = max(1.0, TUNING_ROWS / len(features))
    penalties = [scale * penalty for penalty in sorted(PENALTIES, reverse=True)]
    best: tuple[float, Whitening, list[_Try]] | None = None
    for shrinkage in SHRINKAGES if len(features) < FEW_ROWS else SHRINKAGES[:1]:
        whitening = Whitening.of(features, shrinkage)
        rows = whitening(features)
        tried = [_tried(penalties, rows, target, part, kind, regress) for part in held_out]
        together = [_together(each) for each in zip(*tried, strict=True)]
        loss, penalty = min((each.loss, each.penalty) for each in together)
        if best is None or loss < best[0]:
            starts = [next(t for t in each if t.penalty == penalty) for each in tried]
            best = loss, whitening, starts
    assert best is not None
    return _refitted(features, target, held_out, best[1], best[2], regress)


@dataclass(frozen=True)
class _Try:
    """A penalty, the loss on rows held out that it gives, and the weights."""

    penalty: float
    loss: float
    weights: Array


def _together(tries: Sequence[_Try]) -> _Try:
    """One penalty, its loss over all turns."""
    return _Try(tries[0].penalty, sum(each.loss for each in tries), tries[0].weights)


def _refitted(
    features: Array,
    target: Array,
    held_out: Array,
    whitening: Whitening,
    starts: list[_Try],
    regress: Callable[..., _Regression],
) -> Fitted:
    """Probes of all rows, and of those that are not held out, from weights that are near."""
    rows, penalty = whitening(features), starts[0].penalty
    inner = [
        regress(rows[~part], target[~part], penalty=penalty, start=start.weights)
        for part, start in zip(held_out, starts, strict=True)
    ]
    whole = regress(rows, target, penalty=penalty, start=inner[0][0])
    return Fitted([Probe(whitening, *each) for each in inner], Probe(whitening, *whole))


#: Weights, penalty, iterations, and whether they converged.
_Regression: TypeAlias = tuple[Array, float, int, bool]


def _tried(
    penalties: list[float],
    rows: Array,
    target: Array,
    held_out: Array,
    kind: Kind,
    regress: Callable[..., _Regression],
) -> list[_Try]:
    """The loss on rows held out that each penalty gives, heaviest first."""
    step = max(1, len(rows) // TUNING_ROWS)
    fitted, other = np.flatnonzero(~held_out)[::step], np.flatnonzero(held_out)[::step]
    if kind == "classes":  # of what was never met no penalty makes better or worse
        met = np.isin(target[other], target[fitted])
        other = other[met] if met.any() else other
    tried: list[_Try] = []
    weights = None
    for penalty in penalties:
        weights = regress(rows[fitted], target[fitted], penalty=penalty, start=weights)[0]
        loss = _LOSSES[kind](rows[other] @ weights[:-1] + weights[-1], target[other])[0]
        tried.append(_Try(penalty, loss, weights))
    return tried


def _regression(
    rows: Array,
    target: Array,
    *,
    penalty: float,
    kind: Kind,
    outputs: int,
    start: Array | None = None,
) -> _Regression:
    """Fit weights, from some that may be near."""
    if kind == "numbers":
        return _ridge(rows, target, penalty)
    shape = rows.shape[1] + 1, outputs
    loss = _LOSSES[kind]
    weights = np.zeros(shape) if start is None else start.astype(np.float64)
    weights[-1, weights[-1] <= ABSENT] = 0
    # A bias is not penalised, and that of a class without rows would fall for ever.
    absent = np.setdiff1d(np.arange(outputs), target) if kind == "classes" else np.arange(0)
    weights[:, absent] = 0
    weights[-1, absent] = ABSENT

    def objective(flat: Array) -> tuple[float, Array]:
        weights = flat.reshape(shape).astype(np.float32)
        value, slope = loss(rows @ weights[:-1] + weights[-1], target)
        gradient = np.empty(shape)
        gradient[:-1] = rows.T @ slope + 2 * penalty * weights[:-1]
        gradient[-1] = slope.sum(axis=0)
        return value + penalty * float(np.square(weights[:-1]).sum()), gradient.ravel()

    found = minimize(
        objective,
        weights.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={
            "maxiter": MOST_ITERATIONS,
            "maxfun": 2 * MOST_ITERATIONS,
            "gtol": GRADIENT,
            "ftol": 1e-10,
        },
    )
    converged = bool(np.abs(found.jac).max() <= ROUNDING * GRADIENT)
    return found.x.reshape(shape).astype(np.float32), penalty, int(found.nit), converged


def _ridge(rows: Array, target: Array, penalty: float) -> _Regression:
    """Ridge regression in closed form; targets have about unit variance."""
    mean, centre = target.mean(axis=0), rows.mean(axis=0, dtype=np.float64)
    centred = rows - centre
    covariance = centred.T @ centred / len(rows) + penalty * np.eye(rows.shape[1])
    weights = np.linalg.solve(covariance, centred.T @ (target - mean) / len(rows))
    return np.vstack([weights, mean - centre @ weights]).astype(np.float32), penalty, 0, True


def _cross_entropy(logits: Array, classes: Array) -> tuple[float, Array]:
    logits = logits - logits.max(axis=1, keepdims=True)
    power = np.exp(logits)
    total = power.sum(axis=1, keepdims=True)
    places = np.arange(len(classes)), classes
    value = float(np.mean(np.log(total[:, 0]) - logits[places], dtype=np.float64))
    slope = power / total
    slope[places] -= 1
    return value, slope / np.float32(len(classes))


def _tag_loss(logits: Array, target: Array) -> tuple[float, Array]:
    """Binary cross-entropy, summed over tags: each is fitted as if alone."""
    power = np.exp(-np.abs(logits))  # what softplus and sigmoid have in common
    # Not log(1 + power): what rounds off there, of many quiet outputs, stops a fit too soon.
    softplus = np.maximum(logits, 0) + np.log1p(power)
    value = float(np.sum(softplus - target * logits, dtype=np.float64)) / len(target)
    chance = np.where(logits >= 0, np.float32(1), power) / (1 + power)
    return value, ((chance - target) / np.float32(len(target))).astype(np.float32)


def _squared(outputs: Array, target: Array) -> tuple[float, Array]:
    gap = outputs - target
    return float(np.mean(np.square(gap), dtype=np.float64)), gap


_LOSSES: dict[Kind, _Loss] = {
    "classes": _cross_entropy,
    "tags": _tag_loss,
    "numbers": _squared,
}


def sigmoid(logits: Array) -> Array:
    """Probabilities of logits, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(logits))))


def softmax(logits: Array) -> Array:
    """Probabilities of exclusive classes, (n, classes), of logits."""
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(power / power.sum(axis=1, keepdims=True))
