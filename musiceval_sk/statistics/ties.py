"""Agreement over pairs where small differences count as ties.

Raters cannot tell all clips apart: a difference within their noise is a tie, and a good predictor says so. Pairwise accuracy
counts pairs that are ordered alike or tied in both; tau-b (U_KTAU, S_KTAU) gives no credit for ties that predictions share.

Source: D. Deutsch, G. Foster and M. Freitag, "Ties Matter: Meta-Evaluating Modern Metrics with Pairwise Accuracy and Tie
Calibration", EMNLP 2023.
"""

from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from musiceval_sk.statistics import align

_ROUNDING = 1e-9


def pairwise_accuracy(
    y_true: Any,
    y_pred: Any,
    *,
    systems: Any = None,
    true_threshold: float = 0.0,
    pred_threshold: float = 0.0,
    standard_errors: Any = None,
    confidence: float = 0.95,
) -> float:
    """Share of pairs on which truth and predictions agree: the same order, or tied in both.

    Parameters
    ----------
    y_true, y_pred : array-like [shape=(n,)]
        True and predicted mean opinion scores of clips.
    systems : array-like [shape=(n,)], default=None
        The system of each clip; given, systems are compared by their means instead of clips.
    true_threshold, pred_threshold : float in [0, inf), default=0.0
        Differences up to these, in points of the scale, are ties in truth and in predictions.
    standard_errors : array-like [shape=(n,)], default=None
        Standard error of each true score, such as ``impression_se`` of `aggregate_ratings`. Pairs are then tied in truth
        where raters' noise may explain their difference, instead of by ``true_threshold``.
    confidence : float in (0, 1), default=0.95
        How sure a difference must be, given standard errors; by a normal distribution, two-sided.

    Returns
    -------
    float in [0, 1]
        Higher is better; nan for a single clip or system, which has no pairs.

    Raises
    ------
    ValueError
        If a threshold is negative, both kinds of threshold are given, or standard errors are missing or negative.

    Warns
    -----
    FewSystemsWarning
        If there are fewer than five systems.

    Examples
    --------
    >>> pairwise_accuracy([1, 2, 3], [1, 3, 2]) == 2 / 3
    True
    >>> pairwise_accuracy([1, 2, 2.1], [1, 3, 2.9], true_threshold=0.2, pred_threshold=0.2)
    1.0
    """
    align.require_confidence(confidence)
    _require_thresholds(true_threshold=true_threshold, pred_threshold=pred_threshold)
    truth, prediction = align.validate(y_true, y_pred)
    clips = align.clips_of(y_true=y_true, y_pred=y_pred, systems=systems, standard_errors=standard_errors)
    noise = None
    if standard_errors is not None:
        noise = _noise(clips, standard_errors, len(truth))
        if true_threshold:
            raise ValueError("give either true_threshold or standard_errors: both say what is a tie in truth")
    if systems is not None:
        labels = align.systems_in_order(clips, systems, len(truth))
        align.warn_of_few(labels, stacklevel=2)
        if noise is not None:
            # Of the raters alone, for these clips: the square root of the sum of squares, over the number of clips.
            squares = pd.Series(noise**2).groupby(labels)
            noise = np.sqrt(squares.mean() / squares.size()).to_numpy()
        truth, prediction = (
            align.settled(align.system_means(values, labels).to_numpy()) for values in (truth, prediction)
        )
    sure, agreeing, n = norm.ppf((1 + confidence) / 2), 0, len(truth)
    for i in range(1, n):  # each against those before it, so that memory stays linear
        limit = true_threshold if noise is None else sure * np.hypot(noise[i], noise[:i])
        of_truth = _sign(truth[i] - truth[:i], limit)
        agreeing += np.count_nonzero(of_truth == _sign(prediction[i] - prediction[:i], pred_threshold))
    return float(agreeing / (n * (n - 1) / 2)) if n > 1 else float("nan")


def _noise(clips: align.Clips | None, standard_errors: Any, n: int) -> np.ndarray:
    noise = align.of_each_clip(clips, standard_errors, "standard_errors", n, float)
    broken = np.count_nonzero(~(np.isfinite(noise) & (noise >= 0)))
    if broken:
        raise ValueError(
            f"standard_errors holds {broken} values of {n} that are missing or negative, as where a clip has a single rating: "
            "leave such clips out, or give true_threshold instead"
        )
    return noise


def _require_thresholds(**thresholds: float) -> None:
    for name, value in thresholds.items():
        if not isinstance(value, Real) or not value >= 0:
            raise ValueError(f"{name} must be a number and at least 0; got {value!r}")


def _sign(difference: np.ndarray, limit: Any) -> np.ndarray:
    """Order of pairs: 0 for differences up to the limit, which rounding may put a hair beyond it."""
    return np.sign(difference) * (np.abs(difference) > limit + _ROUNDING)
