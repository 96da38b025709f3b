"""From out-of-fold predictions to scores with intervals, to tests between the best rows, and to notes on what they cannot say."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.stats import ConstantInputWarning

from musiceval_sk.exceptions import FewSystemsWarning
from musiceval_sk.statistics.align import system_means
from musiceval_sk.statistics.bootstrap import bootstrap_metrics
from musiceval_sk.statistics.comparison import compare_predictors
from musiceval_sk.statistics.metrics import METRICS, evaluate
from musiceval_sk.statistics.resampling import LEAST_SYSTEMS_TO_RANK
from musiceval_sk.studies import result

_MOST_COMPARED = 3
_EQUAL = 1e-9
Row = tuple[str, str]  # features and model
Scores = dict[tuple[Row, str], dict[str, float]]  # by row and kind


def summarise(
    predictions: pd.DataFrame,
    splits: dict[str, Any],
    systems: pd.Series | None,
    *,
    n_resamples: int,
    random_state: int | None = None,
    n_jobs: int | None = None,
    scale: tuple[float, float] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Judge all rows of all splits and targets.

    Parameters
    ----------
    predictions : pandas.DataFrame
        What `run_cells` gave, by clip id, with ``split, target, features, model, fold``.
    splits : dict
        What `describe_split` gave, by split.
    systems : pandas.Series or None
        The system of each clip, where every clip has one.
    n_resamples : int
        Resamples for intervals and tests; 0 for neither.
    random_state : int or None, default=None
        Their seed.
    n_jobs : int, default=None
        Processes.
    scale : (float, float), default=None
        Lowest and highest score that raters can give.

    Returns
    -------
    scores, notes, comparisons : pandas.DataFrame
        See `StudyResult`.
    """
    questions = predictions.groupby(["split", "target"], sort=False)
    draws = {"n_resamples": n_resamples, "random_state": random_state}
    judged = Parallel(n_jobs=n_jobs if n_resamples else 1)(
        delayed(_judge_rows)(found, result.reading_kind(splits[split]), systems, scale, draws)
        for (split, _), found in questions
    )
    bounds = [f"{name}_{end}" for name in METRICS for end in ("low", "high")] if n_resamples else []
    tables: tuple[list[dict[str, Any]], ...] = ([], [], [])
    for ((split, target), _), found in zip(questions, judged, strict=True):
        for table, rows in zip(tables, found, strict=True):
            table += [row | {"split": split, "target": target} for row in rows]
    columns = [*result.NOTED[:-1], "kind", *METRICS, *bounds], result.NOTED, result.COMPARED
    made = (pd.DataFrame(rows, columns=of) for rows, of in zip(tables, columns, strict=True))
    scores, notes, comparisons = made
    return scores, notes, comparisons


def _judge_rows(
    found: pd.DataFrame, kind: str, systems: Any, scale: Any, draws: dict[str, Any]
) -> tuple[list[dict[str, Any]], ...]:
    """Rows of scores, notes and comparisons of one target under one split, of the same clips in the same folds."""
    by_row = dict(list(found.groupby(["features", "model"], sort=False)))
    first = next(iter(by_row.values()))
    labels = None if systems is None else systems.loc[first.index].to_numpy()
    judged = {row: judge(of_row, labels) for row, of_row in by_row.items()}
    scores = {(row, each): figures[each] for row, (figures, _) in judged.items() for each in result.KINDS}
    truth, comparisons = first["truth"].to_numpy(), []
    bounds: Scores = {}
    if draws["n_resamples"]:
        predicted = {row: of_row["prediction"].to_numpy() for row, of_row in by_row.items()}
        of_kind = {
            each: draws | {"systems": labels, "folds": folds}
            for each, folds in zip(result.KINDS, (None, first["fold"].to_numpy()), strict=True)
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FewSystemsWarning)  # the table says so
            for each in result.KINDS:
                bounds |= _bounds(truth, predicted, scores, each, scale=scale, **of_kind[each])
            comparisons = _compare(truth, predicted, scores, kind, **of_kind[kind])
    rows = [
        _named(row) | {"kind": each} | figures | bounds.get((row, each), {})
        for (row, each), figures in scores.items()
    ]
    notes = [_named(row) | {"note": note} for row, (_, note) in judged.items() if note]
    return rows, notes, comparisons


def _bounds(
    truth: np.ndarray, predicted: dict[Row, np.ndarray], scores: Scores, kind: str, **options: Any
) -> Scores:
    """Intervals of all rows that could be judged, in the same resamples; none where a figure is missing."""
    rows = [row for row in predicted if np.isfinite(list(scores[row, result.POOLED].values())).any()]
    if not rows:
        return {}
    answers = np.column_stack([predicted[row] for row in rows])
    found = bootstrap_metrics(np.repeat(truth[:, np.newaxis], len(rows), axis=1), answers, **options)
    return {
        (row, kind): {
            f"{metric}_{end}": bound if np.isfinite(scores[row, kind][metric]) else np.nan
            for metric in METRICS
            for end, bound in zip(("low", "high"), found.interval(metric, place), strict=True)
        }
        for place, row in enumerate(rows)
    }


def _compare(
    truth: np.ndarray, predicted: dict[Row, np.ndarray], scores: Scores, kind: str, **options: Any
) -> list[dict[str, Any]]:
    """Test the best row against those that follow, and against the best baseline without audio."""
    metric = "U_SRCC" if options["systems"] is None else "S_SRCC"
    figures = pd.Series({" on ".join(reversed(row)): scores[row, kind][metric] for row in predicted})
    rows = dict(zip(figures.index, predicted, strict=True))
    ranked = figures.dropna().sort_values(ascending=False, kind="stable")
    without = np.array([rows[name][0] == result.NO_FEATURES for name in ranked.index], dtype=bool)
    chosen = pd.concat([ranked[~without][:_MOST_COMPARED], ranked[without][:1]])
    if len(chosen) < 2 or without.all():
        return []
    names = chosen.sort_values(ascending=False, kind="stable").index
    answers = {name: predicted[rows[name]] for name in names}
    found = compare_predictors(truth, answers, metrics=[metric], baseline=names[0], **options)
    # Tested are the others less the best; told is the best less the others.
    other_way = {"value_a": "value_b", "value_b": "value_a", "low": "high", "high": "low"}
    found = found.rename(columns=other_way).assign(kind=kind)
    found[["difference", "low", "high"]] = 0.0 - found[["difference", "low", "high"]]
    tests = found.to_dict("records")
    return [test | _named(rows[names[0]], "_a") | _named(rows[test["a"]], "_b") for test in tests]


def _named(row: Row, side: str = "") -> dict[str, Any]:
    return {f"features{side}": row[0], f"model{side}": row[1]}


def judge(found: pd.DataFrame, labels: np.ndarray | None) -> tuple[dict[str, dict[str, float]], str]:
    """Score the predictions of one model.

    Parameters
    ----------
    found : pandas.DataFrame
        ``fold``, ``truth``, ``prediction``, ``known``, ``training_mean`` and ``on_scale`` of each tested clip.
    labels : np.ndarray [shape=(n,)] or None
        Systems of the clips.

    Returns
    -------
    scores : dict of str to dict of str to float
        The metrics, by kind: pooled, and mean of folds.
    note : str
        What they cannot say.
    """
    unknown = int((~found["known"]).sum())
    if unknown == len(found):
        note = "cannot be judged under this split: training holds no clip with the label of any test clip"
        return {kind: dict.fromkeys(METRICS, np.nan) for kind in result.KINDS}, note
    notes = []
    if unknown:
        notes.append(f"{unknown} of {len(found)} clips had no match in training and got the global mean")
    folds = [(found["fold"] == fold).to_numpy() for fold in found["fold"].unique()]
    pooled = _evaluate(found, labels)
    by_fold = pd.DataFrame([_evaluate(found, labels, rows) for rows in folds])
    for prefix, level in (("U", "clip"), ("S", "system")):
        if _is_flat(found, labels, folds, level):
            ranked = [name for name in METRICS if name[0] == prefix and "MSE" not in name]
            pooled[ranked] = by_fold[ranked] = np.nan
            notes.append(f"predicts the same for every {level} of a fold, so it ranks no {level}s")
    if not found["on_scale"].all():
        errors = [name for name in METRICS if "MSE" in name]
        pooled[errors] = by_fold[errors] = np.nan
        notes.append(
            "a cosine and no score on the raters' scale: it ranks, has no errors, and learns nothing"
        )
    scores = (pooled.to_dict(), by_fold.mean().to_dict())
    return dict(zip(result.KINDS, scores, strict=True)), "; ".join(notes)


def _evaluate(found: pd.DataFrame, labels: np.ndarray | None, fold: np.ndarray | None = None) -> pd.Series:
    """Score all clips or those of a fold; two systems always correlate perfectly, so a fold needs more for S metrics."""
    if fold is not None:
        found, labels = found[fold], None if labels is None else labels[fold]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        warnings.simplefilter("ignore", FewSystemsWarning)  # the table says so
        scores = evaluate(found["truth"].to_numpy(), found["prediction"].to_numpy(), systems=labels)
    if fold is not None and labels is not None and len(np.unique(labels)) < LEAST_SYSTEMS_TO_RANK:
        scores[["S_LCC", "S_SRCC", "S_KTAU"]] = np.nan
    return scores


def _is_flat(found: pd.DataFrame, systems: np.ndarray | None, folds: list[np.ndarray], level: str) -> bool:
    """Whether clips or systems all get one prediction within their fold.

    Such a predictor ranks nothing: what differs between folds follows the mean of their training scores, which is
    anti-correlated with the truth by construction. A look-up gives systems of different folds that mean itself.
    """
    if level == "system" and systems is None:
        return False
    flat = all(np.ptp(found["prediction"][rows]) < _EQUAL for rows in folds)
    if flat or level == "clip":
        return flat
    centred = found["prediction"] - found["training_mean"]
    return bool(np.ptp(system_means(centred, systems)) < _EQUAL)
