"""What the last layer's outputs mean: a score, or logits over bins of the scale. Serves numpy and torch alike."""

from typing import Any

import numpy as np


def bin_centres(n_bins: int, scale: tuple[float, float]) -> np.ndarray:
    """Centres of the bins of `loss="soft_bins"`, equally spaced from one end of the scale to the other."""
    return np.linspace(scale[0], scale[1], n_bins)


def expected_score(logits: Any, centres: Any) -> Any:
    """Take the expectation of the centres under the softmax of the logits.

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
