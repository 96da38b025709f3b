import numpy as np
import pytest

from musiceval_sk import fisher_interval, steiger_test, williams_test, zou_interval


def test_williams_on_the_example_of_psychs_r_test():
    """Steiger's example as R's psych::r.test prints it: t = .89, p = .37. By hand:

    |R| = 1 - .25 - .16 - .01 + 2 * .5 * .4 * .1 = .62; r̄² (1 - .1)³ = .2025 * .729 = .1476225;
    t = .1 * sqrt(102 * 1.1 / (2 * 102 / 100 * .62 + .1476225)).
    """
    found = williams_test(0.5, 0.4, 0.1, 103)
    assert found.statistic == pytest.approx(0.1 * np.sqrt(112.2 / (2.04 * 0.62 + 0.1476225)), abs=1e-12)
    assert (round(found.statistic, 2), round(found.p_value, 2)) == (0.89, 0.37)


def test_steiger_by_hand():
    # r̄² = .2025: covariance = .1 * .595 - .2025 * (.595 - .01) / 2 over (1 - .2025)².
    covariance = (0.0595 - 0.2025 * 0.585 / 2) / 0.7975**2
    z = (np.arctanh(0.5) - np.arctanh(0.4)) * np.sqrt(100 / (2 - 2 * covariance))
    found = steiger_test(0.5, 0.4, 0.1, 103)
    assert found.statistic == pytest.approx(z, abs=1e-12)
    assert found.p_value == pytest.approx(0.3742, abs=5e-5)  # 2 * (1 - Φ(.8887))


def test_zous_example():
    """Zou (2007), overlapping correlations: .396 and .179 with .088 between, n = 66: (-.093, .517)."""
    assert zou_interval(0.396, 0.179, 0.088, 66) == pytest.approx((-0.093, 0.517), abs=5e-4)
    # Its ingredients by hand: Fisher's intervals of both.
    half = 1.959963984540054 / np.sqrt(63)
    assert fisher_interval(0.396, 66) == pytest.approx(
        tuple(np.tanh(np.arctanh(0.396) + np.array([-half, half]))), abs=1e-12
    )


@pytest.mark.parametrize("test", [williams_test, steiger_test])
def test_turned_round(test):
    one, other = test(0.8, 0.6, 0.5, 31), test(0.6, 0.8, 0.5, 31)
    assert one.statistic == pytest.approx(-other.statistic)
    assert one.p_value == pytest.approx(other.p_value)
    # Predictors that resemble each other are told apart more easily.
    assert test(0.8, 0.6, 0.8, 31).p_value < one.p_value
    assert test(0.7, 0.7, 0.5, 31).p_value == 1


def test_zou_turned_round():
    low, high = zou_interval(0.8, 0.6, 0.5, 31)
    assert zou_interval(0.6, 0.8, 0.5, 31) == pytest.approx((-high, -low))


@pytest.mark.parametrize(
    "r_a, r_b, r_ab, n", [(0.5, 0.4, 0.1, 3), (np.nan, 0.4, 0.1, 31), (0.5, 0.4, np.nan, 31)]
)
def test_without_an_answer(r_a, r_b, r_ab, n):
    assert np.isnan(williams_test(r_a, r_b, r_ab, n).p_value)
    assert np.isnan(steiger_test(r_a, r_b, r_ab, n).p_value)
    assert np.isnan(zou_interval(r_a, r_b, r_ab, n)).all()


def test_a_perfect_correlation_has_no_place_on_fishers_scale():
    assert np.isnan(steiger_test(1.0, 0.4, 0.4, 31).p_value)
    assert np.isnan(zou_interval(1.0, 0.4, 0.4, 31)).all()
    assert williams_test(1.0, 0.4, 0.4, 31).p_value < 1e-6
