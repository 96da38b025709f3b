"""A fitted `MOSRegressor` as one safetensors file: numbers as tensors, all else as JSON in the header.

Such a file can hold no code: a loader that reads it makes arrays and JSON values, and this module makes an estimator
out of those whose names it knows.
"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from musiceval_sk._version import __version__
from musiceval_sk.exceptions import ModelFileError

FORMAT = "musiceval-mosregressor"
VERSION = 1
_PACKAGES = ("scikit-learn", "torch", "numpy")
_ARRAYS = ("target_range_", "best_iteration_", "loss_curve_", "validation_scores_", "_seeds")
_LAYERS = {"weights": "coefs_", "biases": "intercepts_"}
_FACTS = ("target_names_", "encoder_fingerprint_", "n_iter_", "n_features_in_", "_one_column")


def save_regressor(regressor: Any, path: str | Path, *, about: dict[str, Any] | None = None) -> Path:
    """Write a fitted regressor, see `MOSRegressor.save`.

    Parameters
    ----------
    regressor : MOSRegressor
        Fitted.
    path : str or Path
        The file.
    about : dict, default=None
        JSON values to keep with it.

    Returns
    -------
    Path
        The file, whole or not at all: it is written aside and renamed.
    """
    from safetensors.numpy import save_file

    check_is_fitted(regressor)
    path = Path(path)
    tensors = _tensors_of(regressor)
    content = {
        "parameters": _parameters_of(regressor),
        "fitted": {name: getattr(regressor, name) for name in _FACTS}
        | {"feature_names_in_": _names_of_features(regressor)},
        "versions": _versions(),
        "about": about or {},
    }
    text = json.dumps(content, default=_plain)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".tmp")
    header = {"format": FORMAT, "version": str(VERSION), "content": text, "sha256": _digest(text, tensors)}
    save_file(tensors, aside, metadata=header)
    aside.replace(path)
    return path


def load_regressor(kind: type, path: str | Path) -> Any:
    """Read what `save_regressor` wrote, see `MOSRegressor.load`.

    Parameters
    ----------
    kind : type
        Class of the regressor to make.
    path : str or Path
        The file.

    Returns
    -------
    MOSRegressor
        As it was saved.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, of another kind or of a newer version.
    """
    path = Path(path)
    header, tensors = _read(path)
    if header.get("format") != FORMAT:
        raise ModelFileError(
            f"{path}: a safetensors file, but not one that MOSRegressor.save wrote (its format is "
            f"{header.get('format', 'not stated')!r}, expected {FORMAT!r})"
        )
    if header.get("version") != str(VERSION):
        raise ModelFileError(
            f"{path}: written in format {header.get('version')} of {FORMAT}; this version reads format {VERSION}: "
            "upgrade musiceval_sk"
        )
    text = header.get("content", "")
    if header.get("sha256") != _digest(text, tensors):
        raise ModelFileError(
            f"{path}: damaged (its content does not match its checksum); get or make the file anew"
        )
    try:
        return _rebuild(kind, json.loads(text), tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: does not make a {kind.__name__} of this version: {error!r}") from error


def _read(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelFileError(f"{path}: no such model file")
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ModelFileError(f"{path}: not a safetensors file, or a damaged one ({error})") from error


def _digest(text: str, tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(repr((name, array.dtype.str, array.shape)).encode() + array.tobytes())
    return digest.hexdigest()


def _tensors_of(regressor: Any) -> dict[str, np.ndarray]:
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
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _rebuild(kind: type, content: dict[str, Any], tensors: dict[str, np.ndarray]) -> Any:
    regressor = kind(**{name: _from_json(value) for name, value in content["parameters"].items()})
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


def _parameters_of(regressor: Any) -> dict[str, Any]:
    parameters = regressor.get_params(deep=False)
    if not isinstance(parameters["random_state"], int | np.integer):
        parameters["random_state"] = None
    spec = parameters["head_inputs"]
    if callable(spec) or (isinstance(spec, dict) and any(map(callable, spec.values()))):
        chosen = zip(regressor.target_names_, regressor.head_columns_, strict=True)
        parameters["head_inputs"] = {name: columns.tolist() for name, columns in chosen}
    return {name: _to_json(value) for name, value in parameters.items()}


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


def _plain(value: Any) -> Any:
    """Turn numpy's scalars and arrays into JSON's numbers and lists."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be kept as JSON")


def _names_of_features(regressor: Any) -> list[str] | None:
    names = getattr(regressor, "feature_names_in_", None)
    return None if names is None else names.tolist()


def _versions() -> dict[str, str]:
    found = {package: version(package) for package in _PACKAGES}
    return {"musiceval_sk": __version__, "python": python_version()} | found
