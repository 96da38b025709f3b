"""Two correlations with the same truth, such as two predictors' LCC on the same clips: tests and an interval by formula.

All take three correlations of one sample: of the truth with each predictor, and of the predictors with each other. They hold
for Pearson's correlation of independent, normally distributed rows; clips of one system are not independent of one another.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from musiceval_sk._confidence import require_confidence
from musiceval_sk.evaluation.stats import fisher_interval


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
        Number of clips, or of systems.

    Returns
    -------
    TestResult
        A t statistic of n - 3 degrees of freedom, and its p-value; nan below 4 rows or for a correlation that is nan.

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
    if n < 4 or not np.isfinite([r_a, r_b, r_ab]).all():
        return TestResult(np.nan, np.nan)
    if r_a == r_b:
        return TestResult(0.0, 1.0)
    determinant = 1 - r_a**2 - r_b**2 - r_ab**2 + 2 * r_a * r_b * r_ab
    mean = (r_a + r_b) / 2
    variance = 2 * (n - 1) / (n - 3) * max(determinant, 0.0) + mean**2 * (1 - r_ab) ** 3
    statistic = (r_a - r_b) * np.sqrt((n - 1) * (1 + r_ab) / variance) if variance > 0 else np.nan
    return TestResult(float(statistic), float(2 * t.sf(abs(statistic), n - 3)))


def steiger_test(r_a: float, r_b: float, r_ab: float, n: int) -> TestResult:
    """Steiger's variant: Dunn and Clark's test on Fisher's scale, with the covariance at the mean of both correlations.

    Parameters
    ----------
    r_a, r_b : float in [-1, 1]
        Correlation of the truth with predictor A, and with B.
    r_ab : float in [-1, 1]
        Correlation of A with B.
    n : int
        Number of clips, or of systems.

    Returns
    -------
    TestResult
        A standard normal statistic and its p-value; nan below 4 rows, for a correlation that is nan, 1 or -1.

    References
    ----------
    J. H. Steiger, "Tests for comparing elements of a correlation matrix", Psychological Bulletin 87 (1980), formula 14.

    Examples
    --------
    >>> found = steiger_test(0.5, 0.4, 0.1, 103)
    >>> round(found.statistic, 2), round(found.p_value, 2)
    (0.89, 0.37)
    """
    if n < 4 or not (np.abs([r_a, r_b]) < 1).all() or not np.isfinite(r_ab):
        return TestResult(np.nan, np.nan)
    if r_a == r_b:
        return TestResult(0.0, 1.0)
    square = ((r_a + r_b) / 2) ** 2
    covariance = r_ab * (1 - 2 * square) - square * (1 - 2 * square - r_ab**2) / 2
    spread = 2 - 2 * covariance / (1 - square) ** 2
    difference = np.arctanh(r_a) - np.arctanh(r_b)
    statistic = difference * np.sqrt((n - 3) / spread) if spread > 0 else np.nan
    return TestResult(float(statistic), float(2 * norm.sf(abs(statistic))))


def zou_interval(
    r_a: float, r_b: float, r_ab: float, n: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Zou's interval of the difference between two predictors' correlations with the truth.

    Parameters
    ----------
    r_a, r_b : float in [-1, 1]
        Correlation of the truth with predictor A, and with B.
    r_ab : float in [-1, 1]
        Correlation of A with B.
    n : int
        Number of clips, or of systems.
    confidence : float in (0, 1), default=0.95
        Nominal coverage.

    Returns
    -------
    tuple of float
        Lower and upper bound of r_a - r_b; nan below 4 rows, for a correlation that is nan, 1 or -1.

    References
    ----------
    G. Y. Zou, "Toward using confidence intervals to compare correlations", Psychological Methods 12 (2007), page 409.

    Examples
    --------
    >>> low, high = zou_interval(0.396, 0.179, 0.088, 66)
    >>> round(low, 3), round(high, 3)
    (-0.093, 0.517)
    """
    require_confidence(confidence)
    if n < 4 or not (np.abs([r_a, r_b]) < 1).all() or not np.isfinite(r_ab):
        return np.nan, np.nan
    low_a, high_a = fisher_interval(r_a, n, confidence=confidence)
    low_b, high_b = fisher_interval(r_b, n, confidence=confidence)
    shared = (r_ab - r_a * r_b / 2) * (1 - r_a**2 - r_b**2 - r_ab**2) + r_ab**3
    shared /= (1 - r_a**2) * (1 - r_b**2)

    difference = r_a - r_b
    return (
        difference - _third_side(r_a - low_a, high_b - r_b, shared),
        difference + _third_side(high_a - r_a, r_b - low_b, shared),
    )


def _third_side(a: float, b: float, correlation: float) -> float:
    """Combine two distances from estimates that correlate, as the law of cosines does."""
    return float(np.sqrt(max(a**2 + b**2 - 2 * correlation * a * b, 0)))
