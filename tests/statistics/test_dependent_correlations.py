import numpy as np
import pytest

from musiceval_sk import williams_test


def test_williams_on_the_example_of_psychs_r_test():
    """Steiger's example as R's psych::r.test prints it: t = .89, p = .37. By hand:

    |R| = 1 - .25 - .16 - .01 + 2 * .5 * .4 * .1 = .62; r̄² (1 - .1)³ = .2025 * .729 = .1476225;
    t = .1 * sqrt(102 * 1.1 / (2 * 102 / 100 * .62 + .1476225)).
    """
    found = williams_test(0.5, 0.4, 0.1, 103)
    assert found.statistic == pytest.approx(0.1 * np.sqrt(112.2 / (2.04 * 0.62 + 0.1476225)), abs=1e-12)
    assert (round(found.statistic, 2), round(found.p_value, 2)) == (0.89, 0.37)


def test_turned_round():
    one, other = williams_test(0.8, 0.6, 0.5, 31), williams_test(0.6, 0.8, 0.5, 31)
    assert one.statistic == pytest.approx(-other.statistic)
    assert one.p_value == pytest.approx(other.p_value)
    # Predictors that resemble each other are told apart more easily.
    assert williams_test(0.8, 0.6, 0.8, 31).p_value < one.p_value
    assert williams_test(0.7, 0.7, 0.5, 31).p_value == 1


@pytest.mark.parametrize(
    "r_a, r_b, r_ab, n", [(0.5, 0.4, 0.1, 3), (np.nan, 0.4, 0.1, 31), (0.5, 0.4, np.nan, 31)]
)
def test_without_an_answer(r_a, r_b, r_ab, n):
    assert np.isnan(williams_test(r_a, r_b, r_ab, n).p_value)


def test_a_perfect_correlation_is_told_from_another():
    assert williams_test(1.0, 0.4, 0.4, 31).p_value < 1e-6


def test_what_is_no_correlation_is_refused():
    with pytest.raises(ValueError, match="correlations lie between -1 and 1; got r_a=1.2, r_ab=-3"):
        williams_test(1.2, 0.4, -3, 31)
    with pytest.raises(ValueError, match="numbers are expected; got r_a='a', r_ab=None"):
        williams_test("a", 0.4, None, 31)
    with pytest.raises(ValueError, match="n must be a whole number and at least 0; got '31'"):
        williams_test(0.5, 0.4, 0.1, "31")
