"""A fitted `MOSRegressor` as one safetensors file: numbers as tensors, all else as JSON in the header.

Such a file can hold no code: a loader that reads it makes arrays and JSON values, and this module makes an estimator
out of those whose names it knows.
"""

from pathlib import Path
from typing import Any

from musiceval_sk.estimators.parts import packed, unpacked
from musiceval_sk.estimators.tensor_file import Kind, read_tensors, write_tensors
from musiceval_sk.exceptions import ModelFileError

KIND = Kind("musiceval-mosregressor", 1, "MOSRegressor.save")


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
    content, tensors = packed(regressor)
    return write_tensors(path, KIND, content | {"about": about or {}}, tensors)


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
    content, tensors = read_tensors(path, KIND)
    try:
        return unpacked(kind, content, tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: does not make a {kind.__name__} of this version: {error!r}") from error
