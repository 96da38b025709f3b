"""From the out-of-fold predictions of a study to its tables: scores with intervals, tests between the best rows, notes."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from musiceval_sk.exceptions import FewSystemsWarning
from musiceval_sk.statistics.bootstrap import bootstrap_metrics
from musiceval_sk.statistics.comparison import compare_predictors
from musiceval_sk.statistics.metrics import METRICS
from musiceval_sk.studies.judge import judge
from musiceval_sk.studies.leakage import shares_with_training
from musiceval_sk.studies.result import (
    COMPARED,
    KINDS,
    MEAN_OF_FOLDS,
    NO_FEATURES,
    NOTED,
    POOLED,
    reading_kind,
)
from musiceval_sk.studies.splits import Split

_MOST_COMPARED = 3
Fold = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Bootstrap:
    """How intervals and tests are drawn: number of resamples (0: none), seed, processes; and the raters' scale."""

    n_resamples: int
    random_state: int | None
    n_jobs: int | None
    scale: tuple[float, float] | None = None


def summarise(
    predictions: pd.DataFrame, splits: dict[str, Any], systems: pd.Series | None, bootstrap: Bootstrap
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Judge all rows of all splits and targets.

    Parameters
    ----------
    predictions : pandas.DataFrame
        What `predict_fold` gave, by clip id, with ``split, target, features, model, fold``.
    splits : dict
        What `describe_split` gave, by split.
    systems : pandas.Series or None
        The system of each clip, where every clip has one.
    bootstrap : Bootstrap
        How to draw.

    Returns
    -------
    scores, notes, comparisons : pandas.DataFrame
        See `StudyResult`.
    """
    questions = list(predictions.groupby(["split", "target"], sort=False))
    judged = Parallel(n_jobs=bootstrap.n_jobs if bootstrap.n_resamples else 1)(
        delayed(_judge)(found, reading_kind(splits[split]), systems, bootstrap)
        for (split, _), found in questions
    )
    tables: tuple[list[dict[str, Any]], ...] = ([], [], [])
    for ((split, target), _), rows_of in zip(questions, judged, strict=True):
        for table, rows in zip(tables, rows_of, strict=True):
            table += [{"split": split, "target": target} | row for row in rows]
    scores, notes, comparisons = tables
    bounds = [f"{name}_{end}" for name in METRICS for end in ("low", "high")] if bootstrap.n_resamples else []
    columns = ["split", "target", "features", "model", "kind", *METRICS, *bounds]
    return (
        pd.DataFrame(scores).reindex(columns=columns),
        pd.DataFrame(notes, columns=NOTED),
        pd.DataFrame(comparisons, columns=COMPARED),
    )


def describe_split(
    split: Split, parts: dict[str, tuple[pd.DataFrame, list[Fold]]], systems: pd.Series | None
) -> dict[str, Any]:
    """Say what a split means, what training and test share in it, and how many clips and systems were tested.

    Parameters
    ----------
    split : Split
        The split.
    parts : dict of str to (pandas.DataFrame, list of (np.ndarray, np.ndarray))
        The clips and folds of each target.
    systems : pandas.Series or None
        The system of each clip, where every clip has one.

    Returns
    -------
    dict
        ``meaning``, ``folds``, ``shared_with_training`` (of the first target) and ``targets``.
    """
    clips, folds = next(iter(parts.values()))
    return {
        "meaning": split.meaning,
        "folds": len(folds),
        "shared_with_training": shares_with_training(clips, folds),
        "targets": {target: count_tested(*part, systems) for target, part in parts.items()},
    }


def count_tested(part: pd.DataFrame, folds: list[Fold], systems: pd.Series | None) -> dict[str, int]:
    """Count the tested clips and systems, and the systems of the fold that has fewest.

    Parameters
    ----------
    part : pandas.DataFrame
        Clips.
    folds : list of (np.ndarray, np.ndarray)
        Training and test rows.
    systems : pandas.Series or None
        By clip id; None where not every clip names its system.

    Returns
    -------
    dict of str to int
        ``clips``, ``systems`` and ``least_systems_in_a_fold``, 0 for unknown.
    """
    if systems is None:
        return {"clips": len(part), "systems": 0, "least_systems_in_a_fold": 0}
    systems = systems.loc[part.index]
    counts = [systems.iloc[test].nunique() for _, test in folds]
    tested = np.unique(np.concatenate([test for _, test in folds]))
    return {
        "clips": len(tested),
        "systems": systems.iloc[tested].nunique(),
        "least_systems_in_a_fold": min(counts),
    }


def _judge(
    found: pd.DataFrame, kind: str, systems: pd.Series | None, bootstrap: Bootstrap
) -> tuple[list[dict[str, Any]], ...]:
    """Rows of scores, notes and comparisons of one target under one split."""
    question = _Question(found, kind, systems, bootstrap)
    return question.scores(), question.notes, question.comparisons().to_dict("records")


class _Question:
    """One target under one split: the rows of its table, on the same clips in the same folds."""

    def __init__(self, found: pd.DataFrame, kind: str, systems: pd.Series | None, bootstrap: Bootstrap):
        self._kind, self._bootstrap = kind, bootstrap
        by_row = dict(list(found.groupby(["features", "model"], sort=False)))
        first = next(iter(by_row.values()))
        self._folds = first["fold"].to_numpy()
        self._labels = None if systems is None else systems.loc[first.index].to_numpy()
        self._truth = first["truth"].to_numpy()
        self._said = {row: rows["prediction"].to_numpy() for row, rows in by_row.items()}
        judged = {row: judge(rows, self._labels) for row, rows in by_row.items()}
        self._scores = {(row, kind): pd.Series(judged[row][0][kind]) for row in by_row for kind in KINDS}
        self.notes = [_place(row) | {"note": note} for row, (_, note) in judged.items() if note]

    def scores(self) -> list[dict[str, Any]]:
        """All rows in both kinds, with intervals."""
        bounds = self._bounds()
        return [
            _place(row) | {"kind": kind, **scores, **bounds.get((row, kind), {})}
            for (row, kind), scores in self._scores.items()
        ]

    def comparisons(self) -> pd.DataFrame:
        """Test the best row against those that follow, and against the best of what hears nothing."""
        metric = "U_SRCC" if self._labels is None else "S_SRCC"
        figures = {row: self._scores[row, self._kind][metric] for row in self._said}
        order = sorted((row for row in figures if np.isfinite(figures[row])), key=lambda row: -figures[row])
        hearing, deaf = (
            [row for row in order if (row[0] != NO_FEATURES) == hears] for hears in (True, False)
        )
        rows = sorted([*hearing[:_MOST_COMPARED], *deaf[:1]], key=lambda row: -figures[row])
        if not self._bootstrap.n_resamples or len(rows) < 2 or not hearing:
            return pd.DataFrame(columns=COMPARED)
        table = pd.DataFrame(rows, columns=["features", "model"])
        names = [" on ".join(reversed(row)) for row in rows]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FewSystemsWarning)  # the table says so
            found = compare_predictors(
                self._truth,
                {name: self._said[row] for name, row in zip(names, rows, strict=True)},
                metrics=[metric],
                baseline=names[0],
                **self._drawn(self._kind),
            )
        found = _the_other_way_round(found.drop(columns="target"))
        for side in "ab":
            places = found[side].map(names.index)
            found[f"features_{side}"] = table["features"].to_numpy()[places]
            found[f"model_{side}"] = table["model"].to_numpy()[places]
        return found.assign(kind=self._kind)

    def _bounds(self) -> dict[tuple[tuple[str, str], str], dict[str, float]]:
        """Intervals of all rows that could be judged, in the same resamples; none where a figure is missing."""
        rows = [row for row in self._said if self._scores[row, POOLED].notna().any()]
        if not self._bootstrap.n_resamples or not rows:
            return {}
        said = np.column_stack([self._said[row] for row in rows])
        truth = np.repeat(self._truth[:, np.newaxis], len(rows), axis=1)
        bounds = {}
        for kind in KINDS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FewSystemsWarning)
                found = bootstrap_metrics(truth, said, **self._drawn(kind), scale=self._bootstrap.scale)
            for place, row in enumerate(rows):
                bounds[row, kind] = {
                    f"{metric}_{end}": bound if np.isfinite(self._scores[row, kind][metric]) else np.nan
                    for metric in METRICS
                    for end, bound in zip(("low", "high"), found.interval(metric, place), strict=True)
                }
        return bounds

    def _drawn(self, kind: str) -> dict[str, Any]:
        return {
            "systems": self._labels,
            "folds": self._folds if kind == MEAN_OF_FOLDS else None,
            "n_resamples": self._bootstrap.n_resamples,
            "random_state": self._bootstrap.random_state,
        }


def _the_other_way_round(compared: pd.DataFrame) -> pd.DataFrame:
    """Turn others less the best into the best less others."""
    turned = compared.rename(columns={"a": "b", "b": "a", "value_a": "value_b", "value_b": "value_a"})
    return turned.assign(
        difference=0.0 - compared["difference"], low=0.0 - compared["high"], high=0.0 - compared["low"]
    )


def _place(row: tuple[str, str]) -> dict[str, Any]:
    return {"features": row[0], "model": row[1]}
