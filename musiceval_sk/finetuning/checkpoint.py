"""Fine-tuning on disk, as safetensors: the state from which a killed fit goes on, and the fitted model."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from musiceval_sk._files import refused_as
from musiceval_sk._text import listed
from musiceval_sk.estimators import persistence
from musiceval_sk.estimators.persistence import Content, Tensors, read_tensors, write_tensors
from musiceval_sk.estimators.regressor import MOSRegressor
from musiceval_sk.exceptions import ModelFileError
from musiceval_sk.features.differences import compare_descriptions
from musiceval_sk.features.encoders import get_encoder
from musiceval_sk.features.encoders.base import Encoder, Modality

_STATE, _MODEL = "musiceval-finetune-checkpoint", "musiceval-clap-finetune"
# Of the machine that trains; the one that loads has others.
_LOCAL = ("encoder", "encoder_options", "checkpoint", "sounds_dir")
# Change nothing in what comes out of a fit, but for the order of sums.
_FREE = (*_LOCAL, "micro_batch_size", "verbose")


class Checkpoint:
    """State of one fit on disk, written whole or not at all, and good for that very fit only.

    Parameters
    ----------
    regressor : CLAPFineTuneRegressor
        Says the file, and the parameters of the fit.
    device : str
        Type of the device.
    **data : array-like or None
        What is learnt from: encoder, sounds, scores.

    Raises
    ------
    ModelFileError
        If the file is damaged, no checkpoint, or another fit's.
    """

    def __init__(self, regressor: Any, device: str, **data: Any):
        self._path = regressor.checkpoint
        parameters = persistence.parameters_as_json(regressor).items()
        self._identity = {name: repr(value) for name, value in parameters if name not in _FREE}
        hashes = {name: joblib.hash(np.asarray(value).tolist()) for name, value in data.items()}
        self._identity |= {"device": device} | hashes
        self.seed: int | None = None
        self.vectors: np.ndarray | None = None
        self.training: tuple[Content, Tensors] | None = None
        if self._path is not None and Path(self._path).exists():
            self._read()

    def begin(self, seed: int, vectors: np.ndarray) -> None:
        """Keep what was found out before training; a path that cannot be written fails here already."""
        self.seed, self.vectors = seed, vectors
        self.write()

    def write(self, training: Any = None) -> None:
        """Keep the state of a `Training` after an epoch."""
        if self._path is not None:
            state, tensors = training.state() if training else ({}, {})
            content = {"identity": self._identity, "seed": self.seed, "training": state}
            write_tensors(self._path, _STATE, content, tensors | {"vectors": np.asarray(self.vectors)})

    def _read(self) -> None:
        content, tensors = read_tensors(self._path, _STATE)
        with refused_as(ModelFileError, f"{self._path}: lacks a part of a checkpoint"):
            before, self.seed = {**content["identity"]}, content["seed"]
            self.vectors, training = tensors.pop("vectors"), content["training"]
        differing = [
            f"{name} ({before.get(name, 'not there')} in the file, {value} now)"
            for name, value in self._identity.items()
            if before.get(name) != value
        ]
        if differing:
            raise ModelFileError(
                f"{self._path}: the checkpoint of another fit, whose {listed(differing)} differ; give this fit a file of "
                "its own, or remove that one to begin anew"
            )
        self.training = (training, tensors) if training else None


def joined(groups: dict[str, Tensors]) -> Tensors:
    """Put arrays of several groups side by side, as ``group.name``."""
    return {f"{group}.{name}": array for group, arrays in groups.items() for name, array in arrays.items()}


def divided(arrays: Tensors) -> defaultdict[str, Tensors]:
    """Undo `joined`."""
    groups: defaultdict[str, Tensors] = defaultdict(dict)
    for name, array in arrays.items():
        group, _, inner = name.partition(".")
        groups[group][inner] = array
    return groups


def tuned_fingerprint(encoder: Encoder, towers: Sequence[Modality], tuned: dict[str, np.ndarray]) -> str:
    """Name the vectors of an encoder whose weights of these names were changed: its own name where none were."""
    base = "+".join(encoder.fingerprint_of(tower) for tower in towers)
    if not tuned:
        return base
    digest = hashlib.sha256()
    for name in sorted(tuned):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tuned[name]).reshape(-1).view(np.uint8).data)
    return f"{base}+tuned-{digest.hexdigest()[:32]}"


def save_finetuned(regressor: Any, path: str | Path, about: dict[str, Any] | None) -> Path:
    """Write a fitted regressor, see `CLAPFineTuneRegressor.save`."""
    heads, tensors = persistence.packed(regressor.heads_)
    content = {
        "parameters": {
            name: v for name, v in persistence.parameters_as_json(regressor).items() if name not in _LOCAL
        },
        "description_": regressor.description_,
        "towers_": regressor.towers_,
        "heads": heads,
        "about": about or {},
    }
    groups = {"heads": tensors, "towers": regressor.tuned_parameters_}
    return write_tensors(path, _MODEL, content, joined(groups))


def load_finetuned(
    kind: type, path: str | Path, encoder: str | Encoder, encoder_options: dict[str, Any] | None
) -> Any:
    """Read what `save_finetuned` wrote, see `CLAPFineTuneRegressor.load`."""
    content, tensors = read_tensors(path, _MODEL)
    arrays = divided(tensors)
    with refused_as(ModelFileError, f"{path}: does not make a {kind.__name__} of this version"):
        parameters = persistence.parameters_from_json(content["parameters"])
        parameters |= {"encoder": encoder, "encoder_options": encoder_options}
        # Files from before name no parameter that came later.
        regressor = kind.from_protocol("paper", **parameters)  # type: ignore[attr-defined]
        heads = persistence.unpacked(MOSRegressor, content["heads"], arrays["heads"])
        described, towers = content["description_"], tuple(content["towers_"])
    base = get_encoder(encoder, **(encoder_options or {}))
    changes = [
        f"{tower} {compare_descriptions(described[tower], base.describe(tower), 'in the file', 'given')}"
        for tower in towers
        if described[tower] != base.describe(tower)
    ]
    if changes:
        raise ModelFileError(
            f"{path}: was trained from another encoder than {base!r} ({'; '.join(changes)}); give the checkpoint that "
            "training started from"
        )
    regressor._keep(base, towers, arrays["towers"], heads)
    return regressor
