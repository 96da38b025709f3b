"""What the figures would be without some systems."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from musiceval_sk.statistics.align import clips_of, systems_in_order
from musiceval_sk.statistics.metrics import evaluate
from musiceval_sk.statistics.subsets import select_systems


def evaluate_without(
    y_true: Any,
    y_pred: Any,
    leave_out: Iterable[Any] | Mapping[str, Iterable[Any]],
    *,
    systems: Any,
    min_clips: int = 1,
) -> pd.DataFrame:
    """Compute all metrics with and without named systems.

    Parameters
    ----------
    y_true : array-like [shape=(n,) or (n, n_targets)]
        True mean opinion scores. A DataFrame's columns name the targets.
    y_pred : array-like, of the same shape
        Predictions, matched as by `evaluate`.
    leave_out : iterable, or mapping of str to iterable
        Systems to leave out together, or several such groups by name.
    systems : array-like [shape=(n,)] or pandas.Series
        The system of each clip, as for `evaluate`.
    min_clips : int, default=1
        Leave out systems with fewer clips throughout.

    Returns
    -------
    pandas.DataFrame
        One row a target and subset, ``"all"`` first: ``target, subset, n_systems, n_clips``, and the eight metrics.

    Raises
    ------
    ValueError
        If a named system has no clip, or no system is left.

    Warns
    -----
    FewSystemsWarning
        If fewer than five systems are left.

    Examples
    --------
    >>> systems = ["a", "b", "c", "d", "e", "f"]
    >>> table = evaluate_without([1, 2, 3, 4, 5, 5], [1, 2, 3, 4, 5, 0], ["f"], systems=systems)
    >>> table[["subset", "n_systems", "S_SRCC"]].round(2).values.tolist()
    [['all', 6, 0.29], ['without f', 5, 1.0]]
    """
    if isinstance(leave_out, Mapping):
        groups: dict[str, list[Any]] = {name: list(group) for name, group in leave_out.items()}
    else:
        named = [leave_out] if isinstance(leave_out, str) else list(leave_out)
        groups = {f"without {', '.join(map(str, named))}": named}
    clips = clips_of(y_true=y_true, y_pred=y_pred, systems=systems)
    labels = systems_in_order(clips, systems, len(y_true))
    rows = []
    subsets: list[tuple[str, list[Any] | None]] = [("all", None), *groups.items()]
    for subset, group in subsets:
        kept = select_systems(labels, min_clips=min_clips, leave_out=group)
        found = evaluate(y_true, y_pred, systems=labels, min_clips=min_clips, leave_out=group)
        by_target = {None: found} if isinstance(found, pd.Series) else dict(found.iterrows())
        about = {"subset": subset, "n_systems": len(set(labels[kept])), "n_clips": int(kept.sum())}
        rows += [{"target": target} | about | scores.to_dict() for target, scores in by_target.items()]
    return pd.DataFrame(rows)
