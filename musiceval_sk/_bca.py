"""The bias-corrected and accelerated bootstrap interval, for reliabilities and metrics alike.

Source: B. Efron, "Better bootstrap confidence intervals", Journal of the American Statistical Association 82 (1987).
"""

import numpy as np
from scipy.special import ndtr, ndtri


def bca_bounds(draws: np.ndarray, below: float, left_out: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """Take quantiles of bootstrap draws where bias and skewness of the figure ask for them.

    Parameters
    ----------
    draws : np.ndarray [shape=(n_draws,)]
        The figure in bootstrap draws, all finite.
    below : float in (0, 1)
        Share of draws below the figure itself, ties counted half.
    left_out : np.ndarray [shape=(n_units,)]
        The figure without each unit, all finite: the jackknife.
    tails : np.ndarray of float in (0, 1)
        Nominal quantiles.

    Returns
    -------
    np.ndarray
        A bound for each of the tails.
    """
    influence = left_out.mean() - left_out
    spread = np.sum(influence**2)
    acceleration = 0.0 if spread < 1e-30 else np.sum(influence**3) / (6 * spread**1.5)
    bias = ndtri(below)
    shifted = bias + ndtri(tails)
    return np.quantile(draws, ndtr(bias + shifted / (1 - acceleration * shifted)))
