"""Predictions as a table of answers, matched to the truth by clip id."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.datasets._tables import numbers, read_table, require_columns, require_unique
from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.datasets.raters import aggregate_ratings
from musiceval_sk.exceptions import ClipsTableError, SkippedWarning


def match_answers(
    predictions: str | Path,
    truth: str | Path,
    *,
    ratings: str | Path | None = None,
    targets: Sequence[str] | None = None,
    scale: tuple[float, float] | None = (1, 5),
) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series | None]:
    """Read predictions and true scores and bring them to the same clips and columns.

    Parameters
    ----------
    predictions : str or Path
        Table with ``clip_id`` and one column per target.
    truth : str or Path
        Table with ``clip_id``, optionally ``system``, and the true scores unless `ratings` are given.
    ratings : str or Path, default=None
        Ratings table to average into the true scores.
    targets : sequence of str, default=None
        Columns to compare; by default those of impression and alignment that both have.
    scale : (float, float) or None, default=(1, 5)
        Lowest and highest possible true score; None accepts any number.

    Returns
    -------
    true, predicted : pandas.DataFrame
        Indexed by clip id, with the same rows and columns.
    systems : pandas.Series or None
        System by clip id, if the truth names them all.

    Raises
    ------
    ClipsTableError
        If a column is missing, a clip id repeats, or no clip or target is shared.

    Warns
    -----
    SkippedWarning
        If clips have a prediction or a true score only; with the counts.
    """
    answers, key = (_by_clip(path, targets or TARGETS) for path in (predictions, truth))
    scores = key if ratings is None else aggregate_ratings(ratings, clips=key, targets=targets, scale=scale)
    chosen = list(targets or [name for name in TARGETS if name in answers and name in scores])
    if not chosen:
        raise ClipsTableError(
            f"no target is in both tables; {predictions} has {listed(answers.columns)}, the truth {listed(scores.columns)}"
        )
    for table in (answers, scores):
        require_columns(table, chosen)
    predicted, true = answers[chosen].dropna(), scores[chosen].dropna()
    shared = true.index.intersection(predicted.index)
    if shared.empty:
        raise ClipsTableError(f"no clip is in both tables; predictions name {listed(predicted.index)}")
    for name, table in (("prediction", true), ("true score", predicted)):
        lacking = table.index.difference(shared)
        if len(lacking):
            warnings.warn(
                f"{len(lacking)} clips have no {name}: {listed(lacking)}", SkippedWarning, stacklevel=2
            )
    blank = key.loc[shared, "system"].fillna("").eq("") if "system" in key else pd.Series(dtype=bool)
    if 0 < blank.sum() < len(shared):
        warnings.warn(
            f"{blank.sum()} of {len(shared)} clips name no system, so there are no system-level scores: "
            f"{listed(blank.index[blank])}",
            UserWarning,
            stacklevel=2,
        )
    named = "system" in key and not blank.any()
    return true.loc[shared], predicted.loc[shared], key.loc[shared, "system"] if named else None


def _by_clip(path: str | Path, targets: Sequence[str]) -> pd.DataFrame:
    table = read_table(path)
    require_columns(table, ["clip_id"])
    table["clip_id"] = table["clip_id"].astype(str).str.strip()
    require_unique(table, "clip_id")
    for target in targets:
        if target in table:
            table[target] = numbers(table, target)
    return table.set_index("clip_id")
