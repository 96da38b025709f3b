"""What `MOSRegressor` checks before it trains or predicts: its parameters, and whose embeddings X holds."""

from typing import Any

import numpy as np

from musiceval_sk.exceptions import ModelFileError

FINGERPRINT = "encoder_fingerprint"


def check_parameters(regressor: Any) -> None:
    """Raise unless every parameter is in its range."""
    from musiceval_sk.estimators._mlp import ACTIVATIONS, LOSSES

    choices = {"activation": ACTIVATIONS, "loss": tuple(LOSSES), "dtype": ("float32", "float64")}
    for name, allowed in choices.items():
        if getattr(regressor, name) not in allowed:
            raise ValueError(
                f"{name}={getattr(regressor, name)!r} is unknown; choose from {', '.join(allowed)}"
            )
    for name, least in {
        "batch_size": 1,
        "max_iter": 1,
        "n_iter_no_change": 1,
        "n_ensemble": 1,
        "n_bins": 2,
    }.items():
        if getattr(regressor, name) < least:
            raise ValueError(f"{name}={getattr(regressor, name)!r} must be at least {least}")
    if np.min(regressor.hidden_layer_sizes, initial=1) < 1:
        raise ValueError(f"hidden_layer_sizes={regressor.hidden_layer_sizes!r} must all be at least 1")
    for name in ("learning_rate_init", "bin_sigma"):
        if not getattr(regressor, name) > 0:
            raise ValueError(f"{name}={getattr(regressor, name)!r} must be above 0")
    if not 0 <= regressor.momentum < 1:
        raise ValueError(f"momentum={regressor.momentum!r} must lie in [0, 1)")
    if regressor.early_stopping and not 0 < regressor.validation_fraction < 1:
        raise ValueError(f"validation_fraction={regressor.validation_fraction!r} must lie in (0, 1)")
    for name in ("alpha", "tol", "rank_weight", "rank_margin"):
        if not getattr(regressor, name) >= 0:
            raise ValueError(f"{name}={getattr(regressor, name)!r} must not be negative")
    if not 1 <= regressor.rank_quality < np.inf:
        raise ValueError(f"rank_quality={regressor.rank_quality!r} must be at least 1, and finite")
    for name in ("scale", "clip"):
        _check_interval(name, getattr(regressor, name))
    if regressor.loss == "soft_bins" and regressor.scale is None:
        raise ValueError(
            "loss='soft_bins' lays its bins over the scale, but scale=None; set it to (lowest, highest) score"
        )


def _check_interval(name: str, interval: Any) -> None:
    if interval is None:
        return
    ends = np.asarray(interval, dtype=object).ravel()
    try:
        sound = len(ends) == 2 and -np.inf < float(ends[0]) < float(ends[1]) < np.inf
    except (TypeError, ValueError):
        sound = False
    if not sound:
        raise ValueError(f"{name}={interval!r} must be two finite numbers, the lower first, or None")


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
