"""What fitted heads say of new clips, in numpy: prediction needs neither torch nor a device."""

from typing import Any

import numpy as np

from musiceval_sk.estimators.outputs import expected_score


def predict_members(regressor: Any, X: np.ndarray) -> np.ndarray:
    """Predict with every member, [shape=(n_ensemble, n, n_targets)]."""
    return np.stack([_run_head(regressor, X, head) for head in range(len(regressor.coefs_))], axis=-1)


def _run_head(regressor: Any, X: np.ndarray, head: int) -> np.ndarray:
    columns = regressor.head_columns_[head]
    hidden = X if len(columns) == X.shape[1] else X[:, columns]
    layers = list(zip(regressor.coefs_[head], regressor.intercepts_[head], strict=True))
    for i, (weights, biases) in enumerate(layers):
        hidden = hidden @ weights + biases[:, np.newaxis]
        if i < len(layers) - 1:
            hidden = _activate(hidden, regressor.activation)
    centres = regressor._centres()
    return (hidden if centres is None else expected_score(hidden, centres))[..., 0]


def _activate(hidden: np.ndarray, activation: str) -> np.ndarray:
    if activation == "relu":
        return np.maximum(hidden, 0)
    if activation == "gelu":
        from scipy.special import erf

        return hidden * (0.5 * (1 + erf(hidden * 0.5**0.5)))
    return hidden
