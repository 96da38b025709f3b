"""Fits of `reproduce`, whose course is told in its result instead of by warnings."""

import warnings
from collections.abc import Callable

from sklearn.exceptions import ConvergenceWarning

OUT_OF_EPOCHS = "seed {}: {} epochs passed before training stopped by itself"


def ran_out_of_epochs(fit: Callable[[], object]) -> bool:
    """Fit, and say whether the epochs were over before training stopped by itself; other warnings are handed on."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        fit()
    for warning in caught:
        if not issubclass(warning.category, ConvergenceWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
