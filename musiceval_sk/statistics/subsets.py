"""Which systems a figure rests on: those with enough clips, without those named, or only those."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._ids import id_texts, match_ids, near_misses
from musiceval_sk._text import counted, listed
from musiceval_sk.statistics.confidence import require_whole


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
        The system of each clip; they are told apart by their text, so that numbers match it.
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
        If a clip has no system, a named system has no clip, or nothing is left.

    Examples
    --------
    >>> select_systems(["a", "a", "b", "c", "c"], min_clips=2, leave_out=["c"])
    array([ True,  True, False, False, False])
    """
    require_whole(0, min_clips=min_clips)
    labels = pd.Series(id_texts(systems), dtype=object)
    nameless = labels == ""
    if nameless.any():
        clips = systems.index[nameless] if isinstance(systems, pd.Series) else np.flatnonzero(nameless)
        raise ValueError(f"{counted(nameless.sum(), 'clip has', 'clips have')} no system: {listed(clips)}")
    kept = labels.groupby(labels).transform("size") >= min_clips
    known = pd.Index(labels.unique())
    for argument, named in (("only", only), ("leave_out", leave_out)):
        if isinstance(named, str):
            raise ValueError(f"{argument} must be a list of systems, such as [{named!r}]; got {named!r}")
        names = [] if named is None else id_texts(list(named))
        places = match_ids(names, known)
        strangers = [name for name, place in zip(names, places, strict=True) if place < 0]
        if strangers:
            raise ValueError(
                f"{argument} names systems without clips: {listed(strangers)}; systems are {listed(known)}"
                f"{near_misses(strangers, known)}"
            )
        if named is not None:
            kept &= labels.isin(known[places]) == (argument == "only")
    if not kept.any():
        most = labels.value_counts().max()
        raise ValueError(
            f"no system is left of {labels.nunique()}: min_clips={min_clips}, and the largest system has {most} clips"
        )
    return kept.to_numpy(dtype=bool)
