"""Intervals of figures: items or raters are resampled; systems, where they are known, are left out in turn."""

from collections.abc import Callable, Iterator

import numpy as np

from musiceval_sk.statistics.bounds import FISHER, LEAST_UNITS, bca_bounds, jackknife_bounds
from musiceval_sk.statistics.confidence import require_confidence, require_whole

_CELLS_AT_ONCE = 2_000_000
_MOST_GROUPS = 200
_ROUNDING = 1e-10


def draw_counts(n_units: int, n_draws: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield how often each unit is drawn: blocks of shape=(draws, n_units), together ``n_draws``."""
    block = max(1, _CELLS_AT_ONCE // n_units)
    for start in range(0, n_draws, block):
        draws = min(block, n_draws - start)
        drawn = random.integers(n_units, size=(draws, n_units)) + n_units * np.arange(draws)[:, None]
        yield np.bincount(drawn.ravel(), minlength=draws * n_units).reshape(draws, n_units).astype(float)


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
    nan = float("nan")
    if n_bootstrap < 1:
        return nan, nan, ""
    if systems is None:
        random = np.random.default_rng(random_state)
        group = random.permutation(n_units) % _MOST_GROUPS
        n_groups = min(n_units, _MOST_GROUPS)
    else:
        units, group = "systems", np.unique(systems, return_inverse=True)[1]
        n_groups = group.max() + 1
    if n_groups < LEAST_UNITS:
        return nan, nan, f"no interval: {n_groups} {units}, and {LEAST_UNITS} are needed"
    block = max(1, _CELLS_AT_ONCE // n_units)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(figure(np.ones((1, n_units)))[0])
        parts = np.array_split(np.arange(n_groups)[:, None], -(-n_groups // block))
        left_out = np.concatenate([figure((group != part).astype(float)) for part in parts])
        left_out = left_out[np.isfinite(left_out)]
        if systems is None:
            draws = np.concatenate([figure(counts) for counts in draw_counts(n_units, n_bootstrap, random)])
            draws = draws[np.isfinite(draws)]
    if len(left_out) < LEAST_UNITS or (systems is None and len(draws) < 2):
        return nan, nan, f"no interval: too few choices of the {units} have a figure"
    if systems is None:
        low, high = bca_interval(value, draws, left_out, confidence)
    else:
        low, high = jackknife_bounds(value, left_out, confidence, FISHER)
    if not high - low > _ROUNDING:
        return nan, nan, f"no interval: the figure does not depend on which {units} are chosen"
    return low, high, ""


def bca_interval(
    value: float, draws: np.ndarray, left_out: np.ndarray, confidence: float
) -> tuple[float, float]:
    """Interval of Efron (1987) from bootstrap draws and the jackknife, all finite."""
    low, high = bca_bounds(draws, value, left_out, np.array([1 - confidence, 1 + confidence]) / 2)
    return float(low), float(high)
