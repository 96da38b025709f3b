"""The linear part of `MOSRegressor`: ridge regressions in closed form, and how much of them a prediction takes.

Each hold-out has a ridge regression fitted without it, so that what it predicts there is honest. By these predictions and
the networks' are the penalty and the mixture of both chosen.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh

PENALTIES = np.logspace(0, 5, 16)
Part = tuple[np.ndarray, np.ndarray]


class Line(NamedTuple):
    """Coefficients, [shape=(d,)], and intercept."""

    coef: np.ndarray
    intercept: float

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Predict, [shape=(n,)]."""
        return X @ self.coef + self.intercept


def fit_ridge(
    X: np.ndarray, y: np.ndarray, weights: np.ndarray, rows: np.ndarray, parts: Sequence[Part]
) -> tuple[Line, list[Line]]:
    """Fit on all rows and without each hold-out, with the penalty that predicts the hold-outs best.

    One decomposition serves all: residuals without some rows are those of all rows, through the inverse of what their block
    of the hat matrix lacks to one, as in leave-one-out.

    Parameters
    ----------
    X, y, weights : np.ndarray [shape=(n, d)], [shape=(n,)], [shape=(n,)]
        All data: standardized inputs, scores, and weights, of which only the ratios count.
    rows : np.ndarray of int
        Rows to learn from.
    parts : sequence of (np.ndarray of int, np.ndarray of int)
        Rows learned from and rows held out, one pair a member; equal ones are fitted once. What is held out is either
        some of `rows`, the rest of which is learned from, or none of them.

    Returns
    -------
    whole : Line
        Fitted on all rows.
    without : list of Line
        One a part.
    """
    weights = weights / weights[rows].mean()
    mean_x, mean_y = (np.average(part[rows], axis=0, weights=weights[rows]) for part in (X, y))
    root = np.sqrt(weights[rows])
    b, (values, axes, turn) = (y[rows] - mean_y) * root, _decomposed((X[rows] - mean_x) * root[:, None])
    projected = axes.T @ b
    shrinkage = 1 / (values + PENALTIES[:, None])

    def line(i: int, held: np.ndarray, left: np.ndarray) -> Line:
        """Take back what rows with these residuals added to the fit."""
        coef = turn @ ((projected - axes[held].T @ left) * shrinkage[i])
        return Line(coef, float(mean_y - root[held] @ left / len(rows) - mean_x @ coef))

    errors, residuals = np.zeros(len(PENALTIES)), {}
    for learned, held in {held.tobytes(): (learned, held) for learned, held in parts}.values():
        if len(learned) == len(rows):
            lines = [line(i, rows[:0], b[:0]) for i in range(len(PENALTIES))]
            errors += [weights[held] @ (one.predict(X[held]) - y[held]) ** 2 for one in lines]
            residuals[held.tobytes()] = rows[:0], [b[:0]] * len(PENALTIES)
            continue
        here = np.flatnonzero(np.isin(rows, held))
        own, level = axes[here], root[here] / np.sqrt(len(rows))
        lefts = [
            _left_out(own * np.sqrt(factors), level, b[here] - own @ (projected * factors))
            for factors in shrinkage
        ]
        errors += np.square(lefts).sum(axis=1)
        residuals[held.tobytes()] = here, lefts
    best = int(errors.argmin())
    without = {key: line(best, here, lefts[best]) for key, (here, lefts) in residuals.items()}
    return line(best, rows[:0], b[:0]), [without[held.tobytes()] for _, held in parts]


def _decomposed(A: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give squared singular values, A along its axes, and the axes themselves, by the smaller of two matrices."""
    if A.shape[1] <= A.shape[0]:
        values, turn = eigh(A.T @ A, driver="evd")
        return values.clip(min=0), A @ turn, turn
    values, left = eigh(A @ A.T, driver="evd")
    kept = values > values[-1] * len(A) * np.finfo(float).eps
    values, left = values[kept], left[:, kept]
    return values, left * np.sqrt(values), A.T @ (left / np.sqrt(values))


def _left_out(axes: np.ndarray, level: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Turn residuals of rows that were learned from into those without these rows."""
    lacking = np.eye(len(axes)) - axes @ axes.T - np.outer(level, level)
    return cho_solve(cho_factor(lacking, overwrite_a=True, check_finite=False), residual, check_finite=False)


def held_out_means(predictions: Sequence[np.ndarray], parts: Sequence[Part], n: int) -> np.ndarray:
    """Average what members predict of the rows that they hold out, [shape=(n,)]; nan where nobody does."""
    total, count = np.zeros(n), np.zeros(n)
    for predicted, (_, held) in zip(predictions, parts, strict=True):
        total[held] += predicted
        count[held] += 1
    with np.errstate(invalid="ignore"):
        return total / count


def mix(ridge: np.ndarray, networks: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Find the share of the ridge regression of least squared error, in [0, 1], and the level that is missed on average.

    Parameters
    ----------
    ridge, networks : np.ndarray [shape=(n,)]
        Held-out predictions.
    y, weights : np.ndarray [shape=(n,)]
        Scores and weights.

    Returns
    -------
    share, level : float
        Of ``share * ridge + (1 - share) * networks + level``.
    """
    apart = ridge - networks
    squares = weights @ apart**2
    share = float(np.clip(weights @ (apart * (y - networks)) / squares, 0, 1)) if squares > 0 else 1.0
    return share, float(np.average(y - networks - share * apart, weights=weights))
