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
    scores = []
    for head, columns in enumerate(regressor.head_columns_):
        seen = X if len(columns) == X.shape[1] else X[:, columns]
        of_head = network_scores(regressor, head, seen)
        if regressor.linear_coefs_ is not None:
            of_head = regressor.network_weights_[head] * of_head + regressor.linear_coefs_[head] @ seen.T
            of_head += regressor.linear_intercepts_[head][:, None]
        scores.append(of_head)
    return np.stack(scores, axis=-1)


def network_scores(regressor: Any, head: int, X: np.ndarray, member: int | None = None) -> np.ndarray:
    """Predict with a head's networks, [shape=(n_ensemble, n)], or one member's, [shape=(n,)], from the columns it sees."""
    centres, chosen = centres_of(regressor), slice(None) if member is None else [member]
    hidden = X
    layers = zip(regressor.coefs_[head], regressor.intercepts_[head], strict=True)
    for i, (weights, biases) in enumerate(layers):
        hidden = _activated(hidden, regressor.activation) if i else hidden
        hidden = hidden @ weights[chosen] + biases[chosen][:, None]
    scores = (hidden if centres is None else expected_score(hidden, centres))[..., 0]
    return scores if member is None else scores[0]


def _activated(hidden: np.ndarray, activation: str) -> np.ndarray:
    if activation == "relu":
        return np.maximum(hidden, 0)
    return hidden * (0.5 * (1 + erf(hidden * 0.5**0.5))) if activation == "gelu" else hidden
