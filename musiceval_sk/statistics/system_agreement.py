"""The four S metrics of many sets of systems at once."""

import numpy as np

from musiceval_sk.statistics.align import settled


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
    """
    present = np.isfinite(truth) & np.isfinite(prediction)
    if present.all():
        pairs = _signs(settled(truth)), _signs(settled(prediction))
        return _agreement(truth, prediction, pairs, len(truth))
    if not present.any():
        return np.full((4, present.shape[1]), np.nan)
    # In the place of an absent system, all that is summed up is 0.
    truth, prediction = (np.where(present, values, np.nan) for values in (truth, prediction))
    pairs = np.nan_to_num(_signs(settled(truth))), np.nan_to_num(_signs(settled(prediction)))
    sizes = present.sum(axis=0)
    return _agreement(truth, prediction, pairs, sizes)


def _agreement(
    truth: np.ndarray, prediction: np.ndarray, pairs: tuple[np.ndarray, ...], sizes: np.ndarray | int
) -> np.ndarray:
    x_signs, y_signs = pairs
    x_untied, y_untied = np.einsum("ijb,ijb->b", x_signs, x_signs), np.einsum("ijb,ijb->b", y_signs, y_signs)
    shared = np.einsum("ijb,ijb->b", *np.broadcast_arrays(x_signs, y_signs))
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.stack(
            [
                _sum((truth - prediction) ** 2) / sizes,
                _pearson(_centred(truth, sizes), _centred(prediction, sizes)),
                _pearson(x_signs.sum(axis=0), y_signs.sum(axis=0)),
                shared / np.sqrt(x_untied) / np.sqrt(y_untied),
            ]
        )
    scores[1:, np.broadcast_to((x_untied == 0) | (y_untied == 0), scores[0].shape)] = np.nan
    return scores


def _signs(values: np.ndarray) -> np.ndarray:
    return np.sign(values[:, np.newaxis] - values[np.newaxis])


def _pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.clip((x * y).sum(axis=0) / np.sqrt((x * x).sum(axis=0) * (y * y).sum(axis=0)), -1, 1)


def _sum(values: np.ndarray) -> np.ndarray:
    return np.nansum(values, axis=0)


def _centred(values: np.ndarray, sizes: np.ndarray | int) -> np.ndarray:
    return np.nan_to_num(values - _sum(values) / sizes)
