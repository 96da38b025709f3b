"""Bounds of intervals, for reliabilities and metrics alike: from the jackknife, and from bootstrap draws."""

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import t

LEAST_UNITS = 3
ROUNDING = 1e-10  # of figures: what differs by less is equal
# There, back, and the slope there.
Scale = tuple[Callable, Callable, Callable]
FISHER: Scale = np.arctanh, np.tanh, lambda value: 1 / (1 - value**2)


def jackknife_bounds(
    value: float,
    left_out: np.ndarray,
    confidence: float,
    scale: Scale,
    *,
    least_variance: float = 0.0,
    normal: bool = False,
) -> tuple[float, float]:
    """Take an interval of Student's t from a figure without each unit in turn.

    Parameters
    ----------
    value : float
        The figure itself.
    left_out : np.ndarray [shape=(n_units,)]
        The figure without each unit; where it is nan the unit is passed over.
    confidence : float in (0, 1)
        Nominal coverage.
    scale : tuple of three callables
        A scale on which the figure is about normal, the way back, and the scale's slope at a value.
    least_variance : float, default=0.0
        The figure's variance on that scale is taken to be this at least.
    normal : bool, default=False
        Take the normal distribution in the place of Student's t.

    Returns
    -------
    tuple of float
        Lower and upper bound; nan below three units, for a figure at the end of its range, and for one but 0 that no unit changes.

    References
    ----------
    B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 11.
    """
    forth, back, slope = scale
    left_out = left_out[np.isfinite(left_out)]
    n = len(left_out)
    if n < LEAST_UNITS:
        return float("nan"), float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        centre, variance = forth(value), slope(np.float64(value)) ** 2 * (n - 1) * left_out.var()
    variance = max(variance, least_variance)
    # A figure that no unit changes, as of a few ranks, is not a certain one; but two that are the same differ by 0 surely.
    if not np.isfinite([centre, variance]).all() or (variance < ROUNDING**2 and abs(value) > ROUNDING):
        return float("nan"), float("nan")
    half = t.ppf((1 + confidence) / 2, np.inf if normal else n - 1) * np.sqrt(variance)
    return float(back(centre - half)), float(back(centre + half))


def bca_bounds(draws: np.ndarray, value: float, left_out: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """Take quantiles of bootstrap draws where bias and skewness of the figure ask for them.

    Parameters
    ----------
    draws : np.ndarray [shape=(n_draws,)]
        The figure in bootstrap draws, all finite.
    value : float
        The figure itself; where all draws lie on one side of it, it is taken as if one more lay on the other.
    left_out : np.ndarray [shape=(n_units,)]
        The figure without each unit, all finite: the jackknife.
    tails : np.ndarray of float in (0, 1)
        Nominal quantiles.

    Returns
    -------
    np.ndarray
        A bound for each of the tails.

    References
    ----------
    B. Efron, "Better bootstrap confidence intervals", Journal of the American Statistical Association 82 (1987).
    """
    influence = left_out.mean() - left_out
    spread = np.sum(influence**2)
    acceleration = 0.0 if spread < 1e-30 else np.sum(influence**3) / (6 * spread**1.5)
    below = (np.mean(draws < value) + np.mean(draws <= value)) / 2
    bias = ndtri(np.clip(below, 1 / (len(draws) + 1), len(draws) / (len(draws) + 1)))
    shifted = bias + ndtri(tails)
    return np.quantile(draws, ndtr(bias + shifted / (1 - acceleration * shifted)))
