"""Intervals of means and groups of systems, for figures that were given none."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from musiceval_sk._text import listed
from musiceval_sk.statistics.comparison import holm


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
    half = float(stats.t.ppf((1 + confidence) / 2, n_groups - 1) * error)
    return mean, mean - half, mean + half


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
    rows = {}
    for system, part in pd.Series(np.asarray(values, dtype=float)).groupby(np.asarray(systems)):
        rows[system] = (*mean_interval(part, confidence=confidence), len(part))
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high", "clips"])
    return table.astype({"clips": int})


def check_intervals(
    intervals: pd.DataFrame, index: pd.Index, columns: Sequence[str] = ("low", "high")
) -> pd.DataFrame:
    """Bring given intervals into the order of ``index``, or say what they lack."""
    missing = [column for column in columns if column not in intervals]
    if missing:
        raise ValueError(
            f"intervals lack the column(s) {listed(missing)}; found: {listed(intervals.columns)}"
        )
    strangers = index.difference(intervals.index)
    if len(strangers):
        raise ValueError(f"intervals say nothing about: {listed(strangers)}")
    return intervals.loc[index, list(columns)].astype(float)


def told_apart(values: Any, systems: Any, *, alpha: float = 0.05) -> pd.DataFrame:
    """Pairs of systems whose means differ: Welch's t-test over clips, Holm's correction over all pairs.

    Parameters
    ----------
    values : array-like [shape=(n,)]
        Scores of clips.
    systems : array-like [shape=(n,)]
        The system of each clip.
    alpha : float in (0, 1), default=0.05
        Family-wise error rate.

    Returns
    -------
    pandas.DataFrame of bool
        Systems by systems. A system of one clip is told apart from none.
    """
    groups = pd.Series(np.asarray(values, dtype=float)).groupby(np.asarray(systems))
    means, spreads, counts = groups.mean(), groups.std(), groups.count()
    first, second = np.triu_indices(len(means), k=1)
    usable = (counts.to_numpy()[first] > 1) & (counts.to_numpy()[second] > 1)
    p_values = np.ones(len(first))
    one, two = first[usable], second[usable]
    sides = [
        (means.to_numpy()[side], spreads.to_numpy()[side], counts.to_numpy()[side]) for side in (one, two)
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = stats.ttest_ind_from_stats(*sides[0], *sides[1], equal_var=False).pvalue
    # Two systems without any spread: equal means are no difference, unequal ones a certain one.
    flat = sides[0][1] + sides[1][1] == 0
    found = np.where(flat, (sides[0][0] == sides[1][0]).astype(float), found)
    p_values[usable] = found
    apart = np.zeros((len(means), len(means)), dtype=bool)
    apart[first, second] = apart[second, first] = holm(p_values) <= alpha
    return pd.DataFrame(apart, index=means.index, columns=means.index)


def groups_alike(order: Sequence[Any], apart: pd.DataFrame) -> list[list[Any]]:
    """Longest runs of ``order`` in which no pair is told apart; runs of one are left out."""
    differ = apart.loc[list(order), list(order)].to_numpy(dtype=bool)
    runs: list[list[Any]] = []
    reached = 0
    for start in range(len(order)):
        end = start + 1
        while end < len(order) and not differ[start:end, end].any():
            end += 1
        if end > reached and end - start > 1:
            runs.append(list(order[start:end]))
        reached = max(reached, end)
    return runs
