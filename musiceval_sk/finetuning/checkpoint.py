"""The file from which a killed fine-tuning goes on: written whole or not at all, and good for that very fit only."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from musiceval_sk._text import listed
from musiceval_sk.estimators.tensor_file import Content, Kind, Tensors, read_tensors, write_tensors
from musiceval_sk.exceptions import ModelFileError

KIND = Kind("musiceval-finetune-checkpoint", 1, "CLAPFineTuneRegressor.fit")
# What neither changes the result nor is known when a fit is taken up again.
_FREE = (
    "encoder",
    "encoder_options",
    "max_batch_memory",
    "checkpoint",
    "checkpoint_every",
    "sounds_dir",
    "verbose",
)


class Checkpoint:
    """One fit's file.

    Parameters
    ----------
    path : str, Path or None
        The file; None keeps nothing.
    every : int
        Steps from one writing to the next.
    identity : dict
        What makes the fit this one, see `identity_of`.
    """

    def __init__(self, path: str | Path | None, every: int, identity: dict[str, str]):
        self.path = None if path is None else Path(path)
        self._every, self._identity = every, identity
        self.seed: int | None = None
        self.vectors: np.ndarray | None = None
        self.training: tuple[Content, Tensors] | None = None

    def read(self) -> None:
        """Take up what an earlier process left, if it left anything.

        Raises
        ------
        ModelFileError
            If the file is damaged, no checkpoint, or another fit's.
        """
        if self.path is None or not self.path.exists():
            return
        content, tensors = read_tensors(self.path, KIND)
        differing = [
            f"{name} ({content['identity'].get(name, 'not there')} in the file, {value} now)"
            for name, value in self._identity.items()
            if content["identity"].get(name) != value
        ]
        if differing:
            raise ModelFileError(
                f"{self.path}: the checkpoint of another fit, whose {listed(differing)} differ; give this fit a file of "
                "its own, or remove that one to begin anew"
            )
        self.seed, self.vectors = content["seed"], tensors.pop("vectors")
        self.training = (content["training"], tensors) if content["training"] else None

    def begin(self, seed: int, vectors: np.ndarray) -> None:
        """Keep what was found out before training; a path that cannot be written fails here already."""
        self.seed, self.vectors = seed, vectors
        self._write({}, {})

    def after_step(self, training: Any) -> None:
        """Write the state of a `Training` when it is time."""
        if self.path is not None and training.progress.steps_made % self._every == 0:
            self.keep(training)

    def keep(self, training: Any) -> None:
        """Write the state of a `Training` now."""
        if self.path is not None:
            self._write(*training.state())

    def _write(self, state: Content, tensors: Tensors) -> None:
        if self.path is None:
            return
        assert self.vectors is not None
        content = {"identity": self._identity, "seed": self.seed, "training": state}
        write_tensors(self.path, KIND, content, {**tensors, "vectors": self.vectors})


def identity_of(
    regressor: Any, parameters: dict[str, Any], fingerprint: str, device: str, **data: Any
) -> dict[str, str]:
    """Describe a fit: its parameters, encoder, device, and digests of its data.

    Parameters
    ----------
    regressor : CLAPFineTuneRegressor
        Says its class.
    parameters : dict
        JSON values by name; those that change nothing are passed over.
    fingerprint : str
        Of the encoder.
    device : str
        Type of the device.
    **data : array-like, list or None
        What is learnt from.

    Returns
    -------
    dict of str to str
        By name; two fits with equal descriptions have equal results.
    """
    known = {name: repr(value) for name, value in parameters.items() if name not in _FREE}
    digests = {name: _digest(values) for name, values in data.items()}
    return {
        "estimator": type(regressor).__name__,
        **known,
        "encoder": fingerprint,
        "device": device,
        **digests,
    }


def _digest(values: Any) -> str:
    if values is None:
        return "none"
    array = np.asarray(values)
    raw = array.tobytes() if array.dtype.kind in "fiub" else repr(array.tolist()).encode()
    return hashlib.sha256(repr(array.shape).encode() + raw).hexdigest()[:16]
