"""The linear part of `MOSRegressor`: ridge regressions in closed form, and how much of them a prediction takes.

Each hold-out has a ridge regression fitted without it, so that what it predicts there is honest. By these predictions and
the networks' are the penalty and the mixture of both chosen.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

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
    path = _Path(X[rows], y[rows], weights[rows] / weights[rows].mean())
    paths: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
    errors = np.zeros(len(PENALTIES))
    for _, held in parts:
        if held.tobytes() not in paths:
            coefs, intercepts = paths[held.tobytes()] = path.without(np.flatnonzero(np.isin(rows, held)))
            errors += weights[held] @ (X[held] @ coefs + intercepts - y[held, None]) ** 2
    best = int(errors.argmin())
    lines = {key: Line(coefs[:, best], float(means[best])) for key, (coefs, means) in paths.items()}
    return path.whole(PENALTIES[best]), [lines[held.tobytes()] for _, held in parts]


class _Path:
    """Ridge regressions of all rows, and without some, in the axes of all rows: as many as the fewer of rows and columns.

    Parameters
    ----------
    X, y, weights : np.ndarray [shape=(n, d)], [shape=(n,)], [shape=(n,)]
        Data; weights have a mean of 1.
    """

    def __init__(self, X: np.ndarray, y: np.ndarray, weights: np.ndarray):
        self.mean_x, self.mean_y = np.average(X, axis=0, weights=weights), np.average(y, weights=weights)
        root = np.sqrt(weights)
        A, self.scores = (X - self.mean_x) * root[:, None], (y - self.mean_y) * root
        self.level = root / np.sqrt(len(root))
        if A.shape[1] <= A.shape[0]:
            self.squares, self.turn = eigh(A.T @ A, driver="evd")
            self.axes = A @ self.turn
        else:
            squares, left = eigh(A @ A.T, driver="evd")
            kept = squares > squares[-1] * len(A) * np.finfo(float).eps
            self.squares, left = squares[kept], left[:, kept]
            self.axes, self.turn = left * np.sqrt(self.squares), A.T @ (left / np.sqrt(self.squares))
        self.projected = self.axes.T @ self.scores

    def whole(self, penalty: float) -> Line:
        """Fit all rows."""
        coef = self.turn @ (self.projected / (self.squares.clip(min=0) + penalty))
        return Line(coef, float(self.mean_y - self.mean_x @ coef))

    def without(self, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients, [shape=(d, n_penalties)], and intercepts, from the normal equations less what some rows add."""
        axes, scores, level = self.axes[held], self.scores[held], self.level[held]
        shift, left = axes.T @ level, 1 - level @ level
        gram = np.diag(self.squares) - axes.T @ axes - np.outer(shift, shift) / left
        right = self.projected - axes.T @ scores - shift * (level @ scores) / left
        values, vectors = eigh(gram, driver="evd")
        solved = vectors @ ((vectors.T @ right)[:, None] / (values.clip(min=0)[:, None] + PENALTIES))
        means = self.mean_y + (shift @ solved - level @ scores) / left / np.sqrt(len(self.scores))
        coefs = self.turn @ solved
        return coefs, means - self.mean_x @ coefs


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
