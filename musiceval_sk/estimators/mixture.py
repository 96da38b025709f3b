"""The linear part of `MOSRegressor`: ridge regressions in closed form, and how much of them a prediction takes.

Each hold-out has a ridge regression fitted without it, so that what it predicts there is honest. By these predictions and
the networks' are the penalty and the mixture of both chosen.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

PENALTIES = np.logspace(0, 5, 16)
Part = tuple[np.ndarray, np.ndarray]


class Line(NamedTuple):
    """Coefficients, [shape=(d,)], and intercept."""

    coef: np.ndarray
    intercept: float

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Predict, [shape=(n,)]."""
        return X @ self.coef + self.intercept


def ridge_path(X: np.ndarray, y: np.ndarray, weights: np.ndarray) -> list[Line]:
    """Fit a ridge regression for each of the penalties by one decomposition, of the smaller of two matrices.

    Parameters
    ----------
    X : np.ndarray [shape=(n, d)]
        Standardized inputs.
    y : np.ndarray [shape=(n,)]
        Scores.
    weights : np.ndarray [shape=(n,)]
        Weights of rows; only their ratios count.

    Returns
    -------
    list of Line
        In the order of `PENALTIES`.
    """
    weights = weights / weights.mean()
    mean_x, mean_y = np.average(X, axis=0, weights=weights), np.average(y, weights=weights)
    root = np.sqrt(weights)
    A, b = (X - mean_x) * root[:, None], (y - mean_y) * root
    wide = A.shape[1] > A.shape[0]
    values, vectors = np.linalg.eigh(A @ A.T if wide else A.T @ A)
    projected = vectors.T @ (b if wide else A.T @ b)
    solutions = vectors @ (projected[:, None] / (values.clip(min=0)[:, None] + PENALTIES))
    coefs = (A.T @ solutions if wide else solutions).T
    return [Line(coef, float(mean_y - mean_x @ coef)) for coef in coefs]


def fit_ridge(
    X: np.ndarray, y: np.ndarray, weights: np.ndarray, rows: np.ndarray, parts: Sequence[Part]
) -> tuple[Line, list[Line]]:
    """Fit on all rows and without each hold-out, with the penalty that predicts the hold-outs best.

    Parameters
    ----------
    X, y, weights : np.ndarray [shape=(n, d)], [shape=(n,)], [shape=(n,)]
        All data.
    rows : np.ndarray of int
        Rows to learn from.
    parts : sequence of (np.ndarray of int, np.ndarray of int)
        Rows learned from and rows held out, one pair a member; equal ones are fitted once.

    Returns
    -------
    whole : Line
        Fitted on all rows.
    without : list of Line
        One a part.
    """
    paths: dict[bytes, list[Line]] = {}
    errors = np.zeros(len(PENALTIES))
    for learned, held in parts:
        if held.tobytes() in paths:
            continue
        path = paths[held.tobytes()] = ridge_path(X[learned], y[learned], weights[learned])
        errors += [weights[held] @ (line.predict(X[held]) - y[held]) ** 2 for line in path]
    best = int(errors.argmin())
    whole = ridge_path(X[rows], y[rows], weights[rows])[best]
    return whole, [paths[held.tobytes()][best] for _, held in parts]


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
