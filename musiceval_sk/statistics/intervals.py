"""From resampled figures, and figures without each system, to an interval: jackknife, percentile, basic and BCa.

Source: B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 11, 13 and 14; A. C. Davison and
D. V. Hinkley, "Bootstrap Methods and their Application" (1997), chapter 5.
"""

import numpy as np
import pandas as pd

from musiceval_sk.statistics.bounds import FISHER, LEAST_UNITS, ROUNDING, Scale, bca_bounds, jackknife_bounds
from musiceval_sk.statistics.metrics import METRICS

METHODS = ("auto", "bca", "basic", "jackknife", "percentile")
NO_INTERVAL = "no interval: a perfect figure, one that nothing drawn changes, or too few systems"
# Scales on which a metric's distribution has about the same shape everywhere, and whose limits are the metric's own.
SCALES: dict[str, Scale] = {
    "correlation": FISHER,
    "concordance": (lambda value: value, lambda value: np.clip(value, -1, 1), np.ones_like),
    "error": (np.log, np.exp, lambda value: 1 / value),
    "difference": (lambda value: value, lambda value: value, np.ones_like),
}


def method_of(method: str, metric: str, level: str, *, difference: bool = False) -> str:
    """Tell what "auto" is for a metric: what held its figure most nearly as often as it says (docs/statistics.md)."""
    if method != "auto":
        return method
    by_resampling = level == "clips" or (difference and metric in ("S_SRCC", "S_KTAU"))
    return "percentile" if by_resampling else "jackknife"


def scale_of(metric: str) -> str:
    """Tell on which of `SCALES` a metric's interval is symmetric."""
    if metric.endswith("MSE"):
        return "error"
    return "concordance" if metric == "S_KTAU" else "correlation"


def interval(
    method: str,
    samples: np.ndarray,
    estimate: float,
    left_out: np.ndarray,
    scale: str,
    confidence: float,
    *,
    least_variance: float = 0.0,
    normal: bool = False,
) -> tuple[float, float]:
    """Compute an interval of one figure.

    Parameters
    ----------
    method : {"bca", "basic", "jackknife", "percentile"}
        The method.
    samples : np.ndarray [shape=(n_resamples,)]
        The figure in resamples; nan where it was undefined, which is left out.
    estimate : float
        The figure itself.
    left_out : np.ndarray [shape=(n_units,)]
        The figure without each unit, for the jackknife and the acceleration of BCa.
    scale : {"concordance", "correlation", "difference", "error"}
        Scale on which the basic interval is mirrored and the jackknife's is symmetric: as it is but cut at -1 and 1, Fisher's z,
        as it is, the logarithm.
    confidence : float in (0, 1)
        Nominal coverage.
    least_variance, normal
        Of the jackknife, as of `jackknife_bounds`.

    Returns
    -------
    tuple of float
        Lower and upper bound; nan where there is none, as for a perfect correlation.
    """
    samples, left_out = samples[np.isfinite(samples)], left_out[np.isfinite(left_out)]
    if (
        not np.isfinite(estimate)
        or not len(samples)
        or (scale in ("concordance", "correlation") and abs(estimate) > 1 - ROUNDING)
    ):
        return np.nan, np.nan
    if method == "jackknife":
        return jackknife_bounds(
            estimate, left_out, confidence, SCALES[scale], least_variance=least_variance, normal=normal
        )
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if method == "percentile":
        low, high = np.quantile(samples, tails)
    elif method == "basic":
        low, high = _basic(samples, estimate, SCALES[scale], tails)
    elif samples.min() <= estimate <= samples.max() and len(left_out) >= LEAST_UNITS:
        low, high = bca_bounds(samples, estimate, left_out, tails)
    else:
        return np.nan, np.nan
    if (
        high - low < ROUNDING < abs(estimate)
    ):  # a figure of a few ranks that no resample changes is not a certain one
        return np.nan, np.nan
    return float(low), float(high)


def least_variances(truth: np.ndarray, prediction: np.ndarray, systems: np.ndarray) -> np.ndarray:
    """Variances of the metrics' estimates that errors of systems from a normal distribution would give.

    From few systems the jackknife finds the variance of a mean of squares too small wherever the largest error is missing.

    Returns
    -------
    np.ndarray [shape=(8,)]
        In the order of `METRICS`, of the logarithms of U_MSE and S_MSE; 0 for correlations, and for fewer than two systems.
    """
    errors = pd.DataFrame({"mean": prediction - truth, "square": (prediction - truth) ** 2}).groupby(systems)
    of_system, sizes = errors.mean(), errors.size()
    variance, bias = of_system["mean"].var(), of_system["mean"].mean()
    of_square = 2 * variance**2 + 4 * variance * max(bias**2 - variance / len(sizes), 0)
    within = (of_system["square"] - of_system["mean"] ** 2).var()
    shares = sizes / sizes.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        by_name = {
            "U_MSE": (shares**2).sum() * (of_square + within) / (shares * of_system["square"]).sum() ** 2,
            "S_MSE": of_square / len(sizes) / (of_system["mean"] ** 2).mean() ** 2,
        }
    return np.nan_to_num([by_name.get(name, 0.0) for name in METRICS], posinf=0.0)


def _basic(samples: np.ndarray, estimate: float, scale: Scale, tails: np.ndarray) -> np.ndarray:
    forth, back, _ = scale
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = forth(estimate)
        if not np.isfinite(centre):  # a perfect score has no mirror image
            return np.full(2, np.nan)
        return back(2 * centre - forth(np.quantile(samples, tails[::-1])))
