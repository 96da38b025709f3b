"""A fitted regressor taken apart into JSON values and arrays, and put together again."""

from importlib.metadata import version
from platform import python_version
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from musiceval_sk._version import __version__
from musiceval_sk.estimators.tensor_file import Content, Tensors

_PACKAGES = ("scikit-learn", "torch", "numpy")
_ARRAYS = ("target_range_", "best_iteration_", "loss_curve_", "validation_scores_", "_seeds")
_LAYERS = {"weights": "coefs_", "biases": "intercepts_"}
_FACTS = ("target_names_", "encoder_fingerprint_", "n_iter_", "n_features_in_", "_one_column")


def packed(regressor: Any) -> tuple[Content, Tensors]:
    """Take a fitted regressor apart, into JSON values and arrays."""
    check_is_fitted(regressor)
    content = {
        "parameters": parameters_as_json(regressor),
        "fitted": {name: getattr(regressor, name) for name in _FACTS}
        | {"feature_names_in_": _names_of_features(regressor)},
        "versions": versions(),
    }
    return content, _tensors_of(regressor)


def _tensors_of(regressor: Any) -> Tensors:
    arrays = {name: getattr(regressor, name, None) for name in _ARRAYS}
    tensors = {name: np.asarray(value) for name, value in arrays.items() if value is not None}
    tensors |= {f"head_columns_.{i}": columns for i, columns in enumerate(regressor.head_columns_)}
    stacks = {kind: getattr(regressor, name) for kind, name in _LAYERS.items()}
    if hasattr(regressor, "_momenta"):
        stacks |= {f"momenta of {kind}": part for kind, part in zip(_LAYERS, regressor._momenta, strict=True)}
    for kind, heads in stacks.items():
        tensors |= {
            f"{kind}.{i}.{j}": layer for i, layers in enumerate(heads) for j, layer in enumerate(layers)
        }
    return tensors


def unpacked(kind: type, content: Content, tensors: Tensors) -> Any:
    """Make a regressor of what `packed` gave, see there."""
    regressor = kind(**parameters_from_json(content["parameters"]))
    for name in _FACTS:
        setattr(regressor, name, content["fitted"][name])
    if content["fitted"]["feature_names_in_"] is not None:
        regressor.feature_names_in_ = np.array(content["fitted"]["feature_names_in_"], dtype=object)
    for name in _ARRAYS:
        if name in tensors:
            setattr(regressor, name, tensors[name])
    regressor.loss_curve_ = regressor.loss_curve_.tolist()
    scores = tensors.get("validation_scores_")
    regressor.validation_scores_ = None if scores is None else scores.tolist()
    heads = range(len(regressor.target_names_))
    regressor.head_columns_ = [tensors[f"head_columns_.{i}"] for i in heads]
    for part, name in _LAYERS.items():
        setattr(regressor, name, _stack_of(tensors, part, heads))
    if "momenta of weights.0.0" in tensors:
        regressor._momenta = tuple(_stack_of(tensors, f"momenta of {part}", heads) for part in _LAYERS)
    return regressor


def _stack_of(tensors: dict[str, np.ndarray], part: str, heads: range) -> list[list[np.ndarray]]:
    n_layers = sum(name.startswith(f"{part}.0.") for name in tensors)
    return [[tensors[f"{part}.{i}.{j}"] for j in range(n_layers)] for i in heads]


def parameters_as_json(regressor: Any) -> dict[str, Any]:
    """Turn an estimator's parameters into JSON values, what has no such form into what comes nearest."""
    parameters = regressor.get_params(deep=False)
    if not isinstance(parameters["random_state"], int | np.integer):
        parameters["random_state"] = None
    spec = parameters.get("head_inputs")
    if callable(spec) or (isinstance(spec, dict) and any(map(callable, spec.values()))):
        chosen = zip(regressor.target_names_, regressor.head_columns_, strict=True)
        parameters["head_inputs"] = {name: columns.tolist() for name, columns in chosen}
    return {name: _to_json(value) for name, value in parameters.items()}


def parameters_from_json(parameters: dict[str, Any]) -> dict[str, Any]:
    """Undo `parameters_as_json`."""
    return {name: _from_json(value) for name, value in parameters.items()}


def _to_json(value: Any) -> Any:
    """Mark what JSON has no word for: tuples and slices."""
    if isinstance(value, tuple):
        return {"tuple": [_to_json(member) for member in value]}
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if isinstance(value, dict):
        return {"dict": [[key, _to_json(member)] for key, member in value.items()]}
    return value


def _from_json(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "slice":
        return slice(*held)
    if kind == "tuple":
        return tuple(_from_json(member) for member in held)
    if kind == "dict":
        return {key: _from_json(member) for key, member in held}
    raise ValueError(f"unknown kind of value {kind!r}")


def _names_of_features(regressor: Any) -> list[str] | None:
    names = getattr(regressor, "feature_names_in_", None)
    return None if names is None else names.tolist()


def versions() -> dict[str, str]:
    """Say with which versions a file was written."""
    found = {package: version(package) for package in _PACKAGES}
    return {"musiceval_sk": __version__, "python": python_version()} | found
