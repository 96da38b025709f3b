"""Intervals of figures: items or raters are resampled; systems, where they are known, are left out in turn."""

from collections.abc import Callable, Iterator

import numpy as np

from musiceval_sk._bounds import FISHER, LEAST_UNITS, bca_bounds, jackknife_bounds
from musiceval_sk._confidence import require_confidence, require_whole

_CELLS_AT_ONCE = 2_000_000
_MOST_GROUPS = 200


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
) -> tuple[float, float]:
    """Interval of a figure; nan below three units, or systems, or without draws.

    ``figure`` takes how often each unit counts, shape=(draws, n_units), and gives one value a draw. Units of one system are not
    independent, so where ``systems``, shape=(n_units,), are known the interval is the jackknife's over systems. Else units
    are resampled, bias-corrected and accelerated; that jackknife leaves out one unit at a time, or one of 200 groups where there
    are more units: sums of squares and cubes of the influence of groups have the expectation of those of units.
    """
    require_confidence(confidence)
    require_whole(0, n_bootstrap=n_bootstrap)
    if n_bootstrap < 1 or n_units < LEAST_UNITS:
        return float("nan"), float("nan")
    if systems is not None:
        names = np.unique(systems)
        block = max(1, _CELLS_AT_ONCE // n_units)
        parts = (names[start : start + block, None] for start in range(0, len(names), block))
        with np.errstate(invalid="ignore", divide="ignore"):
            left_out = np.concatenate([figure((systems != part).astype(float)) for part in parts])
            value = float(figure(np.ones((1, n_units)))[0])
        return jackknife_bounds(value, left_out, confidence, FISHER)
    random = np.random.default_rng(random_state)
    group = random.permutation(n_units) % _MOST_GROUPS
    left_in = (group != np.arange(min(n_units, _MOST_GROUPS))[:, None]).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = figure(np.ones((1, n_units)))[0]
        draws = np.concatenate([figure(counts) for counts in draw_counts(n_units, n_bootstrap, random)])
        jackknife = figure(left_in)
    return bca_interval(value, draws, jackknife, confidence)


def bca_interval(
    value: float, draws: np.ndarray, left_out: np.ndarray, confidence: float
) -> tuple[float, float]:
    """Interval of Efron (1987) from bootstrap draws and the jackknife; nan where there is nothing to go by."""
    draws, left_out = draws[np.isfinite(draws)], left_out[np.isfinite(left_out)]
    if not np.isfinite(value) or len(draws) < 2 or len(left_out) < 2:
        return float("nan"), float("nan")
    low, high = bca_bounds(draws, value, left_out, np.array([1 - confidence, 1 + confidence]) / 2)
    return float(low), float(high)
