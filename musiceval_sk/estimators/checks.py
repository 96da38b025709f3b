"""What `MOSRegressor` checks before it trains or predicts: its parameters, and whose embeddings X holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import InvalidParameterError

from musiceval_sk.exceptions import ModelFileError

FINGERPRINT = "encoder_fingerprint"


@contextmanager
def kept_on_failure(estimator: Any) -> Iterator[None]:
    """Leave an estimator as it was, fitted or not, if the block fails: no mixture of an old and a new fit."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def check_widths(widths: Any) -> None:
    """Raise unless hidden layers have whole widths of at least 1."""
    found = np.asarray(widths)
    if found.ndim > 1 or (found.size and (found.dtype.kind not in "iu" or found.min() < 1)):
        raise InvalidParameterError(f"hidden_layer_sizes={widths!r} must be whole numbers, each at least 1")


def check_interval(name: str, interval: Any) -> None:
    """Raise unless a parameter is an interval, or None."""
    if interval is None:
        return
    ends = np.asarray(interval, dtype=object).ravel()
    numbers = len(ends) == 2 and all(isinstance(end, Real) for end in ends)
    if not numbers or not -np.inf < ends[0] < ends[1] < np.inf:
        raise InvalidParameterError(
            f"{name}={interval!r} must be two finite numbers, the lower first, or None"
        )


def fingerprint_of(X: Any) -> str | None:
    """Read which encoder made X and how it was pooled, where X knows: `ClipEmbedder`'s tables note it in ``attrs``."""
    attributes = getattr(X, "attrs", None)
    found = attributes.get(FINGERPRINT) if isinstance(attributes, dict) else None
    return None if found is None else str(found)


def check_fingerprint(
    known: str | None, X: Any, what: str = "this regressor was trained on", name: str = "X"
) -> None:
    """Raise if X is known to come from another encoder."""
    found = fingerprint_of(X)
    if known is not None and found is not None and found != known:
        raise ModelFileError(
            f"{what} embeddings of encoder {known}, but {name} holds embeddings of encoder {found}: embed the clips "
            "with the first encoder and pooling, or train anew on the second's"
        )


def check_validation(
    regressor: Any, X: Any, X_val: Any, y_val: Any, sample_weight_val: Any, name: str = "X_val"
) -> None:
    """Raise unless data to judge by are given whole, are of use, and come from the encoder of X."""
    if (X_val is None) != (y_val is None):
        missing = name if X_val is None else "y_val"
        raise ValueError(f"{name} and y_val go together, but {missing} is missing")
    if X_val is None:
        if sample_weight_val is not None:
            raise ValueError("sample_weight_val weighs the rows of X_val, but X_val is missing")
        return
    if not regressor.early_stopping:
        raise ValueError(
            f"{name} tells when to stop early, but early_stopping=False; set early_stopping=True"
        )
    check_fingerprint(fingerprint_of(X), X_val, "X holds", "X_val")
