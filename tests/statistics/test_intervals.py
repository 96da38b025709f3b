"""Intervals of one figure by hand, on each scale and where there is none."""

import numpy as np
import pytest
from scipy import stats

from musiceval_sk import METRICS
from musiceval_sk.statistics.intervals import (
    bca,
    interval_of,
    jackknife,
    least_variances,
    method_of,
    scale_of,
)

# Without each of three units the figure is 1, 2 and 3: the jackknife's variance is 2 / 3 * (1 + 0 + 1). Student's t of 0.975 with
# two degrees of freedom is 4.30265.
LEFT_OUT = np.array([1.0, 2.0, 3.0])
HALF = 4.302652729911275 * np.sqrt(4 / 3)


@pytest.mark.parametrize(
    ("scale", "estimate", "low", "high"),
    [
        ("difference", 2.0, 2 - HALF, 2 + HALF),
        ("difference", 0.0, -HALF, HALF),
        ("concordance", 0.5, -1, 1),
        # The logarithm's slope at 2 is 1 / 2.
        ("error", 2.0, 2 * np.exp(-HALF / 2), 2 * np.exp(HALF / 2)),
        # The reciprocal of 8's cube root is 1 / 2, and its slope there 1 / 48.
        ("error of means", 8.0, (1 / 2 + HALF / 48) ** -3, (1 / 2 - HALF / 48) ** -3),
        # Of 1 it is 1, and its slope 1 / 3: the end lies beyond infinity.
        ("error of means", 1.0, (1 + HALF / 3) ** -3, np.inf),
        # Fisher's z has the slope 1 / (1 - 0.25) at 0.5.
        ("correlation", 0.5, np.tanh(np.arctanh(0.5) - HALF / 0.75), np.tanh(np.arctanh(0.5) + HALF / 0.75)),
    ],
)
def test_the_jackknife_by_hand(scale, estimate, low, high):
    assert jackknife(estimate, LEFT_OUT, scale, 0.95) == pytest.approx((low, high))


def test_the_jackknife_of_the_normal_distribution_and_of_the_least_variance():
    half = 1.959963984540054 * np.sqrt(4 / 3)
    assert jackknife(2.0, LEFT_OUT, "difference", 0.95, normal=True) == pytest.approx((2 - half, 2 + half))
    # A variance of the logarithm of 4 is one of 2² * 4 of the figure 2; one of 0.3 is less than is there.
    low, high = jackknife(2.0, LEFT_OUT, "difference", 0.95, least_variance=4.0)
    assert high - 2 == 2 - low == pytest.approx(4.302652729911275 * 4)
    assert jackknife(2.0, LEFT_OUT, "difference", 0.95, least_variance=0.3) == pytest.approx(
        (2 - HALF, 2 + HALF)
    )


@pytest.mark.parametrize(
    ("estimate", "left_out", "scale"),
    [(2.0, LEFT_OUT[:2], "difference"), (0.0, LEFT_OUT, "error"), (1.0, LEFT_OUT, "correlation")],
)
def test_the_jackknife_needs_three_units_and_a_figure_within_its_range(estimate, left_out, scale):
    assert np.isnan(jackknife(estimate, left_out, scale, 0.95)).all()


def test_which_interval_a_metric_has():
    assert [method_of("auto", metric, "systems") for metric in METRICS] == ["jackknife"] * 8
    assert [method_of("auto", metric, "clips") for metric in METRICS] == ["percentile"] * 8
    assert method_of("jackknife", "U_LCC", "clips") == "jackknife"
    scales = ["error", *["correlation"] * 3, "error of means", *["correlation"] * 2, "concordance"]
    assert [scale_of(metric) for metric in METRICS] == scales


def test_resamples_as_often_below_as_above_are_not_shifted():
    # One of four is less than 2, and three at most 2: half lie below. No unit changes the figure, so there is no skewness.
    samples = np.array([1.0, 2.0, 2.0, 3.0])
    assert bca(samples, 2.0, np.ones(5), 0.5) == pytest.approx(tuple(np.quantile(samples, [0.25, 0.75])))


@pytest.mark.parametrize(("estimate", "share"), [(0.5, 1 / 10), (9.5, 9 / 10)])
def test_resamples_on_one_side_count_as_if_one_more_lay_on_the_other(estimate, share):
    samples = np.arange(1.0, 10)
    tails = stats.norm.cdf(2 * stats.norm.ppf(share) + stats.norm.ppf([0.05, 0.95]))
    assert bca(samples, estimate, np.ones(5), 0.9) == pytest.approx(tuple(np.quantile(samples, tails)))


def test_skewness_by_hand():
    # Influences 2, -1 and -1: squares add up to 6, cubes to 6, and the acceleration is 6 / (6 * 6 ** 1.5).
    samples = np.linspace(-1, 1, 101)
    shifted = stats.norm.ppf([0.05, 0.95])
    tails = stats.norm.cdf(shifted / (1 - 6**-1.5 * shifted))
    found = bca(samples, 0.0, np.array([0.0, 3.0, 3.0]), 0.9)
    assert found == pytest.approx(tuple(np.quantile(samples, tails)))


def test_variances_that_normal_errors_of_systems_would_give():
    # Errors of three systems of 2, 1 and 1 clips: 4 and 2, 5, 4. Means 3, 5, 4: their mean is 4 and their variance 1. Squares of
    # normal errors of such systems vary by 2 * 1 + 4 * 1 * (16 - 1 / 3); within systems squares are 10 - 9, 0 and 0, of variance 1 / 3.
    errors, systems = np.array([4.0, 2.0, 5.0, 4.0]), np.array(list("aabc"))
    found = dict(zip(METRICS, least_variances(np.ones(4), 1 + errors, systems), strict=True))
    of_square = 2 + 4 * (16 - 1 / 3)
    assert found.pop("S_MSE") == pytest.approx(of_square / 3 / ((9 + 25 + 16) / 3) ** 2)
    # Of U_MSE the systems have shares of 1/2, 1/4 and 1/4.
    shares = 1 / 4 + 1 / 16 + 1 / 16
    assert found.pop("U_MSE") == pytest.approx(shares * (of_square + 1 / 3) / ((16 + 4 + 25 + 16) / 4) ** 2)
    assert not any(found.values())
    assert not least_variances(np.ones(4), 1 + errors, None).any()


def mean(weights, values):
    return weights @ values / weights.sum(axis=1)


@pytest.mark.parametrize(
    ("n_units", "options", "note"),
    [
        (2, {}, "no interval: 2 items, and 3 are needed"),
        (4, {"systems": np.array(list("aabb"))}, "no interval: 2 systems, and 3 are needed"),
        (2, {"units": "raters"}, "no interval: 2 raters, and 3 are needed"),
        (5, {"value": np.ones(5)}, "no interval: the figure does not depend on which items are chosen"),
        (5, {"value": np.full(5, np.nan)}, "no interval: too few choices of the items have a figure"),
        (9, {"n_bootstrap": 0}, ""),
        (9, {"n_bootstrap": 1}, "no interval: too few choices of the items have a figure"),
    ],
)
def test_why_there_is_no_interval(n_units, options, note):
    how = {"value": np.arange(float(n_units)), "n_bootstrap": 9} | options
    value, n_bootstrap = how.pop("value"), how.pop("n_bootstrap")
    low, high, said = interval_of(n_units, lambda weights: mean(weights, value), 0.95, n_bootstrap, 0, **how)
    assert np.isnan([low, high]).all()
    assert said == note


@pytest.mark.parametrize("systems", [None, np.arange(3)], ids=["units", "systems"])
def test_three_are_enough(systems):
    values = np.array([0.1, 0.3, 0.2])
    low, high, note = interval_of(3, lambda weights: mean(weights, values), 0.95, 99, 0, systems)
    assert low < 0.2 < high and note == ""


def test_two_resamples_make_an_interval_and_others_another():
    values = np.arange(9.0)
    found = [interval_of(9, lambda weights: mean(weights, values), 0.95, 2, seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert all(low < high and note == "" for low, high, note in found)
