"""Two correlations with the same truth, such as two predictors' S_LCC on the same systems: a test by formula.

It holds for Pearson's correlation of independent, normally distributed rows; clips of one system are not independent of one another.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from musiceval_sk._text import listed
from musiceval_sk.statistics.confidence import require_real, require_whole


@dataclass(frozen=True)
class TestResult:
    """Outcome of a two-sided test.

    Attributes
    ----------
    statistic : float
        Positive where the first correlation is the greater.
    p_value : float in [0, 1]
        Probability of a statistic at least as far from 0 if both correlations were equal.
    """

    __test__ = False  # no test of pytest's

    statistic: float
    p_value: float


def williams_test(r_a: float, r_b: float, r_ab: float, n: int) -> TestResult:
    """Williams' test that two predictors correlate equally with the truth.

    Parameters
    ----------
    r_a, r_b : float in [-1, 1]
        Correlation of the truth with predictor A, and with B.
    r_ab : float in [-1, 1]
        Correlation of A with B.
    n : int
        Number of independent rows, such as systems.

    Returns
    -------
    TestResult
        A t statistic of n - 3 degrees of freedom, and its p-value; nan below 4 rows or for a correlation that is nan.

    Raises
    ------
    ValueError
        If a correlation is no number or lies outside -1 and 1, or n is no whole number.

    References
    ----------
    E. J. Williams, "The comparison of regression variables", Journal of the Royal Statistical Society B 21 (1959), as formula 7 of
    J. H. Steiger, "Tests for comparing elements of a correlation matrix", Psychological Bulletin 87 (1980); for metrics:
    Y. Graham and T. Baldwin, "Testing for significance of increased correlation with human judgment", EMNLP 2014.

    Examples
    --------
    >>> found = williams_test(0.5, 0.4, 0.1, 103)
    >>> round(found.statistic, 2), round(found.p_value, 2)
    (0.89, 0.37)
    """
    given = {"r_a": r_a, "r_b": r_b, "r_ab": r_ab}
    require_real(**given)
    require_whole(0, n=n)
    outside = [f"{name}={value:g}" for name, value in given.items() if abs(value) > 1]
    if outside:
        raise ValueError(f"correlations lie between -1 and 1; got {listed(outside)}")
    if n < 4 or not np.isfinite([r_a, r_b, r_ab]).all():
        return TestResult(np.nan, np.nan)
    if r_a == r_b:
        return TestResult(0.0, 1.0)
    determinant = 1 - r_a**2 - r_b**2 - r_ab**2 + 2 * r_a * r_b * r_ab
    mean = (r_a + r_b) / 2
    variance = 2 * (n - 1) / (n - 3) * max(determinant, 0.0) + mean**2 * (1 - r_ab) ** 3
    statistic = (r_a - r_b) * np.sqrt((n - 1) * (1 + r_ab) / variance) if variance > 0 else np.nan
    return TestResult(float(statistic), float(2 * t.sf(abs(statistic), n - 3)))
