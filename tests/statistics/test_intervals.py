import numpy as np
import pytest

from musiceval_sk.statistics.intervals import fisher_interval, spearman_interval


def test_by_hand():
    # atanh 0.5 = ln(3) / 2; standard error sqrt((1 + 0.125) / 9) = sqrt(0.125); 1.959964 standard errors either way.
    half = 1.959963984540054 * np.sqrt(0.125)
    centre = np.log(3) / 2
    expected = [np.tanh(centre - half), np.tanh(centre + half)]
    assert spearman_interval(0.5, 12) == pytest.approx(expected, abs=1e-12)


def test_frozen():
    assert spearman_interval(0.5, 12) == pytest.approx((-0.1427, 0.8461), abs=5e-5)


def test_turned_round():
    low, high = spearman_interval(0.7, 31)
    assert spearman_interval(-0.7, 31) == pytest.approx((-high, -low), abs=1e-12)


def test_narrower_with_more_pairs_and_less_confidence():
    def width(*arguments, **keywords):
        low, high = spearman_interval(*arguments, **keywords)
        return high - low

    assert width(0.8, 31) < width(0.8, 12)
    assert width(0.8, 31, confidence=0.8) < width(0.8, 31)


def test_zero_is_in_the_middle():
    # Standard error sqrt(1 / 100): tanh of 1.96 tenths.
    assert spearman_interval(0.0, 103) == pytest.approx((-np.tanh(0.1959964), np.tanh(0.1959964)), abs=1e-7)


@pytest.mark.parametrize(("srcc", "n"), [(0.5, 3), (0.5, 0), (np.nan, 31), (1.0, 31), (-1.0, 31)])
def test_without_an_interval(srcc, n):
    low, high = spearman_interval(srcc, n)
    assert np.isnan([low, high]).all()


def test_four_pairs_are_enough():
    assert np.isfinite(spearman_interval(0.5, 4)).all()


@pytest.mark.parametrize("interval", [fisher_interval, spearman_interval])
def test_what_is_no_number_is_refused(interval):
    with pytest.raises(ValueError, match="numbers are expected; got (lcc|srcc)='a'"):
        interval("a", 20)
    with pytest.raises(ValueError, match="n must be a whole number and at least 0; got '20'"):
        interval(0.5, "20")
