"""The state from which a killed fit goes on, as one safetensors file."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from musiceval_sk._files import refused_as
from musiceval_sk._text import listed
from musiceval_sk.estimators import persistence
from musiceval_sk.estimators.persistence import Content, Tensors
from musiceval_sk.exceptions import ModelFileError

_FORMAT = "musiceval-finetune-checkpoint"
# Of the machine that trains; the one that loads has others.
LOCAL = ("encoder", "encoder_options", "checkpoint", "sounds_dir")
# Change nothing in what comes out of a fit, but for the order of sums.
_FREE = (*LOCAL, "micro_batch_size", "verbose")


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
        if self._path is None or not Path(self._path).exists():
            return
        content, tensors = persistence.read_tensors(self._path, _FORMAT)
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

    def begin(self, seed: int, vectors: np.ndarray) -> None:
        """Keep what was found out before training; a path that cannot be written fails here already."""
        self.seed, self.vectors = seed, vectors
        self.write()

    def write(self, training: Any = None) -> None:
        """Keep the state of a `Training` after an epoch."""
        if self._path is not None:
            state, tensors = training.state() if training else ({}, {})
            content = {"identity": self._identity, "seed": self.seed, "training": state}
            tensors = {**tensors, "vectors": np.asarray(self.vectors)}
            persistence.write_tensors(self._path, _FORMAT, content, tensors)


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
