"""The four S metrics of many sets of systems at once."""

import numpy as np

from musiceval_sk.evaluation._scores import settled


def system_agreement(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Compare systems within each set.

    Parameters
    ----------
    truth, prediction : np.ndarray [shape=(n_systems, n_sets)]
        Means of systems; one of them may have a single column, which then counts for all sets.

    Returns
    -------
    np.ndarray [shape=(4, n_sets)]
        MSE, LCC, SRCC and KTAU; correlations of a constant are nan.

    Notes
    -----
    Everything about ranks comes from the signs of all pairs: a system's rank, less the mean rank, is half the sum of its signs.
    """
    x, y = settled(truth), settled(prediction)
    x_signs, y_signs = _signs(x), _signs(y)
    x_untied, y_untied = np.einsum("ijb,ijb->b", x_signs, x_signs), np.einsum("ijb,ijb->b", y_signs, y_signs)
    shared = np.einsum("ijb,ijb->b", *np.broadcast_arrays(x_signs, y_signs))
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.stack(
            [
                np.mean((truth - prediction) ** 2, axis=0),
                _pearson(truth - truth.mean(axis=0), prediction - prediction.mean(axis=0)),
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
