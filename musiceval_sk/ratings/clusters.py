"""Intervals of estimates from observations that share raters, prompts or both.

To draw raters and prompts anew at once counts the noise of single observations up to three times (Owen 2007). Here variances by
rater and by prompt are added, and that by both at once, which each of them holds, is taken off.

Source: A. C. Cameron, J. B. Gelbach and D. L. Miller, "Robust inference with multiway clustering", Journal of Business and Economic
Statistics 29 (2011). A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007).
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import sparse
from scipy.special import stdtrit


class ClusterCovariance:
    """Covariance of estimates over clusters of observations, such as those of a rater and of a prompt.

    Parameters
    ----------
    influence : np.ndarray [shape=(n_observations, n_estimates)]
        How much each estimate owes to each observation; columns sum to about zero.
    ways : sequence of np.ndarray [shape=(n_observations,)]
        At most two ways to cluster: the number of each observation's cluster, from 0 without gaps. Without any, observations are
        taken for independent.

    Examples
    --------
    >>> values = np.array([1.0, 2.0, 3.0, 6.0])
    >>> influence = (values - values.mean())[:, np.newaxis] / 4
    >>> ClusterCovariance(influence, []).half_widths(0.95).round(2)  # of a mean: 3.18 standard errors
    array([3.44])
    """

    def __init__(self, influence: np.ndarray, ways: Sequence[np.ndarray]):
        cells = np.arange(len(influence))
        if len(ways) == 2:
            first, second = ways
            cells = np.unique(first * (second.max() + 1) + second, return_inverse=True)[1]
        self._cells = _covariance(influence, cells)
        self._ways = [_covariance(influence, way) for way in ways]

    def half_widths(self, confidence: float) -> np.ndarray:
        """Half widths of intervals of the estimates by Student's t, [shape=(n_estimates,)].

        Variances are those of all ways together, but no less than that of cells; degrees of freedom are Satterthwaite's.
        """
        return self._half_widths(np.diag, confidence)

    def half_widths_of_differences(self, confidence: float) -> np.ndarray:
        """Half widths of intervals of the estimate of the row less that of the column, [shape=(n_estimates, n_estimates)]."""
        return self._half_widths(_of_differences, confidence)

    def _half_widths(self, variances: Callable[[np.ndarray], np.ndarray], confidence: float) -> np.ndarray:
        noise, n_cells = variances(self._cells[0]), self._cells[1]
        by_way = [variances(covariance) for covariance, _ in self._ways]
        total = sum(by_way, start=(1 - len(by_way)) * noise)
        squares = [variance**2 / (n - 1) for variance, (_, n) in zip(by_way, self._ways, strict=True)]
        freedom = np.full(noise.shape, n_cells - 1.0)
        np.divide(total**2, sum(squares), out=freedom, where=total > noise)
        return stdtrit(freedom, (1 + confidence) / 2) * np.sqrt(np.maximum(total, noise))


def _covariance(influence: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, int]:
    n = groups.max() + 1
    sums = sparse.csr_matrix((np.ones(len(groups)), (groups, np.arange(len(groups))))) @ influence
    return sums.T @ sums * n / max(n - 1, 1), n


def _of_differences(covariance: np.ndarray) -> np.ndarray:
    own = np.diag(covariance)
    return np.maximum(0, own[:, np.newaxis] + own - 2 * covariance)
