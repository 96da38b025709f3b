"""The main job: features by models by splits by targets, to one table.

Every model meets the same folds. Scores come in two kinds that must not be mixed up: *pooled* (all out-of-fold
predictions together, one score) and *mean of folds* (one score a fold, then the average). With few systems a fold, the
latter is biased low for S metrics. Pooled correlations have a null below 0 where folds hold out whole systems: the mean
of the training scores is low where the test systems are good, and every predictor leans on it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._ids import systems_if_named
from musiceval_sk._text import listed
from musiceval_sk.datasets.clips import check_clips
from musiceval_sk.estimators.lookup import default_models, hears
from musiceval_sk.ratings.ceiling import human_ceiling
from musiceval_sk.studies.cells import Inputs, Part, key_of, run_fits
from musiceval_sk.studies.inputs import (
    check_run,
    columns_for,
    feature_tables,
    targets_of,
    usable_clips,
)
from musiceval_sk.studies.result import NO_FEATURES, StudyResult, provenance
from musiceval_sk.studies.splits import Split, make_split
from musiceval_sk.studies.summary import Bootstrap, describe_split, summarise


def run_study(
    clips: pd.DataFrame,
    X: Any,
    models: Mapping[str, Any] | None = None,
    cv: Any = "system",
    *,
    targets: str | list[str] | None = None,
    n_splits: int | None = None,
    random_state: int | None = 0,
    features: str | Mapping[str, str] = "as given",
    ratings: Any = None,
    scale: tuple[float, float] | None = (1, 5),
    n_resamples: int = 1000,
    memory: Any = None,
    n_jobs: int | None = None,
    progress: bool | None = None,
) -> StudyResult:
    """Cross-validate models on features, under one or several splits, for each target.

    Within a split all models meet the same folds of the same clips, and models are fitted for one target at a time. Where the
    columns' names tell ``audio`` from ``text``, models of ``impression`` are given the audio columns only and others all of
    them, so that every model has the same inputs. Under a split by group, a model whose ``fit`` takes ``groups`` (such as
    `MOSRegressor`, for early stopping) is given the groups of its training part. Models that hear nothing, look-ups and
    constants, are run once whatever the features.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table with the targets, and ``system`` for the S metrics.
    X : pandas.DataFrame, array-like [shape=(n_clips, n_features)], or mapping of str to these
        Features, indexed by clip id; clips without a row in each of them, or without a score, are left out with a warning.
        An array has one row for each clip, and no names to tell audio from text. A mapping names several, such as encoders or
        poolings to compare.
    models : mapping of str to estimator, default=None
        By default `default_models`.
    cv : str or splitter, or list of these, default="system"
        See `make_split`; of a list, all are run.
    targets : str or list of str, default=None
        Score columns; by default those of impression and alignment that are there.
    n_splits : int, default=None
        Number of folds, see `make_split`.
    random_state : int or None, default=0
        Seed of folds, default models and resamples.
    features : str or mapping of str to str, default="as given"
        What X is, for the header; for several, by their name.
    ratings : str, Path or pandas.DataFrame, default=None
        Single ratings, for `human_ceiling`.
    scale : (float, float) or None, default=(1, 5)
        Lowest and highest score that raters can give: the study says which predictions lie off it. None: not known, as where
        the scores themselves leave it.
    n_resamples : int, default=1000
        Resamples for intervals, and swaps for tests, see `bootstrap_metrics` and `compare_predictors`; 0 for neither.
    memory : str, Path or joblib.Memory, default=None
        Folder in which the predictions of each fit are kept as soon as they are there. A second run takes them from it where
        model, features, scores, folds and versions of packages are the same; so a study that was killed goes on.
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
    ValueError
        If n_resamples or random_state is below 0, memory is a file, a split is named twice, X has the wrong shape, or with ``memory`` a model cannot be written down.

    Warns
    -----
    SkippedWarning
        If clips are left out; with their count.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> rng = np.random.default_rng(0)
    >>> ids = pd.Index([f"S{i:02d}_{j}" for i in range(12) for j in range(4)], name="clip_id")
    >>> clips = pd.DataFrame({"path": "", "prompt": "", "system": [name[:3] for name in ids]}, index=ids)
    >>> clips["impression"] = np.repeat(rng.normal(3, 0.7, 12), 4) + rng.normal(0, 0.3, 48)
    >>> heard = pd.DataFrame({"audio_0": clips["impression"] + rng.normal(0, 0.5, 48)}, index=ids)
    >>> X = {"heard": heard, "louder": 2 * heard}
    >>> study = run_study(clips, X, {"ridge": Ridge()}, ["system", "random"], n_splits=3)
    >>> study.splits, list(study.table("impression", split="system").index)
    (['system', 'random'], ['ridge (heard)', 'ridge (louder)'])
    """
    check_run(n_resamples, random_state, memory)
    check_clips(clips)
    targets = targets_of(clips, targets)
    tables = feature_tables(X, clips)
    described = _described(tables, features)
    if models is not None and not isinstance(models, Mapping):
        raise ValueError(f"models must be a dict of name to estimator, got {type(models).__name__}")
    if models is None:
        models = default_models(clips, random_state=random_state)
    if not models:
        raise ValueError("models is empty; give at least one estimator, or None for the default ones")
    for name, model in models.items():
        if not hasattr(model, "fit"):
            raise ValueError(f"model {name!r} is {model!r}, which is no estimator; give one, such as Ridge()")
    splits = _splits(cv, clips, n_splits=n_splits, random_state=random_state)
    parts = {target: usable_clips(clips, tables, target) for target in targets}
    folds = {(split.name, target): split.folds(part) for split in splits for target, part in parts.items()}
    rows = [
        (kind, name) for name, model in models.items() for kind in (tables if hears(model) else [NO_FEATURES])
    ]
    fits = list(_fits(splits, parts, folds, tables, models, rows, with_keys=memory is not None))
    predictions = run_fits(fits, memory, n_jobs, progress, "study")
    systems = systems_if_named(clips)
    described_splits = {
        split.name: describe_split(
            split, {t: (part, folds[split.name, t]) for t, part in parts.items()}, systems
        )
        for split in splits
    }
    scale = _scale_of(clips[targets], scale)
    bootstrap = Bootstrap(n_resamples, random_state, n_jobs, scale)
    scores, notes, comparisons = summarise(predictions, described_splits, systems, bootstrap)
    about = {
        "splits": described_splits,
        "features": described,
        "inputs": {
            target: {name: len(columns_for(target, table)) for name, table in tables.items()}
            for target in targets
        },
        "models": {name: " ".join(repr(model).split()) for name, model in models.items() if hears(model)},
        "resamples": n_resamples,
        "scale": None if scale is None else list(scale),
        "human_ceiling": {} if ratings is None else _ceiling(ratings, clips, targets, random_state),
        "random_state": random_state,
        **provenance(),
    }
    tidy = predictions.drop(columns=["known", "training_mean"]).rename_axis("clip_id").reset_index()
    columns = ["split", "target", "features", "model", "fold", "clip_id", "truth", "prediction"]
    return StudyResult(scores, tidy[columns], notes, comparisons, about)


def _described(tables: dict[str, pd.DataFrame], features: str | Mapping[str, str]) -> dict[str, str]:
    if isinstance(features, str):
        return dict.fromkeys(tables, features)
    unknown = [name for name in features if name not in tables]
    if unknown:
        raise ValueError(f"features describes {listed(unknown)}, but X holds {listed(tables)}")
    return {name: features.get(name, "as given") for name in tables}


def _scale_of(scores: pd.DataFrame, scale: tuple[float, float] | None) -> tuple[float, float] | None:
    """Give the scale; None where scores leave it, for it is not theirs."""
    if scale is None or (scores < scale[0]).any(axis=None) or (scores > scale[1]).any(axis=None):
        return None
    return float(scale[0]), float(scale[1])


def _splits(cv: Any, clips: pd.DataFrame, **options: Any) -> list[Split]:
    several = isinstance(cv, list | tuple) and all(
        isinstance(one, str) or hasattr(one, "split") for one in cv
    )
    if several and not cv:
        raise ValueError("cv is an empty list; name at least one split")
    splits = [make_split(one, clips, **options) for one in (cv if several else [cv])]
    names = [split.name for split in splits]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"cv names splits twice: {listed(twice)}")
    return splits


def _fits(
    splits: list[Split],
    parts: dict[str, pd.DataFrame],
    folds: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]],
    tables: dict[str, pd.DataFrame],
    models: Mapping[str, Any],
    rows: list[tuple[str, str]],
    *,
    with_keys: bool,
) -> Iterator[tuple[dict[str, Any], tuple[Any, ...]]]:
    """Where each fit belongs in the tables, and what `predict_fold` needs for it."""
    inputs = {
        (target, name): Inputs.of(table.loc[part.index, columns_for(target, table)])
        for target, part in parts.items()
        for name, table in tables.items()
    }
    digests = {place: made.digest() for place, made in inputs.items()} if with_keys else {}
    for split in splits:
        for target, clips in parts.items():
            part = Part(clips[target], None if split.inner is None else split.inner.loc[clips.index])
            for features, name in rows:
                place = (target, next(iter(tables)) if features == NO_FEATURES else features)
                for fold, (train, test) in enumerate(folds[split.name, target]):
                    key = key_of(name, models[name], digests[place], part, train, test) if with_keys else ""
                    labels = {
                        "split": split.name,
                        "target": target,
                        "features": features,
                        "model": name,
                        "fold": fold,
                    }
                    yield labels, (key, models[name], inputs[place], part, train, test)


def _ceiling(
    ratings: Any, clips: pd.DataFrame, targets: list[str], random_state: int | None
) -> dict[str, dict[str, dict[str, float]]]:
    """Ask `human_ceiling`: by target and by who would reach it, without figures that ratings cannot carry."""
    found = human_ceiling(
        ratings, clips=clips, targets=targets, scale=None, n_bootstrap=0, random_state=random_state
    ).metrics()
    ceiling: dict[str, dict[str, dict[str, float]]] = {}
    for (target, who), row in found.iterrows():
        if row.notna().any():
            ceiling.setdefault(target, {})[who] = row.dropna().to_dict()
    return ceiling
