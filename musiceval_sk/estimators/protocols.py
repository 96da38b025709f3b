"""What publications fix of `MOSRegressor`'s parameters."""

from typing import Any

# The paper names no momentum, widths or stopping rule: they are those of its released code.
_PAPER: dict[str, Any] = {
    "hidden_layer_sizes": (256, 64),
    "activation": "relu",
    "loss": "l1",
    "standardize": False,
    "linear": None,
    "batch_size": 64,
    "learning_rate_init": 5e-4,
    "momentum": 0.9,
    "max_iter": 1000,
    "hold_out": "random",
    "validation_fraction": 0.1,
    "n_iter_no_change": 20,
    "averaging": 0.0,
    "n_ensemble": 1,
}
PROTOCOLS: dict[str, dict[str, Any]] = {
    "paper": _PAPER,
    "released": _PAPER | {"activation": "identity", "stop_together": True},
}
