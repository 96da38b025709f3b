"""What fitted heads say of new clips, in numpy: prediction needs neither torch nor a device."""

from typing import Any

import numpy as np
from scipy.special import erf


def bin_centres(n_bins: int, scale: tuple[float, float]) -> np.ndarray:
    """Centres of the bins of `loss="soft_bins"`, equally spaced from one end of the scale to the other."""
    return np.linspace(scale[0], scale[1], n_bins)


def centres_of(regressor: Any) -> np.ndarray | None:
    """Centres of the bins, where a regressor's heads have bins."""
    return bin_centres(regressor.n_bins, regressor.scale) if regressor.loss == "soft_bins" else None


def expected_score(logits: Any, centres: Any) -> Any:
    """Take the expectation of the centres under the softmax of the logits; serves numpy and torch alike.

    Parameters
    ----------
    logits : np.ndarray or torch.Tensor [shape=(..., n_bins)]
        Outputs of the last layer.
    centres : np.ndarray or torch.Tensor [shape=(n_bins,)]
        Of the same kind, as `bin_centres` gives them.

    Returns
    -------
    np.ndarray or torch.Tensor [shape=(..., 1)]
        Scores, within the scale.
    """
    # numpy has no method exp and torch no function that takes arrays: all else is called the same in both.
    exponential = getattr(type(logits), "exp", np.exp)
    odds = exponential(logits - getattr(logits, "amax", logits.max)(-1, keepdims=True))
    return (odds * centres).sum(-1, keepdims=True) / odds.sum(-1, keepdims=True)


def predict_members(regressor: Any, X: np.ndarray) -> np.ndarray:
    """Predict with every member, [shape=(n_ensemble, n, n_targets)]."""
    centres = centres_of(regressor)
    scores = []
    for columns, *layers in zip(
        regressor.head_columns_, regressor.coefs_, regressor.intercepts_, strict=True
    ):
        hidden = X if len(columns) == X.shape[1] else X[:, columns]
        for i, (weights, biases) in enumerate(zip(*layers, strict=True)):
            hidden = (_activated(hidden, regressor.activation) if i else hidden) @ weights + biases[:, None]
        scores.append((hidden if centres is None else expected_score(hidden, centres))[..., 0])
    return np.stack(scores, axis=-1)


def _activated(hidden: np.ndarray, activation: str) -> np.ndarray:
    if activation == "relu":
        return np.maximum(hidden, 0)
    return hidden * (0.5 * (1 + erf(hidden * 0.5**0.5))) if activation == "gelu" else hidden
