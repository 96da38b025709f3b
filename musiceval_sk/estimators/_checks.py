"""What `MOSRegressor` settles before it trains: its parameters, the rows it holds out, the device."""

from typing import Any

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit


def check_parameters(regressor: Any) -> None:
    """Raise unless every parameter is in its range."""
    from musiceval_sk.estimators._mlp import ACTIVATIONS, LOSSES

    choices = {"activation": ACTIVATIONS, "loss": tuple(LOSSES), "dtype": ("float32", "float64")}
    for name, allowed in choices.items():
        if getattr(regressor, name) not in allowed:
            raise ValueError(
                f"{name}={getattr(regressor, name)!r} is unknown; choose from {', '.join(allowed)}"
            )
    for name in ("batch_size", "max_iter", "n_iter_no_change", "n_ensemble"):
        if getattr(regressor, name) < 1:
            raise ValueError(f"{name}={getattr(regressor, name)!r} must be at least 1")
    if np.min(regressor.hidden_layer_sizes, initial=1) < 1:
        raise ValueError(f"hidden_layer_sizes={regressor.hidden_layer_sizes!r} must all be at least 1")
    if not regressor.learning_rate_init > 0:
        raise ValueError(f"learning_rate_init={regressor.learning_rate_init!r} must be above 0")
    if not 0 <= regressor.momentum < 1:
        raise ValueError(f"momentum={regressor.momentum!r} must lie in [0, 1)")
    if regressor.early_stopping and not 0 < regressor.validation_fraction < 1:
        raise ValueError(f"validation_fraction={regressor.validation_fraction!r} must lie in (0, 1)")
    for name in ("alpha", "tol"):
        if not getattr(regressor, name) >= 0:
            raise ValueError(f"{name}={getattr(regressor, name)!r} must not be negative")


def hold_out(
    regressor: Any, n_rows: int, groups: Any, random_state: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the rows to learn from and the rows to judge by."""
    everything = np.arange(n_rows)
    if not regressor.early_stopping:
        return everything, everything[:0]
    units, n_units, splitter = "rows", n_rows, ShuffleSplit
    if groups is not None:
        groups = np.asarray(groups)
        if len(groups) != n_rows:
            raise ValueError(f"groups has {len(groups)} entries for {n_rows} rows")
        units, n_units, splitter = "groups", len(np.unique(groups)), GroupShuffleSplit
    if n_units < 2:
        raise ValueError(
            f"early_stopping holds out a part of the training data, but there is only 1 sample ({n_units} {units}); "
            "set early_stopping=False"
        )
    held = max(1, int(np.ceil(regressor.validation_fraction * n_units)))
    split = splitter(n_splits=1, test_size=min(held, n_units - 1), random_state=random_state)
    learning, judging = next(split.split(everything, groups=groups))
    return np.sort(learning), np.sort(judging)
