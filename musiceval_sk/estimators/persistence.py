"""Saved models: one file that holds a fitted estimator or pipeline and what it rests on.

Two kinds of file, told apart by their content: skops holds any estimator or pipeline, safetensors the regressors that
write themselves as arrays and JSON values. Neither holds code: loading runs nothing that is not named below or known to
skops as safe.
"""

import hashlib
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name
from platform import python_version
from typing import Any

import numpy as np
import skops.io
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils.validation import check_is_fitted

from musiceval_sk._files import (
    atomic_write,
    cause_of,
    own_folder,
    parse_json,
    refused_as,
    require_version,
    unpacked_size,
)
from musiceval_sk._text import listed
from musiceval_sk._version import __version__
from musiceval_sk.estimators.regressor import PROTOCOLS
from musiceval_sk.exceptions import ModelFileError

FORMAT, VERSION = "musiceval-model", 2
_READABLE = ("1", "2")
_OURS = (
    "musiceval_sk.estimators.lookup.CosineRegressor",
    "musiceval_sk.estimators.lookup.LookupRegressor",
    "musiceval_sk.estimators.lookup.TableScaler",
    "musiceval_sk.estimators.domain.TrainingDomain",
    "musiceval_sk.estimators.search.TunedRegressor",
    "musiceval_sk.scoring.regressors.RegressorPerTarget",
    "musiceval_sk.scoring.regressors.RecalibratedRegressor",
    "musiceval_sk.estimators.regressor.MOSRegressor",
    "musiceval_sk.features.embedder.ClipEmbedder",
    "musiceval_sk.features.encoders.clap.hf_clap.HfClapEncoder",
    "musiceval_sk.features.encoders.clap.laion_clap.LaionClapEncoder",
    "musiceval_sk.features.encoders.hf_audio.HfAudioEncoder",
    "musiceval_sk.features.encoders.muq.encoder.MuQEncoder",
    "musiceval_sk.features.encoders.spectral.SpectralEncoder",
)
TRUSTED_VARIABLE = "MUSICEVAL_TRUSTED"
# An encoder that runs the code in its checkpoint's folder: to have its class is not to agree to that.
_CODE = "HfAudioEncoder(trust_remote_code=True)"
_MOST_PACKED, _MOST_BYTES = 20, 1 << 26  # a model file is not packed, and a small one may be
# Formats of safetensors files and who writes them; what a class's `save` wrote, its `load` reads.
_TENSORS = {
    "musiceval-mosregressor": "musiceval_sk.estimators.regressor:MOSRegressor.save",
    "musiceval-clap-finetune": "musiceval_sk.finetuning.regressor:CLAPFineTuneRegressor.save",
    "musiceval-finetune-checkpoint": "musiceval_sk.finetuning.regressor:CLAPFineTuneRegressor.fit",
}

Content = dict[str, Any]
Tensors = dict[str, np.ndarray]


def save_model(model: Any, path: str | Path, *, about: dict[str, Any] | None = None) -> Path:
    """Write a fitted estimator to one file.

    Parameters
    ----------
    model : estimator
        Fitted; any scikit-learn estimator or pipeline, with ours among its steps.
    path : str or Path
        The file. With the suffix ``.safetensors`` it is written by the `save` of `MOSRegressor` or
        `CLAPFineTuneRegressor`, which hold numbers only; else, by custom as ``.skops``, by skops.
    about : dict, default=None
        JSON values to keep with it, such as the training data's name.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If the model is a search, or a pipeline that ends in one, is not fitted, the path is a folder, or the suffix is
        ``.safetensors`` and the model of another class.
    TypeError
        If the model is a class, or no estimator at all.
    """
    steps = [step for _, step in getattr(model, "steps", [("", model)])]
    if isinstance(steps[-1], BaseSearchCV):
        raise ValueError(
            f"{type(steps[-1]).__name__} is a search, and a file holds one model: save its best_estimator_, made with refit=True"
        )
    for step in steps:
        if step not in (None, "passthrough"):
            check_is_fitted(
                step, msg="save_model takes a fitted model, but this %(name)s is not: call fit first"
            )
    if Path(path).suffix == ".safetensors":
        if not hasattr(model, "save"):
            raise ValueError(
                f"{path}: a safetensors file holds a MOSRegressor or CLAPFineTuneRegressor, not a "
                f"{type(model).__name__}; name a .skops file"
            )
        return model.save(path, about=about)
    content = {"format": FORMAT, "version": VERSION, "musiceval_sk": __version__}
    content |= {"about": about or {}, "model": model}
    with atomic_write(_to_write(path)) as aside:
        skops.io.dump(content, aside)
    return Path(path)


def load_model(path: str | Path, *, trusted: Sequence[str] = (), **options: Any) -> Any:
    """Read what `save_model`, or the `save` of a regressor, wrote.

    Parameters
    ----------
    path : str or Path
        The file.
    trusted : sequence of str, default=()
        Full names of further types, such as a third party's encoder, that a skops file may hold, and
        ``"HfAudioEncoder(trust_remote_code=True)"`` if its encoder may run the code in its checkpoint's folder. Those that the
        environment variable ``MUSICEVAL_TRUSTED`` names, parted by commas, are trusted as well.
    **options
        Of a `CLAPFineTuneRegressor`, what its `load` takes: ``encoder`` and ``encoder_options``.

    Returns
    -------
    estimator
        As it was saved; predictions are equal to the bit.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, of another kind, of a newer version, or holds types that nobody has vouched for.
    """
    return load_content(path, trusted=trusted, **options)["model"]


def load_content(path: str | Path, *, trusted: Sequence[str] = (), **options: Any) -> Content:
    """Read the whole of a model file.

    Parameters
    ----------
    path : str or Path
        The file.
    trusted : sequence of str, default=()
        As in `load_model`.
    **options
        As in `load_model`.

    Returns
    -------
    dict
        ``model``, and what `save_model` was told ``about`` it.

    Raises
    ------
    ModelFileError
        As `load_model`.
    """
    if zipfile.is_zipfile(path):
        return _read_skops(path, [*_OURS, *trusted], **options)
    header, _ = _read(path, with_arrays=False)
    writer = _TENSORS.get(header.get("format", ""), "")
    if not writer.endswith(".save"):
        raise ModelFileError(
            f"{path}: a safetensors file, but not a model that save_model wrote (its format is "
            f"{header.get('format', 'not stated')!r})"
        )
    model = resolve_name(writer.removesuffix(".save")).load(path, **options)
    with refused_as(ModelFileError, f"{path}: does not say what it is about"):
        return {"model": model, "about": parse_json(header["content"])["about"]}


def _read_skops(path: str | Path, trusted: list[str]) -> Content:
    trusted += os.environ.get(TRUSTED_VARIABLE, "").split(",")
    most = _MOST_PACKED * Path(path).stat().st_size + _MOST_BYTES
    try:
        if unpacked_size(path, most) > most:
            raise ModelFileError(f"{path}: holds more than {most:,} bytes when unpacked: no model file")
        with zipfile.ZipFile(path) as parts:
            code = {_CODE} if _runs_code(parse_json(parts.read("schema.json"))) else set()
        strangers = sorted((code | {*skops.io.get_untrusted_types(file=path)}) - {*trusted})
        content = None if strangers else skops.io.load(path, trusted=trusted)
    except ModelFileError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ModelFileError(f"{path}: damaged ({error}); get or make the file anew") from error
    except Exception as error:  # of a damaged file nearly any kind
        raise ModelFileError(
            f"{path}: not a model file of musiceval_sk (musiceval fit writes those, in Python save_model), or none for these versions "
            f"of packages: {cause_of(error)}"
        ) from error
    if strangers:
        raise ModelFileError(
            f"{path}: holds types that are not known to be safe: {listed(strangers)}. If you trust the file, name them "
            f"in trusted= or, parted by commas, in the environment variable {TRUSTED_VARIABLE}"
        )
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelFileError(f"{path}: a skops file, but not a model that save_model wrote")
    with refused_as(ModelFileError, f"{path}: lacks a part of a model file"):
        require_version(path, content["version"], VERSION, ModelFileError)
        return content | {name: content[name] for name in ("model", "about")}


def _runs_code(schema: Any) -> bool:
    """Whether an encoder in skops' schema is told to run code; whatever is not plainly false tells it so."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            told = node.get("trust_remote_code", {"content": "false"})
            if not isinstance(told, dict) or told.get("content") != "false":
                return True
        waiting += node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return False


def write_tensors(path: str | Path, form: str, content: Content, tensors: Tensors) -> Path:
    """Write arrays and JSON values as a safetensors file with a checksum, whole or not at all.

    Parameters
    ----------
    path : str or Path
        The file; its folder is made.
    form : str
        Its format, one of those listed above.
    content : dict
        JSON values; numpy's scalars and arrays become numbers and lists.
    tensors : dict of str to np.ndarray
        Arrays by name.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If the path is a folder.
    OSError
        If it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    text = json.dumps(content, default=_plain)
    header = {"format": form, "version": str(VERSION), "content": text, "sha256": _digest(text, tensors)}
    with atomic_write(_to_write(path)) as aside, own_folder(aside) as folder:
        try:
            save_file(
                tensors, folder / "tensors", metadata=header
            )  # by way of a file whose name it tells nobody
        except SafetensorError as error:  # of the system, whose number stands in its words
            if not (number := re.search(r"os error (\d+)", str(error))):
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        os.replace(folder / "tensors", aside)
        aside.chmod(folder.stat().st_mode & 0o666)  # and which it lets nobody else read
    return Path(path)


def read_tensors(path: str | Path, form: str) -> tuple[Content, Tensors]:
    """Read what `write_tensors` wrote.

    Parameters
    ----------
    path : str or Path
        The file.
    form : str
        The format that it should be of.

    Returns
    -------
    content : dict
        JSON values.
    tensors : dict of str to np.ndarray
        Arrays by name.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, of another kind or of a newer version.
    """
    header, tensors = _read(path)
    found, version_found = header.get("format", "not stated"), header.get("version")
    if found != form:
        raise ModelFileError(
            f"{path}: a safetensors file, but not one that {_TENSORS[form].partition(':')[2]} wrote (its format is "
            f"{found!r}, expected {form!r})"
        )
    if version_found not in _READABLE:
        raise ModelFileError(
            f"{path}: written in format {version_found} of {form}; this version reads formats {listed(_READABLE)}: upgrade "
            "musiceval_sk"
        )
    text = header.get("content", "")
    if header.get("sha256") != _digest(text, tensors):
        raise ModelFileError(
            f"{path}: damaged (its content does not match its checksum); get or make the file anew"
        )
    with refused_as(ModelFileError, f"{path}: what it says of its arrays is no JSON"):
        return parse_json(text), tensors


def _read(path: str | Path, with_arrays: bool = True) -> tuple[dict[str, str], Tensors]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys() if with_arrays else ()
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except OSError as error:
        raise ModelFileError(f"{path}: no such model file") from error
    except SafetensorError as error:
        raise ModelFileError(
            f"{path}: not a model file of musiceval_sk (musiceval fit writes those, in Python save_model): not a safetensors file, or a "
            f"damaged one ({error})"
        ) from error


def _digest(text: str, tensors: Tensors) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """Turn numpy's scalars and arrays into JSON's numbers and lists."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be kept as JSON")


def _to_write(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; name a file to write, such as {path / 'model'}")
    return path


# Of a fitted MOSRegressor, what a file holds as JSON, and as arrays, by the name that they have there.
_FACTS = ("target_names_", "encoder_fingerprint_", "n_iter_", "n_features_in_", "_one_column")
_ARRAYS = {"coefs_": "weights", "intercepts_": "biases", "head_columns_": "head_columns_"}
_ARRAYS |= {name: name for name in ("target_range_", "best_iteration_", "loss_curve_", "validation_scores_")}
_ARRAYS |= {name: name for name in ("network_weights_", "linear_coefs_", "linear_intercepts_")}


def save_regressor(regressor: Any, path: str | Path, about: dict[str, Any] | None) -> Path:
    """Write a fitted regressor, see `MOSRegressor.save`."""
    content, tensors = packed(regressor)
    return write_tensors(path, "musiceval-mosregressor", content | {"about": about or {}}, tensors)


def load_regressor(kind: type, path: str | Path) -> Any:
    """Read what `save_regressor` wrote, see `MOSRegressor.load`."""
    content, tensors = read_tensors(path, "musiceval-mosregressor")
    with refused_as(ModelFileError, f"{path}: does not make a {kind.__name__} of this version"):
        return unpacked(kind, content, tensors)


def packed(regressor: Any) -> tuple[Content, Tensors]:
    """Take a fitted `MOSRegressor` apart, into JSON values and arrays."""
    check_is_fitted(regressor)
    facts = {name: getattr(regressor, name, None) for name in (*_FACTS, "feature_names_in_")}
    packages = {package: version(package) for package in ("scikit-learn", "torch", "numpy")}
    versions = {"musiceval_sk": __version__, "python": python_version()} | packages
    arrays = {stored: getattr(regressor, name, None) for name, stored in _ARRAYS.items()}
    content = {"parameters": parameters_as_json(regressor), "fitted": facts, "versions": versions}
    return content, dict(pair for stored, value in arrays.items() for pair in _numbered(stored, value))


def unpacked(kind: type, content: Content, tensors: Tensors) -> Any:
    """Make a regressor of what `packed` gave, see there."""
    # Files of format 1 name no parameter that came later.
    regressor = kind(**PROTOCOLS["paper"] | parameters_from_json(content["parameters"]))
    for name in _FACTS:
        setattr(regressor, name, content["fitted"][name])
    if content["fitted"]["feature_names_in_"] is not None:
        regressor.feature_names_in_ = np.array(content["fitted"]["feature_names_in_"], dtype=object)
    for name, stored in _ARRAYS.items():
        value = _nested(tensors, stored)
        if name in ("loss_curve_", "validation_scores_"):
            setattr(regressor, name, None if value is None else value.tolist())
        elif value is not None:
            setattr(regressor, name, value)
    return regressor


def _numbered(name: str, value: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Give each array of nested lists a name, such as ``weights.0.1``; nothing for None."""
    if isinstance(value, list) and isinstance(value[0], list | np.ndarray):
        for i, inner in enumerate(value):
            yield from _numbered(f"{name}.{i}", inner)
    elif value is not None:
        yield name, np.asarray(value)


def _nested(tensors: Tensors, name: str) -> Any:
    """Undo `_numbered`."""
    if name in tensors:
        return tensors[name]
    found = {key.removeprefix(f"{name}.").partition(".")[0] for key in tensors if key.startswith(f"{name}.")}
    return [_nested(tensors, f"{name}.{i}") for i in range(len(found))] or None


def parameters_as_json(regressor: Any) -> Content:
    """Turn an estimator's parameters into JSON values, what has no such form into what comes nearest."""
    parameters = regressor.get_params(deep=False)
    if not isinstance(parameters["random_state"], int | np.integer):
        parameters["random_state"] = None
    spec = parameters.get("head_inputs")
    if callable(spec) or (isinstance(spec, dict) and any(map(callable, spec.values()))):
        chosen = zip(regressor.target_names_, regressor.head_columns_, strict=True)
        parameters["head_inputs"] = {name: columns.tolist() for name, columns in chosen}
    return {name: _marked(value) for name, value in parameters.items()}


def parameters_from_json(parameters: Content) -> Content:
    """Undo `parameters_as_json`."""
    return {name: _unmarked(value) for name, value in parameters.items()}


def _marked(value: Any) -> Any:
    """Mark what JSON has no word for: tuples and slices; and dicts, to tell them from marks."""
    if isinstance(value, tuple):
        return {"tuple": [_marked(member) for member in value]}
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if isinstance(value, dict):
        return {"dict": [[key, _marked(member)] for key, member in value.items()]}
    return value


def _unmarked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unmarked(member) for member in value]
    if not isinstance(value, dict):
        return value
    makers: dict[str, Any] = {"tuple": tuple, "slice": lambda ends: slice(*ends), "dict": dict}
    ((mark, held),) = value.items()
    return makers[mark](_unmarked(held))
