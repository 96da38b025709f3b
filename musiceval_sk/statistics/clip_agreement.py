"""The four U metrics of many samples of the same clips at once.

A sample is how often it holds each clip. Moments are one matrix product of counts; ranks follow from cumulative counts along
an order that is sorted once; pairs are counted by `PairSigns`. No sample is ever sorted.
"""

from collections.abc import Collection

import numpy as np

from musiceval_sk.statistics.align import is_constant
from musiceval_sk.statistics.pair_signs import PairSigns

KINDS = ("MSE", "LCC", "SRCC", "KTAU")


class ClipAgreement:
    """Truth and prediction of clips, ready to be compared in any sample of them.

    Parameters
    ----------
    truth, prediction : np.ndarray [shape=(n,)]
        Scores.
    kinds : collection of str, default=("MSE", "LCC", "SRCC", "KTAU")
        What to compute.
    """

    def __init__(self, truth: np.ndarray, prediction: np.ndarray, kinds: Collection[str] = KINDS):
        # In the order of predictions the costliest ranks and pairs are contiguous.
        self._order = np.argsort(prediction, kind="stable")
        truth, prediction = truth[self._order], prediction[self._order]
        self._kinds = [kind for kind in KINDS if kind in kinds]
        self._truth, self._prediction = _Ranks(truth), _Ranks(prediction)
        x, y = truth - truth.mean(), prediction - prediction.mean()
        self._moments = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, (truth - prediction) ** 2])
        self._pairs = PairSigns(truth, prediction) if "KTAU" in kinds else None  # the costliest to lay out

    def score(self, counts: np.ndarray) -> np.ndarray:
        """Compute the metrics of each sample.

        Parameters
        ----------
        counts : np.ndarray [shape=(n, n_samples)]
            How often each sample holds each clip, as floats.

        Returns
        -------
        np.ndarray [shape=(n_kinds, n_samples)]
            In the order MSE, LCC, SRCC, KTAU; correlations of a constant are nan.
        """
        counts = counts[self._order]
        moments = self._moments @ counts
        truth, prediction = self._truth.of(counts), self._prediction.of(counts)
        compute = {
            "MSE": lambda: moments[6] / moments[0],
            "LCC": lambda: _pearson(moments),
            "SRCC": lambda: _spearman(counts, truth, prediction),
        }
        if self._pairs is not None:
            balance = self._pairs.balance
            compute["KTAU"] = lambda: balance(counts) / np.sqrt(truth.untied) / np.sqrt(prediction.untied)
        scores = np.empty((len(self._kinds), counts.shape[1]))
        with np.errstate(divide="ignore", invalid="ignore"):
            for row, kind in enumerate(self._kinds):
                scores[row] = compute[kind]()
                if kind != "MSE":
                    scores[row, (truth.untied == 0) | (prediction.untied == 0)] = np.nan
        return scores


class _Ranks:
    """The order of one variable's values."""

    def __init__(self, values: np.ndarray):
        _, group = np.unique(values, return_inverse=True)
        if is_constant(values):
            group = np.zeros(len(values), dtype=int)
        is_sorted, is_distinct = (np.diff(group) >= 0).all(), group.max() == len(group) - 1
        order = np.argsort(group, kind="stable")
        self._order = None if is_sorted else order
        self._starts = None if is_distinct else np.searchsorted(group[order], np.arange(group.max() + 1))
        self._group = None if is_sorted and is_distinct else group

    def of(self, counts: np.ndarray) -> "_SampledRanks":
        """Rank in samples of these counts."""
        sizes = counts if self._order is None else counts[self._order]
        if self._starts is not None:
            sizes = np.add.reduceat(sizes, self._starts, axis=0)
        return _SampledRanks(sizes, self._group)


class _SampledRanks:
    """The ranks of one variable in samples: average ranks of ties, less the mean rank.

    Attributes
    ----------
    untied : np.ndarray [shape=(n_samples,)]
        Number of pairs that are not tied.
    """

    def __init__(self, sizes: np.ndarray, group: np.ndarray | None):
        self._sizes, self._group = sizes, group
        self._n = sizes.sum(axis=0)
        self.untied = (self._n**2 - np.einsum("gb,gb->b", sizes, sizes)) / 2

    def by_clip(self) -> np.ndarray:
        """Lay out the rank of each clip [shape=(n, n_samples)]."""
        ranks = np.cumsum(self._sizes, axis=0)
        ranks -= (self._sizes + self._n) / 2
        return ranks if self._group is None else ranks[self._group]

    def sum_of_squares(self) -> np.ndarray:
        """Over all clips: (n³ - sum of t³ over ties of t) / 12."""
        cubes = np.einsum("gb,gb,gb->b", self._sizes, self._sizes, self._sizes)
        return (self._n**3 - cubes) / 12


def _pearson(moments: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy, _ = moments
    return np.clip((xy - x * y / n) / np.sqrt((xx - x * x / n) * (yy - y * y / n)), -1, 1)


def _spearman(counts: np.ndarray, truth: _SampledRanks, prediction: _SampledRanks) -> np.ndarray:
    shared = np.einsum("ib,ib,ib->b", counts, truth.by_clip(), prediction.by_clip())
    return shared / np.sqrt(truth.sum_of_squares()) / np.sqrt(prediction.sum_of_squares())
