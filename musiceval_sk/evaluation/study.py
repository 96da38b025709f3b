"""The main job: models by folds by targets, to one table.

Every model meets the same folds. Scores come in two kinds that must not be mixed up: *pooled* (all out-of-fold
predictions together, one score) and *mean of folds* (one score a fold, then the average). With few systems a fold, the
latter is biased low for S metrics. Pooled correlations have a null below 0 where folds hold out whole systems: the mean
of the training scores is low where the test systems are good, and every predictor leans on it.
"""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from musiceval_sk._text import listed
from musiceval_sk.datasets.clips import TARGETS, check_clips
from musiceval_sk.estimators.baselines import default_models
from musiceval_sk.evaluation._judging import judge
from musiceval_sk.evaluation._provenance import provenance
from musiceval_sk.evaluation.leakage import leakage
from musiceval_sk.evaluation.model_selection import Split, make_split
from musiceval_sk.evaluation.study_result import StudyResult
from musiceval_sk.exceptions import ClipsTableError, SkippedWarning


def run_study(
    clips: pd.DataFrame,
    X: Any,
    models: dict[str, Any] | None = None,
    cv: Any = "system",
    *,
    targets: str | list[str] | None = None,
    n_splits: int = 5,
    random_state: int | None = 0,
    features: str = "as given",
    n_jobs: int | None = None,
    progress: bool | None = None,
) -> StudyResult:
    """Cross-validate several models on the same folds, for each target.

    Models are fitted for one target at a time. Where the columns' names tell ``audio`` from ``text``, models of
    ``impression`` are given the audio columns only and others all of them, so that every model has the same inputs.
    Under a split by group, a model whose ``fit`` takes ``groups`` (such as `MOSRegressor`, for early stopping) is given
    the groups of its training part.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table with the targets, and ``system`` for the S metrics.
    X : pandas.DataFrame or array-like [shape=(n_clips, n_features)]
        Features, indexed by clip id; clips without a row, or without a score, are left out with a warning. An array has
        one row for each clip, and no names to tell audio from text.
    models : dict of str to estimator, default=None
        By default `default_models`.
    cv : str or splitter, default="system"
        See `make_split`.
    targets : str or list of str, default=None
        Score columns; by default those of impression and alignment that are there.
    n_splits : int, default=5
        Number of folds.
    random_state : int or None, default=0
        Seed of folds and of default models.
    features : str, default="as given"
        What X is, for the header.
    n_jobs : int, default=None
        Fits in parallel, see `joblib.Parallel`.
    progress : bool, default=None
        Whether to show a bar on stderr; by default only on a terminal.

    Returns
    -------
    StudyResult
        Tables, predictions and what they rest on; ``print`` it.

    Raises
    ------
    ClipsTableError
        If no target or no usable clip is there.

    Warns
    -----
    SkippedWarning
        If clips are left out; with their count.
    """
    from joblib import Parallel, delayed
    from tqdm import tqdm

    check_clips(clips)
    X = _as_table(X, clips)
    targets = [targets] if isinstance(targets, str) else targets
    if models is not None and not isinstance(models, dict):
        raise ValueError(f"models must be a dict of name to estimator, got {type(models).__name__}")
    if not X.index.is_unique:
        raise ClipsTableError(f"X repeats clip ids: {listed(X.index[X.index.duplicated()].unique())}")
    targets = list(targets or [name for name in TARGETS if name in clips])
    check_clips(clips, columns=targets)
    if not targets:
        raise ClipsTableError(
            f"the clips table has no scores; looked for {listed(TARGETS)}. Join the ratings first"
        )
    models = models or default_models(clips, random_state=random_state)
    split = make_split(cv, clips, n_splits=n_splits, random_state=random_state)
    jobs, kept = [], {}
    for target in targets:
        part = _usable(clips, X, target)
        folds = split.folds(part)
        inputs = X.loc[part.index, _columns_for(target, X)]
        kept[target] = (part, folds, inputs.shape[1])
        for name, model in models.items():
            for fold, (train, test) in enumerate(folds):
                jobs.append((target, name, fold, (model, inputs, part[target], split, train, test)))
    running = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(_fit_predict)(*job[-1]) for job in jobs)
    bar = tqdm(
        running, total=len(jobs), desc="study", unit="fit", disable=None if progress is None else not progress
    )
    predictions = pd.concat(
        [
            found.assign(target=target, model=name, fold=fold)
            for (target, name, fold, _), found in zip(jobs, bar, strict=True)
        ]
    )
    return _summarise(clips, predictions, kept, models, split, random_state, features)


def _as_table(X: Any, clips: pd.DataFrame) -> pd.DataFrame:
    if isinstance(X, pd.DataFrame):
        return X
    matrix = np.asarray(X)
    if matrix.ndim != 2 or len(matrix) != len(clips):
        raise ValueError(
            f"X has shape {matrix.shape}; expected a DataFrame by clip id, or one row for each of {len(clips)} clips"
        )
    return pd.DataFrame(matrix, index=clips.index)


def _usable(clips: pd.DataFrame, X: pd.DataFrame, target: str) -> pd.DataFrame:
    usable = clips.index.isin(X.index) & clips[target].notna()
    if not usable.any():
        raise ClipsTableError(f"no clip has both features and a score of {target!r}")
    if not usable.all():
        left_out = clips.index[~usable]
        warnings.warn(
            f"{target}: left out {len(left_out)} clips without features or score: {listed(left_out)}",
            SkippedWarning,
            stacklevel=3,
        )
    return clips[usable]


def _columns_for(target: str, X: pd.DataFrame) -> list[str]:
    audio = [name for name in X.columns if str(name).startswith("audio")]
    return audio if target == "impression" and audio else list(X.columns)


def _fit_predict(
    model: Any, X: pd.DataFrame, y: pd.Series, split: Split, train: np.ndarray, test: np.ndarray
) -> pd.DataFrame:
    """Out-of-fold predictions of one fold, indexed by clip id, and whether a look-up knew the clip."""
    fitted = clone(model)
    extra = {}
    final, prefix = (
        (fitted.steps[-1][1], f"{fitted.steps[-1][0]}__") if isinstance(fitted, Pipeline) else (fitted, "")
    )
    if split.inner is not None and has_fit_parameter(final, "groups"):
        extra[f"{prefix}groups"] = split.inner.loc[y.index[train]]
    with sklearn.config_context(enable_metadata_routing=False):
        fitted.fit(X.iloc[train], y.iloc[train], **extra)
    tested = X.iloc[test]
    known = fitted.known(tested) if hasattr(fitted, "known") else np.ones(len(test), dtype=bool)
    return pd.DataFrame(
        {
            "truth": y.iloc[test],
            "prediction": np.ravel(fitted.predict(tested)),
            "known": known,
            "training_mean": y.iloc[train].mean(),
        },
        index=tested.index,
    )


def _summarise(
    clips: pd.DataFrame,
    predictions: pd.DataFrame,
    kept: dict[str, Any],
    models: dict[str, Any],
    split: Split,
    random_state: int | None,
    features: str,
) -> StudyResult:
    systems = clips["system"] if "system" in clips and clips["system"].fillna("").ne("").all() else None
    scores, notes = [], []
    for (target, name), found in predictions.groupby(["target", "model"], sort=False):
        labels = None if systems is None else systems.loc[found.index]
        rows, note = judge(found, labels)
        scores += [{"target": target, "model": name, "kind": kind, **row} for kind, row in rows.items()]
        if note:
            notes.append({"target": target, "model": name, "note": note})
    first = next(iter(kept.values()))
    about = {
        "split": split.name,
        "meaning": split.meaning,
        "folds": len(first[1]),
        "shared_with_training": leakage(first[0], first[1]),
        "targets": {
            target: _facts(part, folds, systems) | {"inputs": n_inputs}
            for target, (part, folds, n_inputs) in kept.items()
        },
        "features": features,
        "models": {
            name: " ".join(repr(model).split())
            for name, model in models.items()
            if not hasattr(model, "known")
        },
        "random_state": random_state,
        **provenance(),
    }
    tidy = predictions.drop(columns=["known", "training_mean"]).rename_axis("clip_id").reset_index()
    columns = ["target", "model", "fold", "clip_id", "truth", "prediction"]
    return StudyResult(
        pd.DataFrame(scores), tidy[columns], pd.DataFrame(notes, columns=["target", "model", "note"]), about
    )


def _facts(
    part: pd.DataFrame, folds: list[tuple[np.ndarray, np.ndarray]], systems: pd.Series | None
) -> dict[str, int]:
    if systems is None:
        return {"clips": len(part), "systems": 0, "least_systems_in_a_fold": 0}
    counts = [part["system"].iloc[test].nunique() for _, test in folds]
    tested = np.unique(np.concatenate([test for _, test in folds]))
    return {
        "clips": len(tested),
        "systems": part["system"].iloc[tested].nunique(),
        "least_systems_in_a_fold": min(counts),
    }
