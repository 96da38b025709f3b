"""How far a figure can be trusted."""

import numpy as np
from scipy.stats import norm


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
    if n < 4 or not abs(srcc) < 1:
        return float("nan"), float("nan")
    half = norm.ppf((1 + confidence) / 2) * np.sqrt((1 + srcc**2 / 2) / (n - 3))
    low, high = np.tanh(np.arctanh(srcc) + np.array([-half, half]))
    return float(low), float(high)
