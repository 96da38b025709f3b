"""Intervals of correlations by formula. They take clips, or systems, for independent of one another."""

import numpy as np
from scipy.stats import norm

from musiceval_sk.statistics.confidence import require_confidence, require_real, require_whole


def spearman_interval(srcc: float, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Approximate confidence interval of a Spearman correlation.

    Fisher's transformation with the standard error ``sqrt((1 + srcc**2 / 2) / (n - 3))``.

    Parameters
    ----------
    srcc : float in [-1, 1]
        The sample correlation.
    n : int
        Number of pairs, such as systems; an interval needs at least 4.
    confidence : float in (0, 1), default=0.95
        Nominal coverage.

    Returns
    -------
    tuple of float
        Lower and upper bound; both nan below 4 pairs, and for nan, 1 and -1, where the transformation breaks down.

    References
    ----------
    D. G. Bonett and T. A. Wright, "Sample size requirements for estimating Pearson, Kendall and Spearman
    correlations", Psychometrika 65 (2000).

    Examples
    --------
    >>> low, high = spearman_interval(0.9, 31)
    >>> round(low, 3), round(high, 3)
    (0.775, 0.957)
    """
    require_real(srcc=srcc)
    return _on_fishers_scale(srcc, n, 1 + srcc**2 / 2, confidence)


def fisher_interval(lcc: float, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a Pearson correlation by Fisher's transformation.

    Parameters
    ----------
    lcc : float in [-1, 1]
        The sample correlation.
    n : int
        Number of pairs, such as systems; an interval needs at least 4.
    confidence : float in (0, 1), default=0.95
        Nominal coverage.

    Returns
    -------
    tuple of float
        Lower and upper bound; both nan below 4 pairs, and for nan, 1 and -1, where the transformation breaks down.

    References
    ----------
    R. A. Fisher, "On the probable error of a coefficient of correlation deduced from a small sample", Metron 1 (1921).

    Examples
    --------
    >>> low, high = fisher_interval(0.396, 66)
    >>> round(low, 3), round(high, 3)
    (0.17, 0.582)
    """
    require_real(lcc=lcc)
    return _on_fishers_scale(lcc, n, 1.0, confidence)


def _on_fishers_scale(correlation: float, n: int, variance: float, confidence: float) -> tuple[float, float]:
    """Interval whose variance on Fisher's scale is the one given over n - 3."""
    require_confidence(confidence)
    require_whole(0, n=n)
    if n < 4 or not abs(correlation) < 1:
        return float("nan"), float("nan")
    half = norm.ppf((1 + confidence) / 2) * np.sqrt(variance / (n - 3))
    low, high = np.tanh(np.arctanh(correlation) + np.array([-half, half]))
    return float(low), float(high)
