"""MSE, LCC, SRCC and KTAU of many samples of the same clips, and of many sets of systems, at once.

A sample of clips is how often it holds each of them. Moments are then one matrix product of counts; ranks follow from cumulative
counts along an order that is sorted once; pairs are counted by `PairSigns`. No sample is ever sorted. A set of systems has means
of its own, few enough to lay out the sign of every pair.
"""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from musiceval_sk.statistics.align import is_constant, settled

_CHUNK = 64
_MANY_SYSTEMS = 200  # from here on pairs of a set are slower than sorting it
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
        self._ranks = _Ranks(truth), _Ranks(prediction)
        x, y = (_in_units(values - values.mean()) for values in (truth, prediction))
        self._moments = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, (truth - prediction) ** 2])
        # The costliest to lay out.
        self._pairs: Any = PairSigns(truth, prediction) if "KTAU" in kinds else None

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
        n, x, y, xx, yy, xy, squares = self._moments @ counts
        ties = [ranks.sizes(counts) for ranks in self._ranks]
        x_untied, y_untied = (n**2 - np.einsum("gb,gb->b", sizes, sizes) for sizes in ties)
        scores = []
        with np.errstate(divide="ignore", invalid="ignore"):
            for kind in self._kinds:
                if kind == "MSE":
                    scores.append(squares / n)
                    continue
                if kind == "LCC":
                    found = _correlation(xy - x * y / n, xx - x * x / n, yy - y * y / n)
                elif kind == "SRCC":
                    by_clip = map(_Ranks.centred, self._ranks, ties)
                    # Of ranks the squares add up to (n³ - sum of t³ over ties of t) / 12.
                    of_ranks = [(n**3 - np.einsum("gb,gb,gb->b", t, t, t)) / 12 for t in ties]
                    found = _correlation(np.einsum("ib,ib,ib->b", counts, *by_clip), *of_ranks)
                else:
                    found = _correlation(2 * self._pairs.balance(counts), x_untied, y_untied)
                found[(x_untied == 0) | (y_untied == 0)] = np.nan
                scores.append(found)
        return np.stack(scores)


class _Ranks:
    """The order of one variable's values."""

    def __init__(self, values: np.ndarray):
        _, group, n_tied = np.unique(values, return_inverse=True, return_counts=True)
        if is_constant(values):
            group, n_tied = np.zeros(len(values), dtype=int), np.array([len(values)])
        # Values that are in order, and not tied, need not be copied.
        self._order: Any = slice(None) if (np.diff(group) >= 0).all() else np.argsort(group)
        self._starts = np.cumsum(n_tied) - n_tied
        self._group: Any = slice(None) if isinstance(self._order, slice) and (n_tied == 1).all() else group

    def sizes(self, counts: np.ndarray) -> np.ndarray:
        """How often samples hold each value, in ascending order [shape=(n_values, n_samples)]."""
        sizes = counts[self._order]
        return sizes if len(sizes) == len(self._starts) else np.add.reduceat(sizes, self._starts)

    def centred(self, sizes: np.ndarray) -> np.ndarray:
        """Average rank of each clip, less the mean rank [shape=(n, n_samples)]."""
        ranks = np.cumsum(sizes, axis=0)
        ranks -= (sizes + sizes.sum(axis=0)) / 2
        return ranks[self._group]


class PairSigns:
    """The pairs of clips, ready to be counted, by matrix products, in samples that hold each clip any number of times.

    Clips are cut into chunks by prediction and into chunks by truth, never between equal values. Two clips in different chunks
    of both orders are ordered as their chunks are, so counts by chunk decide such pairs. All others are few: their signs are laid
    out once, and a matrix product adds them up for every sample.

    Parameters
    ----------
    truth, prediction : np.ndarray [shape=(n,)]
        Scores; only their order matters. It is fastest where clips are sorted by prediction.
    """

    def __init__(self, truth: np.ndarray, prediction: np.ndarray):
        truth_chunk, prediction_chunk = _chunks(truth), _chunks(prediction)

        def signs(clips: np.ndarray) -> np.ndarray:
            return _signs(truth[clips]) * _signs(prediction[clips])

        def signs_apart(clips: np.ndarray) -> np.ndarray:
            chunk = prediction_chunk[clips]
            return signs(clips) * (chunk[:, np.newaxis] != chunk)

        self._by_prediction = _blocks(prediction_chunk, signs)
        self._by_truth = [block for block in _blocks(truth_chunk, signs_apart) if block[1] is not None]
        names = np.unique(truth_chunk)
        self._truth_is = [
            (truth_chunk[clips] == names[:, np.newaxis]).astype(float) for clips, _ in self._by_prediction
        ]
        self._above = _signs(names)

    def balance(self, counts: np.ndarray) -> np.ndarray:
        """Concordant minus discordant pairs.

        Parameters
        ----------
        counts : np.ndarray [shape=(n, n_samples)]
            How often each sample holds each clip.

        Returns
        -------
        np.ndarray [shape=(n_samples,)]
            Whole numbers.
        """
        near, far = np.zeros((2, counts.shape[1]))
        below = np.zeros((len(self._above), counts.shape[1]))
        for (clips, signs), truth_is in zip(self._by_prediction, self._truth_is, strict=True):
            held = counts[clips]
            if signs is not None:
                near += np.einsum("ib,ib->b", held, signs @ held)
            here = truth_is @ held
            far += np.einsum("ib,ib->b", here, self._above @ below)
            below += here
        for clips, signs in self._by_truth:
            held = counts[clips]
            near += np.einsum("ib,ib->b", held, signs @ held)
        return near / 2 + far


def system_agreement(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Compare systems within each set.

    Parameters
    ----------
    truth, prediction : np.ndarray [shape=(n_systems, n_sets)]
        Means of systems; one of them may have a single column, which then counts for all sets. A system whose mean is nan is
        not in that set.

    Returns
    -------
    np.ndarray [shape=(4, n_sets)]
        MSE, LCC, SRCC and KTAU; correlations of a constant, and everything of an empty set, are nan.

    Notes
    -----
    Everything about ranks comes from the signs of all pairs: a system's rank, less the mean rank, is half the sum of its signs.
    Where systems are so many that their pairs would fill memory, each set is scored as clips are.
    """
    present = np.isfinite(truth) & np.isfinite(prediction)
    if len(present) > _MANY_SYSTEMS:
        sets = np.broadcast_arrays(truth.T, prediction.T, present.T)
        return np.column_stack([*map(_agreement_of_many, *sets)])
    if not present.all():
        truth, prediction = (np.where(present, values, np.nan) for values in (truth, prediction))
    n = present.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        centred = (np.nan_to_num(values - np.nansum(values, axis=0) / n) for values in (truth, prediction))
        x, y = map(_in_units, centred)
        x_signs, y_signs = _signs(settled(truth)), _signs(settled(prediction))
        x_untied, y_untied = ((signs**2).sum(axis=(0, 1)) for signs in (x_signs, y_signs))
        x_ranks, y_ranks = x_signs.sum(axis=0), y_signs.sum(axis=0)
        shared = np.einsum("ijb,ijb->b", *np.broadcast_arrays(x_signs, y_signs))
        scores = np.stack(
            [
                np.nansum((truth - prediction) ** 2, axis=0) / n,
                _correlation((x * y).sum(axis=0), (x * x).sum(axis=0), (y * y).sum(axis=0)),
                _correlation(
                    (x_ranks * y_ranks).sum(axis=0), (x_ranks**2).sum(axis=0), (y_ranks**2).sum(axis=0)
                ),
                _correlation(shared, x_untied, y_untied),
            ]
        )
    scores[1:, np.broadcast_to((x_untied == 0) | (y_untied == 0), n.shape)] = np.nan
    return scores


def _agreement_of_many(truth: np.ndarray, prediction: np.ndarray, present: np.ndarray) -> np.ndarray:
    if not present.any():
        return np.full(len(KINDS), np.nan)
    agreement = ClipAgreement(settled(truth[present]), settled(prediction[present]))
    return agreement.score(np.ones((present.sum(), 1))).ravel()


def _signs(values: np.ndarray) -> np.ndarray:
    """Signs of all pairs, 0 for one that is not there."""
    signs = np.sign(values[:, np.newaxis] - values)
    return np.nan_to_num(signs) if np.isnan(values).any() else signs


def _in_units(values: np.ndarray) -> np.ndarray:
    """Scale each set by a power of two, which changes no correlation, so that products of squares do not vanish."""
    return np.ldexp(values, -np.frexp(np.abs(values).max(axis=0, initial=0))[1])


def _correlation(shared: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.clip(shared / np.sqrt(first * second), -1, 1)


def _chunks(values: np.ndarray) -> np.ndarray:
    """Put clips into chunks: whole groups of equal values, together at most `_CHUNK` clips where they can be."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    chunk_of_group = np.empty(len(sizes), dtype=int)
    chunk, held = 0, 0
    for number, size in enumerate(sizes):
        if held and held + size > _CHUNK:
            chunk, held = chunk + 1, 0
        chunk_of_group[number] = chunk
        held += size
    return chunk_of_group[group]


def _blocks(
    chunks: np.ndarray, signs: Callable[[np.ndarray], np.ndarray]
) -> list[tuple[slice | np.ndarray, np.ndarray | None]]:
    """Clips of each chunk in turn, with their signs; None where no pair within counts."""
    bounds = np.cumsum(np.bincount(chunks))[:-1]
    blocks = []
    for clips in np.split(np.argsort(chunks, kind="stable"), bounds):
        found = signs(clips) if len(clips) <= _CHUNK else np.zeros(1)
        in_a_row = (np.diff(clips) == 1).all()
        blocks.append((slice(clips[0], clips[-1] + 1) if in_a_row else clips, found if found.any() else None))
    return blocks
