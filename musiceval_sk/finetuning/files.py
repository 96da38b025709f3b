"""Fine-tuned models as one safetensors file: the heads, the towers' trained weights, and whose towers they belong to."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from musiceval_sk.estimators.parts import (
    packed,
    parameters_as_json,
    parameters_from_json,
    unpacked,
    versions,
)
from musiceval_sk.estimators.regressor import MOSRegressor
from musiceval_sk.estimators.tensor_file import Kind, read_tensors, write_tensors
from musiceval_sk.exceptions import ModelFileError
from musiceval_sk.features.differences import compare_descriptions
from musiceval_sk.features.encoders import Encoder, get_encoder
from musiceval_sk.features.encoders.base import Modality

KIND = Kind("musiceval-clap-finetune", 1, "CLAPFineTuneRegressor.save")
_FACTS = ("description_", "fingerprint_", "n_rows_", "best_iteration_")
# Of the machine that trained; the one that loads has others.
_LOCAL = {"encoder": None, "encoder_options": None, "checkpoint": None, "sounds_dir": None}


def fingerprint_of(encoder: Encoder, towers: Sequence[Modality], tuned: dict[str, np.ndarray]) -> str:
    """Name the vectors of an encoder whose weights of these names were changed: its own name where none were."""
    base = "+".join(encoder.fingerprint_of(tower) for tower in towers)
    if not tuned:
        return base
    digest = hashlib.sha256()
    for name in sorted(tuned):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tuned[name]).reshape(-1).view(np.uint8).data)
    return f"{base}+tuned-{digest.hexdigest()[:32]}"


def save_finetuned(regressor: Any, path: str | Path, *, about: dict[str, Any] | None = None) -> Path:
    """Write a fitted regressor, see `CLAPFineTuneRegressor.save`."""
    heads, tensors = packed(regressor.heads_)
    content = {
        "parameters": parameters_as_json(regressor.__class__(**regressor.get_params(deep=False) | _LOCAL)),
        "fitted": {name: getattr(regressor, name) for name in _FACTS} | {"towers_": list(regressor.towers_)},
        "heads": heads,
        "versions": versions(),
        "about": about or {},
    }
    arrays = {f"heads.{name}": tensor for name, tensor in tensors.items()}
    arrays |= {f"towers.{name}": tensor for name, tensor in regressor.tuned_parameters_.items()}
    return write_tensors(path, KIND, content, arrays)


def load_finetuned(
    kind: type, path: str | Path, encoder: str | Encoder, encoder_options: dict[str, Any] | None
) -> Any:
    """Read what `save_finetuned` wrote, see `CLAPFineTuneRegressor.load`."""
    content, tensors = read_tensors(path, KIND)
    parts = {
        part: {
            name.removeprefix(f"{part}."): array
            for name, array in tensors.items()
            if name.startswith(f"{part}.")
        }
        for part in ("heads", "towers")
    }
    try:
        fitted = content["fitted"]
        made = parameters_from_json(content["parameters"]) | {
            "encoder": encoder,
            "encoder_options": encoder_options,
        }
        regressor = kind(**made)
        heads = unpacked(MOSRegressor, content["heads"], parts["heads"])
        towers = tuple(fitted["towers_"])
        descriptions = fitted["description_"]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: does not make a {kind.__name__} of this version: {error!r}") from error
    base = get_encoder(encoder, **(encoder_options or {}))
    _check_base(path, base, descriptions)
    regressor._settle(base, towers, parts["towers"])
    if regressor.fingerprint_ != fitted["fingerprint_"]:
        raise ModelFileError(f"{path}: its towers' weights are not those that it was saved with")
    regressor.heads_, regressor.target_names_ = heads, heads.target_names_
    regressor.loss_curve_, regressor.validation_scores_ = heads.loss_curve_, heads.validation_scores_
    regressor.n_iter_, regressor.best_iteration_ = heads.n_iter_, fitted["best_iteration_"]
    regressor.n_rows_ = fitted["n_rows_"]
    return regressor


def _check_base(path: str | Path, encoder: Encoder, descriptions: dict[Modality, dict[str, Any]]) -> None:
    """Raise unless the encoder is the one that training started from."""
    changes = {
        tower: compare_descriptions(before, encoder.describe(tower), "in the file", "given")
        for tower, before in descriptions.items()
        if before != encoder.describe(tower)
    }
    if changes:
        listing = "; ".join(f"{tower} {fields}" for tower, fields in changes.items())
        raise ModelFileError(
            f"{path}: was trained from another encoder than {encoder!r} ({listing}); give the checkpoint that training "
            "started from"
        )
