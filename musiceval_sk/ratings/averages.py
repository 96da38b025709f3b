"""Location and standard error of the ratings of each item, for all items at once."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import betainc


class Location(NamedTuple):
    """One value an item, in the order of their numbers."""

    value: np.ndarray
    number: np.ndarray
    error: np.ndarray


def mean_of(items: np.ndarray, scores: np.ndarray, n_items: int) -> Location:
    """Mean; standard error ``sd / sqrt(n)``, nan for a single rating."""
    count = np.bincount(items, minlength=n_items)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(items, scores, n_items) / count
        squares = np.bincount(items, (scores - mean[items]) ** 2, n_items)
        error = np.where(count > 1, np.sqrt(squares / (count - 1) / count), np.nan)
    return Location(mean, count, error)


def median_of(items: np.ndarray, scores: np.ndarray, n_items: int) -> Location:
    """Median; standard error by Maritz and Jarrett, nan for a single rating."""

    def locate(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = ordered.shape[1]
        steps = betainc((n + 1) / 2, (n + 1) / 2, np.arange(n + 1) / n)
        weights = np.diff(steps)
        variance = ordered**2 @ weights - (ordered @ weights) ** 2
        return np.median(ordered, axis=1), np.sqrt(np.maximum(0, variance))

    return _of_sizes(items, scores, n_items, locate)


def trimmed_mean_of(items: np.ndarray, scores: np.ndarray, n_items: int, trim: float) -> Location:
    """Mean without the ``floor(trim * n)`` lowest and highest; standard error from the winsorised spread."""

    def locate(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = ordered.shape[1]
        cut = int(trim * n)
        kept = ordered[:, cut : n - cut]
        winsorised = np.clip(ordered, kept[:, :1], kept[:, -1:])
        return kept.mean(axis=1), winsorised.std(axis=1, ddof=1) * np.sqrt(n) / kept.shape[1]

    return _of_sizes(items, scores, n_items, locate)


def _of_sizes(
    items: np.ndarray,
    scores: np.ndarray,
    n_items: int,
    locate: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> Location:
    """Hand all items with the same number of ratings to ``locate`` as one matrix, its rows in ascending order."""
    ordered = scores[np.lexsort((scores, items))]
    count = np.bincount(items, minlength=n_items)
    start = np.cumsum(count) - count
    value, error = np.full((2, n_items), np.nan)
    for size in np.unique(count[count > 0]):
        rows = np.flatnonzero(count == size)
        matrix = ordered[start[rows, None] + np.arange(size)]
        if size == 1:
            value[rows] = matrix[:, 0]
        else:
            value[rows], error[rows] = locate(matrix)
    return Location(value, count, error)
