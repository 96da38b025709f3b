"""The main job: features by models by splits by targets, to one table.

Every model meets the same folds. Scores come in two kinds that must not be mixed up: *pooled* (all out-of-fold
predictions together, one score) and *mean of folds* (one score a fold, then the average). With few systems a fold, the
latter is biased low for S metrics. Pooled correlations have a null below 0 where folds hold out whole systems: the mean
of the training scores is low where the test systems are good, and every predictor leans on it.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from musiceval_sk._ids import systems_if_named
from musiceval_sk._text import listed, require_known
from musiceval_sk.datasets.clips import check_clips
from musiceval_sk.estimators.lookup import CosineRegressor, default_models, uses_features
from musiceval_sk.ratings.ceiling import human_ceiling
from musiceval_sk.studies import cell
from musiceval_sk.studies.judge import summarise
from musiceval_sk.studies.leakage import describe_split
from musiceval_sk.studies.result import NO_FEATURES, PREDICTED, StudyResult, made_with
from musiceval_sk.studies.splits import Fold, Split, make_split


def run_study(
    clips: pd.DataFrame,
    X: Any,
    models: Any = None,
    cv: Any = "system",
    *,
    targets: str | list[str] | None = None,
    n_splits: int | None = None,
    random_state: int | None = 0,
    features: str | Mapping[str, str] = "as given",
    ratings: Any = None,
    scale: tuple[float, float] | None = (1, 5),
    n_resamples: int = 1000,
    memory: str | Path | None = None,
    n_jobs: int | None = None,
    progress: bool | None = None,
) -> StudyResult:
    """Cross-validate models on features, under one or several splits, for each target.

    Everything is compared on equal terms: the same clips, in the same folds, with the same inputs.

    - Each model is fitted for one target at a time.
    - Models of ``impression`` see the audio columns only, where the names of columns tell ``audio`` from ``text``; models of
      other targets see all columns.
    - Under a split by group, a model whose ``fit`` takes ``groups`` is given those of its training part, such as `MOSRegressor`
      for early stopping.
    - Baselines without audio are fitted once whatever the features.
    - A CLAP score is a row of targets that see the text, for features whose sound and text share a space. It ranks and has no errors.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table with the targets, and ``system`` for the S metrics.
    X : pandas.DataFrame, array-like [shape=(n_clips, n_features)], or mapping of str to these
        Features by clip id, or an array with one row a clip. Several are compared in a mapping, by name. A clip that one of
        them lacks, or that has no score, is left out of all, with a warning.
    models : estimator or mapping of str to estimator, default=None
        Models by name, or one that goes by its class; by default `default_models` and, for features whose sound and text share a space, a CLAP score, see
        `CosineRegressor`.
    cv : str or splitter, or list of these, default="system"
        Splits, see `make_split`.
    targets : str or list of str, default=None
        Score columns; by default those of impression and alignment that are there.
    n_splits : int, default=None
        Number of folds, see `make_split`.
    random_state : int or None, default=0
        Seed of folds, default models and resamples.
    features : str or mapping of str to str, default="as given"
        What X is, in words for the header; for several, by their name.
    ratings : str, Path or pandas.DataFrame, default=None
        Single ratings, for `human_ceiling`.
    scale : (float, float) or None, default=(1, 5)
        Lowest and highest score that raters can give, so that predictions off it are pointed out. None: not known, as where
        the scores themselves leave it.
    n_resamples : int, default=1000
        Resamples for intervals, and swaps for tests, see `bootstrap_metrics` and `compare_predictors`; 0 for neither.
    memory : str or Path, default=None
        Folder that keeps the predictions of each fit as soon as they are there, so that a study that was killed goes on. They are
        used again where model, features, scores, folds and versions of packages are the same.
    n_jobs : int, default=None
        Fits in parallel, see `joblib.Parallel`.
    progress : bool, default=None
        Whether to show progress on stderr, a bar or, without a terminal, a line every 10 s; by default only on a terminal.

    Returns
    -------
    StudyResult
        Tables, predictions and what they rest on; ``print`` it.

    Raises
    ------
    ClipsTableError
        If no target or no usable clip is there.
    ValueError
        If n_resamples or random_state is no whole number or below 0, memory is a file, a split is named twice, X has the wrong
        shape, or with ``memory`` a model cannot be written down.

    Warns
    -----
    SkippedWarning
        If clips are left out; with their count.

    Examples
    --------
    >>> import numpy as np
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
    cell.check_run(n_resamples, random_state, memory)
    check_clips(clips)
    targets = cell.targets_of(clips, targets, "Join the means of ratings, see aggregate_ratings")
    tables = cell.feature_tables(X, clips)
    described = _described(tables, features)
    if models is None:
        models = default_models(clips, random_state=random_state) | clap_score_row(tables.values())
    models = cell.take_models(models)
    splits = _splits(cv, clips, n_splits=n_splits, random_state=random_state)
    usable = {target: cell.usable_clips(clips, tables, target) for target in targets}
    parts = {
        split.name: {target: (part, split.folds(part)) for target, part in usable.items()} for split in splits
    }
    cells = list(_cells(splits, parts, tables, models))
    if not cells:
        words = "there is nothing but CLAP scores to judge, and no features with sound and text in one space"
        raise ValueError(
            f"{words}: take an encoder such as laion-clap, with modality='both' and pooling='mean'"
        )
    predictions = cell.run_cells(cells, name="study", memory=memory, n_jobs=n_jobs, progress=progress)
    systems = systems_if_named(clips)
    accounts = {split.name: describe_split(split, parts[split.name], systems) for split in splits}
    scale = _scale_of(clips[targets], scale)
    inputs = {
        target: {name: len(cell.columns_for(target, table)) for name, table in tables.items()}
        for target in targets
    }
    heard = {name: model for name, model in models.items() if uses_features(model)}
    about = {
        "splits": accounts,
        "features": described,
        "inputs": inputs,
        "models": {name: " ".join(repr(model).split()) for name, model in heard.items()},
        "resamples": n_resamples,
        "scale": None if scale is None else list(scale),
        "human_ceiling": {} if ratings is None else _ceiling(ratings, clips, targets, random_state),
        "random_state": random_state,
        **made_with(),
    }
    draws: dict[str, Any] = {"n_resamples": n_resamples, "random_state": random_state, "n_jobs": n_jobs}
    scores, notes, comparisons = summarise(predictions, accounts, systems, scale=scale, **draws)
    tidy = predictions.rename_axis("clip_id").reset_index()[PREDICTED]
    return StudyResult(scores, tidy, notes, comparisons, about)


def _described(tables: dict[str, pd.DataFrame], features: str | Mapping[str, str]) -> dict[str, str]:
    if isinstance(features, str):
        return dict.fromkeys(tables, features)
    for name in features:
        require_known("features", name, tables)
    return {name: features.get(name, "as given") for name in tables}


def clap_score_row(tables: Iterable[pd.DataFrame]) -> dict[str, Any]:
    """Give the model of a CLAP score by its name, where some table of features allows for it.

    Parameters
    ----------
    tables : iterable of pandas.DataFrame
        Features.

    Returns
    -------
    dict of str to CosineRegressor
        One, or none.
    """
    return {"CLAP score": CosineRegressor()} if any(map(CosineRegressor.applies_to, tables)) else {}


def _splits(cv: Any, clips: pd.DataFrame, **options: Any) -> list[Split]:
    if isinstance(cv, list | tuple) and not cv:
        raise ValueError("cv is an empty list; name at least one split")
    # As names and splitters have, and folds have not.
    several = isinstance(cv, list | tuple) and all(hasattr(one, "split") for one in cv)
    splits = [make_split(one, clips, **options) for one in (cv if several else [cv])]
    names = pd.Series([split.name for split in splits])
    if not names.is_unique:
        raise ValueError(f"cv names splits twice: {listed(sorted(names[names.duplicated()].unique()))}")
    return splits


def _cells(
    splits: list[Split],
    parts: dict[str, dict[str, tuple[pd.DataFrame, list[Fold]]]],
    tables: dict[str, pd.DataFrame],
    models: Mapping[str, Any],
) -> Iterator[cell.Cell]:
    """List the fits; models that use no audio are fitted once, whatever the features."""
    usable = parts[splits[0].name]
    inputs = {
        (target, name): cell.one_matrix(table.loc[usable[target][0].index, cell.columns_for(target, table)])
        for target, (name, table) in itertools.product(usable, tables.items())
    }
    for split, target in itertools.product(splits, usable):
        part, folds = parts[split.name][target]
        groups = None if split.inner is None else split.inner.loc[part.index]
        for model in models:
            for features in tables if uses_features(models[model]) else [NO_FEATURES]:
                X = inputs[target, next(iter(tables)) if features == NO_FEATURES else features]
                if isinstance(models[model], CosineRegressor) and not CosineRegressor.applies_to(X):
                    continue
                labels = {"split": split.name, "target": target, "features": features, "model": model}
                for fold, rows in enumerate(folds):
                    yield cell.Cell(labels | {"fold": fold}, models[model], X, part[target], groups, *rows)


def _scale_of(scores: pd.DataFrame, scale: tuple[float, float] | None) -> tuple[float, float] | None:
    """Give the scale; None where scores leave it, for it is not theirs."""
    if scale is None or (scores < scale[0]).any(axis=None) or (scores > scale[1]).any(axis=None):
        return None
    return float(scale[0]), float(scale[1])


def _ceiling(
    ratings: Any, clips: pd.DataFrame, targets: list[str], random_state: int | None
) -> dict[str, dict[str, dict[str, float]]]:
    """Ask `human_ceiling`: by target and by who would reach it, without figures that ratings cannot carry."""
    options: dict[str, Any] = {"scale": None, "n_bootstrap": 0, "random_state": random_state}
    found = human_ceiling(ratings, clips=clips, targets=targets, **options).metrics().dropna(how="all")
    ceiling: dict[str, dict[str, dict[str, float]]] = {}
    for (target, who), row in found.iterrows():
        ceiling.setdefault(target, {})[who] = row.dropna().to_dict()
    return ceiling
