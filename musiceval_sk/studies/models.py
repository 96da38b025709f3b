"""The models that a study plan names."""

import difflib
from collections.abc import Mapping
from typing import Any

from musiceval_sk.estimators.lookup import scaled
from musiceval_sk.estimators.regressor import MOSRegressor
from musiceval_sk.studies.file import mapping_of, refuse_unknown


def make_model(name: str, given: Mapping[str, Any], random_state: int | None) -> Any:
    """Make an estimator by the name of its class, with its parameters.

    Parameters
    ----------
    name : str
        What the study calls it, for errors.
    given : mapping
        ``estimator``, MOSRegressor or the class of a regressor of scikit-learn; its parameters; and ``scaled``, whether columns
        are scaled on the training part before it (by default they are).
    random_state : int or None
        Seed of the study, for estimators that take one and are given none.

    Returns
    -------
    estimator
        Not fitted.

    Raises
    ------
    ValueError
        If the estimator or a parameter is unknown, or a parameter's value is of the wrong type or out of range.
    """
    given = dict(mapping_of(given, f"model {name!r}"))
    if "estimator" not in given:
        raise ValueError(f'model {name!r} names no estimator; give estimator = "Ridge", "MOSRegressor", ...')
    made = _regressor(name, given.pop("estimator"))
    is_scaled = given.pop("scaled", True)
    parameters = made.get_params()
    refuse_unknown(given, list(parameters), f"model {name!r}:")
    if "random_state" in parameters:
        given.setdefault("random_state", random_state)
    made.set_params(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    )
    made._validate_params()
    return scaled(made) if is_scaled else made


def _regressor(model: str, name: str) -> Any:
    from sklearn.utils import all_estimators

    known = dict(all_estimators(type_filter="regressor")) | {"MOSRegressor": MOSRegressor}
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ValueError(
            f"model {model!r}: unknown estimator {name!r}; take MOSRegressor or a regressor of scikit-learn{hint}"
        )
    # A scale is said where scores must not leave it; the study may be of any.
    return MOSRegressor(scale=None) if name == "MOSRegressor" else known[name]()
