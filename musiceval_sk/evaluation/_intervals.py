"""From resampled figures to an interval: percentile, basic and BCa.

Source: B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 13 and 14; A. C. Davison and
D. V. Hinkley, "Bootstrap Methods and their Application" (1997), chapter 5.
"""

from collections.abc import Callable

import numpy as np

from musiceval_sk._bca import bca_bounds

METHODS = ("bca", "basic", "percentile")
# Scales on which a metric's distribution has about the same shape everywhere, and whose limits are the metric's own.
SCALES: dict[str, tuple[Callable, Callable]] = {
    "correlation": (np.arctanh, np.tanh),
    "error": (np.log, np.exp),
    "difference": (lambda value: value, lambda value: value),
}


def interval(
    method: str, samples: np.ndarray, estimate: float, left_out: np.ndarray, scale: str, confidence: float
) -> tuple[float, float]:
    """Compute an interval of one figure.

    Parameters
    ----------
    method : {"bca", "basic", "percentile"}
        The method.
    samples : np.ndarray [shape=(n_resamples,)]
        The figure in resamples; nan where it was undefined, which is left out.
    estimate : float
        The figure itself.
    left_out : np.ndarray [shape=(n_units,)]
        The figure without each unit, for the acceleration of BCa.
    scale : {"correlation", "error", "difference"}
        Scale on which the basic interval is mirrored: Fisher's z, the logarithm, or as it is.
    confidence : float in (0, 1)
        Nominal coverage.

    Returns
    -------
    tuple of float
        Lower and upper bound; nan where there is none.
    """
    samples, left_out = samples[np.isfinite(samples)], left_out[np.isfinite(left_out)]
    if not np.isfinite(estimate) or not len(samples):
        return np.nan, np.nan
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if method == "percentile":
        low, high = np.quantile(samples, tails)
    elif method == "basic":
        low, high = _basic(samples, estimate, SCALES[scale], tails)
    else:
        low, high = _bca(samples, estimate, left_out, tails)
    return float(low), float(high)


def _basic(
    samples: np.ndarray, estimate: float, scale: tuple[Callable, Callable], tails: np.ndarray
) -> np.ndarray:
    forth, back = scale
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = forth(estimate)
        if not np.isfinite(centre):  # a perfect score has no mirror image
            return np.full(2, np.nan)
        return back(2 * centre - forth(np.quantile(samples, tails[::-1])))


def _bca(samples: np.ndarray, estimate: float, left_out: np.ndarray, tails: np.ndarray) -> np.ndarray:
    below = float(np.mean(samples < estimate) + np.mean(samples <= estimate)) / 2
    if not 0 < below < 1 or len(left_out) < 3:
        return np.full(2, np.nan)
    return bca_bounds(samples, below, left_out, tails)
