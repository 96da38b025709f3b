"""Which systems a figure rests on: those with enough clips, without those named, or only those."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import listed


def select_systems(
    systems: Any,
    *,
    min_clips: int = 1,
    only: Iterable[Any] | None = None,
    leave_out: Iterable[Any] | None = None,
) -> np.ndarray:
    """Find the clips of the systems to judge.

    Parameters
    ----------
    systems : array-like [shape=(n,)]
        The system of each clip.
    min_clips : int, default=1
        Leave out systems with fewer clips: one clip moves their mean a lot.
    only : iterable, default=None
        Keep these systems alone.
    leave_out : iterable, default=None
        Leave out these systems.

    Returns
    -------
    np.ndarray of bool [shape=(n,)]
        True for the clips to keep.

    Raises
    ------
    ValueError
        If a named system has no clip, or nothing is left.

    Examples
    --------
    >>> select_systems(["a", "a", "b", "c", "c"], min_clips=2, leave_out=["c"])
    array([ True,  True, False, False, False])
    """
    labels = pd.Series(np.asarray(systems, dtype=object))
    for argument, named in (("only", only), ("leave_out", leave_out)):
        if isinstance(named, str):
            raise ValueError(f"{argument} must be a list of systems, such as [{named!r}]; got {named!r}")
        strangers = [name for name in named or [] if not (labels == name).any()]
        if strangers:
            raise ValueError(
                f"{argument} names systems without clips: {listed(strangers)}; systems are {listed(labels.unique())}"
            )
    kept = labels.groupby(labels).transform("size") >= min_clips
    if only is not None:
        kept &= labels.isin(list(only))
    if leave_out is not None:
        kept &= ~labels.isin(list(leave_out))
    if not kept.any():
        most = labels.value_counts().max()
        raise ValueError(
            f"no system is left of {labels.nunique()}: min_clips={min_clips}, and the largest system has {most} clips"
        )
    return kept.to_numpy(dtype=bool)
