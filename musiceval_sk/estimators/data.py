"""What `MOSRegressor` makes of the X and y that it is given."""

import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import validate_data

from musiceval_sk._text import listed
from musiceval_sk.estimators.checks import fingerprint_of


class Data(NamedTuple):
    """Checked data: matrices [shape=(n, n_features)] and [shape=(n, n_targets)], and what is known of them."""

    X: np.ndarray
    Y: np.ndarray
    names: list[str]
    one_column: bool
    encoder: str | None


def take(regressor: Any, X: Any, y: Any, *, anew: bool, targets: list[str] | None = None) -> Data:
    """Check data as scikit-learn does, and keep what numpy arrays would lose.

    Parameters
    ----------
    regressor : MOSRegressor
        Its ``n_features_in_`` and ``feature_names_in_`` are set or, unless `anew`, compared.
    X : array-like [shape=(n, n_features)]
        Embeddings.
    y : array-like [shape=(n,) or (n, n_targets)]
        Mean opinion scores.
    anew : bool
        Whether these are the first data that the regressor sees.
    targets : list of str, default=None
        For data to judge by, the targets trained on; y must have as many columns.

    Returns
    -------
    Data
        X in float32 if it was, else in float64, Y in float64.
    """
    encoder, names = fingerprint_of(X), names_of(y)
    X, y = validate_data(
        regressor, X, y, multi_output=True, y_numeric=True, dtype=[np.float64, np.float32], reset=anew
    )
    X = np.require(X, requirements="W")  # torch warns of memory that it may not write to
    Y = y.reshape(len(y), -1).astype(np.float64)
    if targets is not None and Y.shape[1] != len(targets):
        raise ValueError(
            f"y_val has {Y.shape[1]} columns, but y has {len(targets)}: {listed(targets)}; give the same targets"
        )
    return Data(X, Y, names or [f"target_{i}" for i in range(Y.shape[1])], y.ndim == 1, encoder)


def warn_of_scores(
    Y: np.ndarray, names: list[str], scale: tuple[float, float] | None, stacklevel: int
) -> None:
    """Warn of targets that leave the scale, and of those that never vary."""
    lowest, highest = Y.min(axis=0), Y.max(axis=0)
    ranges = list(zip(names, lowest, highest, strict=True))
    if scale is not None:
        outside = [
            f"{name} spans {low:g} to {high:g}"
            for name, low, high in ranges
            if low < scale[0] or high > scale[1]
        ]
        if outside:
            warnings.warn(
                f"y leaves the scale from {scale[0]:g} to {scale[1]:g}: {listed(outside)}; if these are scores on "
                "another scale, set scale=(lowest, highest), or scale=None for none",
                stacklevel=stacklevel,
            )
    constant = [name for name, low, high in ranges if low == high]
    if constant and len(Y) > 1:
        warnings.warn(
            f"y is constant for {listed(constant)}: there is no difference to learn, and correlations with these "
            "predictions mean nothing",
            stacklevel=stacklevel,
        )


def joint_range(known: np.ndarray | None, Y: np.ndarray) -> np.ndarray:
    """Lowest and highest score of each target, [shape=(n_targets, 2)], of new and of known data."""
    found = np.stack([Y.min(axis=0), Y.max(axis=0)], axis=1)
    if known is None:
        return found
    return np.stack([np.minimum(known[:, 0], found[:, 0]), np.maximum(known[:, 1], found[:, 1])], axis=1)


def names_of(y: Any) -> list[str] | None:
    """Names of targets, where y bears any."""
    if hasattr(y, "columns"):
        return [str(name) for name in y.columns]
    return [str(y.name)] if getattr(y, "name", None) is not None else None
