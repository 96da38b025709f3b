"""Intervals and groups that figures work out for themselves."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from musiceval_sk.reporting.plots.base import check_intervals
from musiceval_sk.reporting.plots.systems import groups_alike, told_apart
from musiceval_sk.statistics.comparison import holm
from musiceval_sk.statistics.intervals import mean_interval, system_intervals


def test_interval_of_independent_clips_is_scipys():
    values = np.random.default_rng(0).normal(3, 1, 17)
    expected = stats.t.interval(0.9, 16, values.mean(), stats.sem(values))
    np.testing.assert_allclose(mean_interval(values, confidence=0.9)[1:], expected, rtol=1e-12)


def test_interval_with_groups_by_hand():
    # Mean 2.5. Deviations summed by group: a -1.5 - 0.5 = -2, b 0.5 + 1.5 = 2. sqrt(2 / 1 * 8) / 4 = 1.
    mean, low, high = mean_interval([1, 2, 3, 4], groups=["a", "a", "b", "b"])
    assert mean == 2.5
    quantile = stats.t.ppf(0.975, 1)
    assert (low, high) == pytest.approx((2.5 - quantile, 2.5 + quantile))


def test_one_group_has_no_interval():
    assert np.isnan(mean_interval([1, 2, 3], groups=["a", "a", "a"])[1:]).all()
    table = system_intervals([1.0, 3.0, 4.0], ["a", "a", "b"])
    assert table["clips"].tolist() == [2, 1]
    assert np.isnan(table.loc["b", ["low", "high"]]).all()
    assert table.loc["a", "mean"] == 2.0


def test_systems_are_told_apart_by_welch_and_holm():
    rng = np.random.default_rng(1)
    parts = {"a": rng.normal(2, 0.3, 9), "b": rng.normal(2.0, 0.3, 9), "c": rng.normal(4, 1, 6)}
    apart = told_apart(np.concatenate(list(parts.values())), np.repeat(list(parts), [9, 9, 6]))
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    p_values = [stats.ttest_ind(parts[one], parts[other], equal_var=False).pvalue for one, other in pairs]
    for (one, other), adjusted in zip(pairs, holm(p_values), strict=True):
        assert apart.loc[one, other] == apart.loc[other, one] == (adjusted <= 0.05)
    assert not apart.loc["a", "b"] and apart.loc["a", "c"]


def test_single_clips_are_told_apart_from_nothing_and_constant_systems_by_their_means():
    apart = told_apart([1, 1, 5, 2, 2, 1, 1], ["a", "a", "b", "c", "c", "d", "d"])
    assert not apart.loc["b"].any()
    assert apart.loc["a", "c"] and not apart.loc["a", "d"]


def test_groups_are_the_longest_runs_without_a_difference():
    apart = pd.DataFrame(False, index=list("abcd"), columns=list("abcd"))
    for one, other in ("ac", "ad", "bd"):
        apart.loc[one, other] = apart.loc[other, one] = True
    assert groups_alike(list("abcd"), apart) == [["a", "b"], ["b", "c"], ["c", "d"]]
    assert groups_alike(list("abcd"), ~apart | True) == []
    assert groups_alike(list("abcd"), apart & False) == [list("abcd")]


def test_given_intervals_are_checked():
    given = pd.DataFrame({"low": [1.0, 2.0], "high": [3.0, 4.0]}, index=["b", "a"])
    assert check_intervals(given, pd.Index(["a", "b"]))["low"].tolist() == [2.0, 1.0]
    with pytest.raises(ValueError, match=r"missing column\(s\) high; found: low"):
        check_intervals(given[["low"]], given.index)
    with pytest.raises(ValueError, match="intervals say nothing about: c"):
        check_intervals(given, pd.Index(["a", "c"]))
