"""Which columns of X a head may see."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from musiceval_sk._text import listed

HeadInput = str | slice | Sequence[int] | Callable[[np.ndarray], Any] | None


def head_columns(
    head_inputs: HeadInput | Mapping[str, HeadInput],
    targets: Sequence[str],
    names: np.ndarray | None,
    n_features: int,
) -> list[np.ndarray]:
    """Resolve ``head_inputs`` to the column indices of each target's head.

    Without a word about it, a head called "impression" sees the audio columns only and every other head sees all,
    provided the columns bear names that tell audio from text.
    """
    if isinstance(head_inputs, Mapping):
        unknown = [name for name in head_inputs if name not in targets]
        if unknown:
            raise ValueError(f"head_inputs names {listed(unknown)}, but the targets are {listed(targets)}")
        chosen = [head_inputs.get(target, _default(target, names)) for target in targets]
    else:
        chosen = [_default(target, names) if head_inputs is None else head_inputs for target in targets]
    return [_resolve(spec, target, names, n_features) for spec, target in zip(chosen, targets, strict=True)]


def _default(target: str, names: np.ndarray | None) -> HeadInput:
    if target != "impression" or names is None:
        return "all"
    starts = {str(name).partition("_")[0] for name in names}
    return "audio" if {"audio", "text"} <= starts else "all"


def _resolve(spec: HeadInput, target: str, names: np.ndarray | None, n_features: int) -> np.ndarray:
    everything = np.arange(n_features)
    if spec is None or (isinstance(spec, str) and spec == "all"):
        return everything
    if isinstance(spec, str) or callable(spec):
        if names is None:
            raise ValueError(
                f"head_inputs={spec!r} for {target!r} goes by column names, but X has none: give X as a DataFrame, "
                "or say the columns as a slice"
            )
        chosen = spec(names) if callable(spec) else np.array([str(name).startswith(spec) for name in names])
    else:
        chosen = spec
    try:
        columns = np.unique(everything[chosen if isinstance(chosen, slice) else np.asarray(chosen)])
    except IndexError as error:
        raise ValueError(
            f"head_inputs={spec!r} for {target!r} does not choose among {n_features} columns: {error}"
        ) from error
    if columns.size == 0:
        raise ValueError(f"head_inputs={spec!r} leaves the head of {target!r} no column out of {n_features}")
    return columns
