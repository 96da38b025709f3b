"""From a figure, its resamples and what it is without each unit to an interval: jackknife, percentile, BCa.

Source: B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 11, 13 and 14.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri
from scipy.stats import t

from musiceval_sk.statistics.align import require_confidence, require_whole
from musiceval_sk.statistics.metrics import METRICS

METHODS = ("auto", "jackknife", "percentile")
NO_INTERVAL = "no interval: a perfect figure, one that nothing drawn changes, or too few systems"
ROUNDING = 1e-10  # of figures: what differs by less is equal
# Scales on which a figure is about normal, whatever its size, and whose ends are its own: there, back, and the slope there.
SCALES: dict[str, tuple[Callable, Callable, Callable]] = {
    "correlation": (np.arctanh, np.tanh, lambda value: 1 / (1 - value**2)),
    "concordance": (np.asarray, lambda value: np.clip(value, -1, 1), np.ones_like),
    "error": (np.log, np.exp, lambda value: 1 / value),
    "error of means": (
        lambda value: -(value ** (-1 / 3)),
        lambda value: np.where(value < 0, np.abs(value) ** -3.0, np.inf),
        lambda value: value ** (-4 / 3) / 3,
    ),
    "difference": (np.asarray, np.asarray, np.ones_like),
}
_LEAST_UNITS = 3
_MOST_GROUPS = 200
_CELLS_AT_ONCE = 2_000_000
_NONE = (float("nan"), float("nan"))


def method_of(method: str, metric: str, level: str, *, difference: bool = False) -> str:
    """Tell what "auto" is for a metric: what held its figure most nearly as often as it says (docs/statistics.md)."""
    if method != "auto":
        return method
    by_resampling = level == "clips" or (difference and metric in ("S_SRCC", "S_KTAU"))
    return "percentile" if by_resampling else "jackknife"


def scale_of(metric: str) -> str:
    """Tell on which of `SCALES` a metric's interval is symmetric."""
    scales = {"U_MSE": "error", "S_MSE": "error of means", "S_KTAU": "concordance"}
    return scales.get(metric, "correlation")


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
    method : {"jackknife", "percentile"}
        The method.
    samples : np.ndarray [shape=(n_resamples,)]
        The figure in resamples; nan where it was undefined, which is left out.
    estimate : float
        The figure itself.
    left_out : np.ndarray [shape=(n_units,)]
        The figure without each unit, for the jackknife.
    scale : {"concordance", "correlation", "difference", "error", "error of means"}
        Scale on which the jackknife's interval is symmetric: as it is but cut at -1 and 1, Fisher's z, as it is, the logarithm, the
        reciprocal of the cube root.
    confidence : float in (0, 1)
        Nominal coverage.
    least_variance : float, default=0.0
        Of `jackknife`, see there.
    normal : bool, default=False
        Of `jackknife`, see there.

    Returns
    -------
    tuple of float
        Lower and upper bound; nan where there is none, as for a perfect correlation.
    """
    samples, left_out = samples[np.isfinite(samples)], left_out[np.isfinite(left_out)]
    is_perfect = scale in ("concordance", "correlation") and abs(estimate) > 1 - ROUNDING
    if not np.isfinite(estimate) or not len(samples) or is_perfect:
        return _NONE
    if method == "jackknife":
        return jackknife(estimate, left_out, scale, confidence, least_variance=least_variance, normal=normal)
    low, high = np.quantile(samples, _tails(confidence))
    if high - low < ROUNDING < abs(estimate):  # a figure of a few ranks that nothing changes is not certain
        return _NONE
    return float(low), float(high)


def jackknife(
    estimate: float,
    left_out: np.ndarray,
    scale: str,
    confidence: float,
    *,
    least_variance: float = 0.0,
    normal: bool = False,
) -> tuple[float, float]:
    """Take an interval of Student's t from a figure without each unit in turn.

    Parameters
    ----------
    estimate : float
        The figure itself.
    left_out : np.ndarray [shape=(n_units,)]
        The figure without each unit, all finite.
    scale : {"concordance", "correlation", "difference", "error", "error of means"}
        As of `interval`.
    confidence : float in (0, 1)
        Nominal coverage.
    least_variance : float, default=0.0
        The variance of the figure's logarithm is taken to be this at least.
    normal : bool, default=False
        Take the normal distribution in the place of Student's t.

    Returns
    -------
    tuple of float
        Lower and upper bound; nan below three units, for a figure at the end of its range, and for one but 0 that no unit changes.
    """
    forth, back, slope = SCALES[scale]
    n = len(left_out)
    if n < _LEAST_UNITS:
        return _NONE
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = max((n - 1) * left_out.var(), least_variance * estimate**2)
        centre, variance = forth(np.float64(estimate)), slope(np.float64(estimate)) ** 2 * variance
    # A figure that no unit changes, as of a few ranks, is not a certain one; but two that are the same differ by 0 surely.
    if not np.isfinite([centre, variance]).all() or (variance < ROUNDING**2 and abs(estimate) > ROUNDING):
        return _NONE
    half = t.ppf((1 + confidence) / 2, np.inf if normal else n - 1) * np.sqrt(variance)
    return float(back(centre - half)), float(back(centre + half))


def bca(samples: np.ndarray, estimate: float, left_out: np.ndarray, confidence: float) -> tuple[float, float]:
    """Take quantiles of resamples where bias and skewness of the figure ask for them.

    Parameters
    ----------
    samples : np.ndarray [shape=(n_resamples,)]
        The figure in resamples, all finite.
    estimate : float
        The figure itself; where all resamples lie on one side of it, it is taken as if one more lay on the other.
    left_out : np.ndarray [shape=(n_units,)]
        The figure without each unit, all finite: the jackknife.
    confidence : float in (0, 1)
        Nominal coverage.

    Returns
    -------
    tuple of float
        Lower and upper bound.

    References
    ----------
    B. Efron, "Better bootstrap confidence intervals", Journal of the American Statistical Association 82 (1987).
    """
    influence = left_out.mean() - left_out
    spread = np.sum(influence**2)
    acceleration = 0.0 if spread < 1e-30 else np.sum(influence**3) / (6 * spread**1.5)
    below = (np.mean(samples < estimate) + np.mean(samples <= estimate)) / 2
    bias = ndtri(np.clip(below, 1 / (len(samples) + 1), len(samples) / (len(samples) + 1)))
    shifted = bias + ndtri(_tails(confidence))
    low, high = np.quantile(samples, ndtr(bias + shifted / (1 - acceleration * shifted)))
    return float(low), float(high)


def least_variances(truth: np.ndarray, prediction: np.ndarray, systems: np.ndarray | None) -> np.ndarray:
    """Variances of the metrics' estimates that errors of systems from a normal distribution would give.

    From few systems the jackknife finds the variance of a mean of squares too small wherever the largest error is missing.

    Returns
    -------
    np.ndarray [shape=(8,)]
        In the order of `METRICS`, of the logarithms of U_MSE and S_MSE; 0 for correlations, and for fewer than two systems.
    """
    if systems is None:
        return np.zeros(len(METRICS))
    errors = pd.DataFrame({"mean": prediction - truth, "square": (prediction - truth) ** 2}).groupby(systems)
    of_system, sizes = errors.mean(), errors.size()
    variance, bias = of_system["mean"].var(), of_system["mean"].mean()
    of_square = 2 * variance**2 + 4 * variance * max(bias**2 - variance / len(sizes), 0)
    within = (of_system["square"] - of_system["mean"] ** 2).var()
    with np.errstate(divide="ignore", invalid="ignore"):
        by_name = {
            "U_MSE": (sizes**2).sum() * (of_square + within) / (sizes * of_system["square"]).sum() ** 2,
            "S_MSE": of_square / len(sizes) / (of_system["mean"] ** 2).mean() ** 2,
        }
    return np.nan_to_num([by_name.get(name, 0.0) for name in METRICS], posinf=0.0)


def system_intervals(values: Any, systems: Any, *, confidence: float = 0.95) -> pd.DataFrame:
    """Mean of each system's clips with its t-interval over clips.

    Parameters
    ----------
    values : array-like [shape=(n,)]
        Scores of clips.
    systems : array-like [shape=(n,)]
        The system of each clip.
    confidence : float in (0, 1), default=0.95
        Nominal coverage.

    Returns
    -------
    pandas.DataFrame
        Indexed by system; ``mean, low, high`` and ``clips``, their number. Bounds are nan for a single clip.
    """
    groups = pd.Series(np.asarray(values, dtype=float)).groupby(np.asarray(systems))
    mean, count = groups.mean(), groups.count()
    half = t.ppf((1 + confidence) / 2, count - 1) * groups.sem()
    return pd.DataFrame({"mean": mean, "low": mean - half, "high": mean + half, "clips": count})


def mean_interval(values: Any, *, groups: Any = None, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean and its t-interval.

    Parameters
    ----------
    values : array-like [shape=(n,)]
        Scores of clips.
    groups : array-like [shape=(n,)], default=None
        What makes clips alike, such as their system. The standard error is then the cluster-robust one,
        ``sqrt(G / (G - 1) * sum_g(e_g ** 2)) / n`` with ``e_g`` the summed deviations of a group, and the t-distribution
        has ``G - 1`` degrees of freedom. By default each clip is a group of its own: the usual interval.
    confidence : float in (0, 1), default=0.95
        Nominal coverage.

    Returns
    -------
    tuple of float
        Mean, lower and upper bound; the bounds are nan for a single group.

    References
    ----------
    A. C. Cameron and D. L. Miller, "A practitioner's guide to cluster-robust inference", J. Human Resources 50 (2015).

    Examples
    --------
    >>> [round(bound, 3) for bound in mean_interval([2, 3, 4])]
    [3.0, 0.516, 5.484]
    """
    values = np.asarray(values, dtype=float)
    groups = np.arange(len(values)) if groups is None else groups
    mean = float(values.mean())
    sums = pd.Series(values - mean).groupby(np.asarray(groups)).sum().to_numpy()
    n_groups = len(sums)
    if n_groups < 2:
        return mean, np.nan, np.nan
    error = np.sqrt(n_groups / (n_groups - 1) * np.sum(sums**2)) / len(values)
    half = float(t.ppf((1 + confidence) / 2, n_groups - 1) * error)
    return mean, mean - half, mean + half


def interval_of(
    n_units: int,
    figure: Callable[[np.ndarray], np.ndarray],
    confidence: float,
    n_bootstrap: int,
    random_state: int | None,
    systems: np.ndarray | None = None,
    units: str = "items",
) -> tuple[float, float, str]:
    """Interval of a figure, and a note; nan, and the note says why, below three units or systems and where none changes the figure.

    ``figure`` takes how often each unit counts, shape=(draws, n_units), and gives one value a draw. Units of one system are not
    independent, so where ``systems``, shape=(n_units,), are known the interval is the jackknife's over systems. Else units
    are resampled, bias-corrected and accelerated; that jackknife leaves out one unit at a time, or one of 200 groups where there
    are more units: sums of squares and cubes of the influence of groups have the expectation of those of units.
    Without draws there is no interval, as asked.
    """
    require_confidence(confidence)
    require_whole(0, n_bootstrap=n_bootstrap)
    if n_bootstrap < 1:
        return *_NONE, ""
    random = np.random.default_rng(random_state)
    if systems is None:
        group = random.permutation(n_units) % _MOST_GROUPS
    else:
        units, group = "systems", np.unique(systems, return_inverse=True)[1]
    n_groups = len(np.unique(group))
    if n_groups < _LEAST_UNITS:
        return *_NONE, f"no interval: {n_groups} {units}, and {_LEAST_UNITS} are needed"
    block = max(1, _CELLS_AT_ONCE // n_units)

    def figures(weights: Iterable[np.ndarray]) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.concatenate([figure(some) for some in weights])
        return found[np.isfinite(found)]

    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(figure(np.ones((1, n_units)))[0])
    parts = np.array_split(np.arange(n_groups)[:, np.newaxis], -(-n_groups // block))
    left_out = figures((group != part).astype(float) for part in parts)
    draws = figures(draw_counts(n_units, n_bootstrap, block, random)) if systems is None else left_out
    if len(left_out) < _LEAST_UNITS or len(draws) < 2:
        return *_NONE, f"no interval: too few choices of the {units} have a figure"
    if systems is None:
        low, high = bca(draws, value, left_out, confidence)
    else:
        low, high = jackknife(value, left_out, "correlation", confidence)
    if not high - low > ROUNDING:
        return *_NONE, f"no interval: the figure does not depend on which {units} are chosen"
    return low, high, ""


def _tails(confidence: float) -> np.ndarray:
    return np.array([(1 - confidence) / 2, (1 + confidence) / 2])


def draw_counts(n_units: int, n_draws: int, block: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield how often each unit is drawn: blocks of shape=(draws, n_units), together ``n_draws``."""
    for start in range(0, n_draws, block):
        draws = min(block, n_draws - start)
        drawn = random.integers(n_units, size=(draws, n_units)) + n_units * np.arange(draws)[:, np.newaxis]
        yield np.bincount(drawn.ravel(), minlength=draws * n_units).reshape(draws, n_units).astype(float)
