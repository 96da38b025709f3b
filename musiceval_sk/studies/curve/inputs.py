"""What a learning curve starts from: models, scores, metrics and how much there is to cut."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from musiceval_sk._ids import systems_if_named
from musiceval_sk._text import listed
from musiceval_sk.datasets.clips import TARGETS, check_clips
from musiceval_sk.datasets.readers import how_to_name, unused_scores
from musiceval_sk.estimators.lookup import look_ups, scaled
from musiceval_sk.exceptions import ClipsTableError, RatingDesignError
from musiceval_sk.ratings.aggregate import aggregate_ratings
from musiceval_sk.ratings.read import of_known_clips, read_ratings
from musiceval_sk.statistics.metrics import METRICS
from musiceval_sk.studies.cells import Inputs
from musiceval_sk.studies.curve.designs import Amounts
from musiceval_sk.studies.curve.fits import Target
from musiceval_sk.studies.inputs import columns_for, usable_clips
from musiceval_sk.studies.splits import Split


def named_models(models: Any, clips: pd.DataFrame) -> dict[str, Any]:
    """Name the models; by default the look-ups and ridge."""
    if models is None:
        return look_ups(clips) | {"ridge": scaled(Ridge(alpha=100.0))}
    if isinstance(models, Mapping):
        return dict(models)
    if not hasattr(models, "fit"):
        raise ValueError(
            f"models must be an estimator, or a dict of name to estimator; got {type(models).__name__}"
        )
    return {type(models).__name__: models}


def with_scores(
    clips: pd.DataFrame,
    ratings: Any,
    targets: str | list[str] | None,
    scale: tuple[float, float] | None,
    rater: str | None,
    grows: Sequence[str],
) -> tuple[pd.DataFrame, pd.DataFrame | None, list[str]]:
    """Put the means of all ratings into the clips table; also give the ratings of its clips, and the targets."""
    asked = [targets] if isinstance(targets, str) else targets
    if ratings is not None:
        table, names = read_ratings(ratings, asked, scale, rater=rater)
        means = aggregate_ratings(table, clips=clips, targets=names, scale=scale, rater=rater)
        known = of_known_clips(table, clips, quiet=True)
        return clips.drop(columns=means.columns, errors="ignore").join(means), known, names
    if {"ratings", "budget"} & set(grows):
        raise RatingDesignError(
            f"grows={listed(grows)} draws among the single ratings: give ratings=, a table with rater, clip_id and the targets"
        )
    names = list(asked or [name for name in TARGETS if name in clips])
    if not names:
        raise ClipsTableError(
            f"the clips table has no scores; looked for {listed(TARGETS)}. Give ratings={how_to_name(unused_scores(clips, []))}"
        )
    check_clips(clips, columns=names)
    return clips, None, names


def checked_metrics(metrics: Collection[str] | None, clips: pd.DataFrame) -> list[str]:
    """List the metrics in their usual order; refuse those that the clips cannot carry."""
    with_systems = systems_if_named(clips) is not None
    if metrics is None:
        return ["S_SRCC", "U_SRCC"] if with_systems else ["U_SRCC"]
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise ValueError(f"unknown metrics: {listed(unknown) or 'none'}; choose from {', '.join(METRICS)}")
    lacking = [name for name in metrics if METRICS[name].by_system]
    if lacking and not with_systems:
        raise ValueError(f"{listed(lacking)} compare systems, and not every clip names its system")
    return [name for name in METRICS if name in metrics]


def make_target(
    name: str, clips: pd.DataFrame, X: pd.DataFrame, split: Split, table: pd.DataFrame | None
) -> Target:
    """Gather what the fits of one target share."""
    part = usable_clips(clips, {"X": X}, name)
    systems = systems_if_named(clips)
    if table is not None:
        table = table.loc[table["clip_id"].isin(part.index) & table[name].notna(), ["clip_id", name]]
    return Target(
        name,
        Inputs.of(X.loc[part.index, columns_for(name, X)]),
        part[name],
        None if systems is None else systems.loc[part.index].to_numpy(),
        split.folds(part),
        table,
    )


def amounts_of(target: Target, grows: Sequence[str]) -> Amounts:
    """Count what the smallest training part has; refuse to cut what is not there."""
    systems = 0
    if target.systems is not None:
        systems = min(pd.unique(target.systems[train]).size for train, _ in target.folds)
    elif "systems" in grows:
        raise ClipsTableError(
            "systems cannot be left out: not every clip names its system, in a column 'system'"
        )
    clips = min(len(train) for train, _ in target.folds)
    if target.ratings is None:
        return Amounts(clips, systems, np.nan, 0)
    counts = target.ratings.groupby("clip_id").size()
    if counts.max() < 2 and {"ratings", "budget"} & set(grows):
        raise RatingDesignError(
            f"{target.name}: each of {len(counts)} clips has one rating, so there are none to leave out"
        )
    return Amounts(clips, systems, float(counts.mean()), int(counts.max()))
