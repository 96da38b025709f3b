"""Models of raters: who is mild, who is harsh, who uses how much of the scale."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import linalg, sparse

from musiceval_sk._text import listed
from musiceval_sk.exceptions import RatingDesignError

_ROWS_AT_ONCE = 4096


class BiasFit(NamedTuple):
    """The model ``rating = item + bias of the rater`` fitted by least squares; biases sum to zero."""

    scores: np.ndarray  # one an item: what an average rater of this panel would give
    score_errors: np.ndarray
    biases: np.ndarray  # one a rater
    bias_errors: np.ndarray
    degrees_of_freedom: int


def fit_bias(items: np.ndarray, raters: np.ndarray, scores: np.ndarray, names: pd.Index) -> BiasFit:
    """Fit items and raters, both numbered from 0 without gaps, to their ratings.

    Items are eliminated first, so that one dense system of the size of the panel remains. Its matrix is the
    Laplacian of the raters' graph; adding the constant that sum-to-zero leaves free makes it definite.
    Standard errors suppose equal and independent noise, and are nan where no degree of freedom, or no residual, is left.
    """
    _require_connection(items, raters, names)
    n_items, n_raters = items.max() + 1, raters.max() + 1
    counts = sparse.csr_matrix((np.ones(len(items)), (items, raters)), shape=(n_items, n_raters))
    of_item, of_rater = np.asarray(counts.sum(1)).ravel(), np.asarray(counts.sum(0)).ravel()
    shares = sparse.diags(1 / of_item) @ counts
    means = np.bincount(items, scores) / of_item
    excess = np.bincount(raters, scores - means[items])
    laplacian = np.diag(of_rater) - (counts.T @ shares).toarray()
    constant = np.full((n_raters, n_raters), 1 / n_raters)
    inverse = linalg.inv(laplacian + constant, check_finite=False) - constant
    biases = inverse @ excess
    fitted = means - shares @ biases
    freedom = len(scores) - n_items - n_raters + 1
    residuals = scores - fitted[items] - biases[raters]
    squares = residuals @ residuals
    sd = float(np.sqrt(squares / freedom)) if freedom and squares > 1e-18 * len(scores) else float("nan")
    spread = np.concatenate(
        [
            np.asarray(rows.multiply(rows @ inverse).sum(1)).ravel()
            for rows in (shares[i : i + _ROWS_AT_ONCE] for i in range(0, n_items, _ROWS_AT_ONCE))
        ]
    )
    score_errors = sd * np.sqrt(1 / of_item + spread)
    bias_errors = sd * np.sqrt(np.maximum(0, np.diag(inverse)))
    return BiasFit(fitted, score_errors, biases, bias_errors, freedom)


def _require_connection(items: np.ndarray, raters: np.ndarray, names: pd.Index) -> None:
    """Refuse designs in which a harsh rater and a poor item look the same."""
    n_items, n_raters = items.max() + 1, raters.max() + 1
    if n_raters == 1:
        raise RatingDesignError(
            f"all ratings are those of one rater, {names[0]}: his bias cannot be told from the quality of the items"
        )
    if len(items) == n_items:
        raise RatingDesignError(
            "every item has a single rating, so a rater's bias cannot be told from the quality of his items; "
            "the rater-bias model needs items that several raters share"
        )
    graph = sparse.coo_matrix(
        (np.ones(len(items)), (raters, n_raters + items)), shape=(n_raters + n_items,) * 2
    )
    n_groups, labels = sparse.csgraph.connected_components(graph, directed=False)
    if n_groups > 1:
        groups = [listed(names[labels[:n_raters] == group], most=3) for group in range(n_groups)]
        raise RatingDesignError(
            f"the raters fall into {n_groups} groups that share no items, so that their biases cannot be compared: "
            f"{listed(f'[{group}]' for group in groups)}. Fit each group by itself, or aggregate by the mean"
        )


def scale_to_panel(raters: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Give every rater the mean and standard deviation of all ratings together; nan for one without spread.

    With population standard deviations the ratings as a whole keep the mean and spread that they had.
    """
    count = np.bincount(raters)
    mean = np.bincount(raters, scores) / count
    spread = np.sqrt(np.bincount(raters, (scores - mean[raters]) ** 2) / count)
    flat = spread < 1e-9
    spread[flat] = np.nan
    used = ~flat[raters]
    if not used.any():
        raise RatingDesignError("no rater gave two different scores, so there is no spread to normalise by")
    return (scores - mean[raters]) / spread[raters] * scores[used].std() + scores[used].mean()
