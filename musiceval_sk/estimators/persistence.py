"""Saved models: one file that holds a fitted estimator or pipeline and what it rests on.

The file is written by skops, which stores arrays and parameters, not code: loading runs nothing that is not named
below or known to skops as safe.
"""

import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import skops.io
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from musiceval_sk._text import listed
from musiceval_sk._version import __version__
from musiceval_sk.estimators.tensor_file import file_to_write
from musiceval_sk.exceptions import ModelFileError

FORMAT = "musiceval-model"
VERSION = 1
_OURS = (
    "musiceval_sk.estimators.lookup.LookupRegressor",
    "musiceval_sk.estimators.lookup.TableScaler",
    "musiceval_sk.estimators.domain.TrainingDomain",
    "musiceval_sk.estimators.regressor.MOSRegressor",
    "musiceval_sk.features.embedder.ClipEmbedder",
    "musiceval_sk.features.encoders.clap.hf_clap.HfClapEncoder",
    "musiceval_sk.features.encoders.clap.laion_clap.LaionClapEncoder",
    "musiceval_sk.features.encoders.spectral.SpectralEncoder",
)


def save_model(model: Any, path: str | Path, *, about: dict[str, Any] | None = None) -> Path:
    """Write a fitted estimator to one file.

    Parameters
    ----------
    model : estimator
        Fitted; any scikit-learn estimator or pipeline, with ours among its steps.
    path : str or Path
        The file, by custom ``.skops``.
    about : dict, default=None
        JSON values to keep with it, such as the training data's name.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If the model is a search, or a pipeline that ends in one, is not fitted, or the path is a folder.
    TypeError
        If the model is a class, or no estimator at all.
    """
    steps = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    last = steps[-1]
    if isinstance(last, BaseSearchCV):
        raise ValueError(
            f"{type(last).__name__} is a search, and a file holds one model: save its best_estimator_, made with refit=True"
        )
    for step in steps:
        if step not in (None, "passthrough"):
            check_is_fitted(
                step, msg="save_model takes a fitted model, but this %(name)s is not: call fit first"
            )
    path = file_to_write(path)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "musiceval_sk": __version__,
        "about": about or {},
        "model": model,
    }
    aside = path.with_name(path.name + ".tmp")
    skops.io.dump(content, aside)
    aside.replace(path)
    return path


def load_model(path: str | Path, *, trusted: Sequence[str] = ()) -> Any:
    """Read what `save_model` wrote.

    Parameters
    ----------
    path : str or Path
        The file.
    trusted : sequence of str, default=()
        Full names of further types, such as a third party's encoder, that the file may hold.

    Returns
    -------
    estimator
        As it was saved; predictions are equal to the bit.

    Raises
    ------
    ModelFileError
        If the file is missing, of another kind, of a newer version, or holds types that nobody has vouched for.
    """
    return load_content(path, trusted=trusted)["model"]


def load_content(path: str | Path, *, trusted: Sequence[str] = ()) -> dict[str, Any]:
    """Read the whole of a model file.

    Parameters
    ----------
    path : str or Path
        The file.
    trusted : sequence of str, default=()
        As in `load_model`.

    Returns
    -------
    dict
        ``model``, what `save_model` was told ``about`` it, and the version of ``musiceval_sk`` that wrote it.

    Raises
    ------
    ModelFileError
        As `load_model`.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f"{path}: no such model file")
    if not _is_skops(path):
        raise ModelFileError(f"{path}: not a model file of musiceval_sk (those are written by save_model)")
    strangers = sorted(set(skops.io.get_untrusted_types(file=path)) - {*_OURS, *trusted})
    if strangers:
        raise ModelFileError(
            f"{path}: holds types that are not known to be safe: {listed(strangers)}. If you trust the file, name them "
            "in trusted="
        )
    try:
        content = skops.io.load(path, trusted=[*_OURS, *trusted])
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ModelFileError(f"{path}: damaged ({error}); get or make the file anew") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelFileError(f"{path}: a skops file, but not a model that save_model wrote")
    if content["version"] > VERSION:
        raise ModelFileError(
            f"{path}: written in model format {content['version']} by musiceval_sk {content['musiceval_sk']}; this "
            f"version reads up to {VERSION}: upgrade musiceval_sk"
        )
    return content


def _is_skops(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        if "schema.json" not in archive.namelist():
            return False
        try:
            schema = json.loads(archive.read("schema.json"))
        except (ValueError, zipfile.BadZipFile):
            return False
    return isinstance(schema, dict) and "__loader__" in schema
