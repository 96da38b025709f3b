"""How scores grow with clips, systems and ratings a clip: what to collect next.

The test folds are those of a study and stay the same at every size, so that the points of a line differ in their training data
only. Scores of the test clips rest on all ratings, whatever training is given.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.datasets.clips import check_clips
from musiceval_sk.estimators.lookup import hears
from musiceval_sk.ratings.ceiling import human_ceiling
from musiceval_sk.statistics.confidence import require_confidence, require_whole
from musiceval_sk.studies.curve.designs import GROWS, Design, make_designs
from musiceval_sk.studies.curve.fits import Cell, Target, run_fits
from musiceval_sk.studies.curve.inputs import (
    amounts_of,
    checked_metrics,
    make_target,
    named_models,
    with_scores,
)
from musiceval_sk.studies.curve.result import NOTE_COLUMNS, STEP_COLUMNS, ScoreLearningCurve
from musiceval_sk.studies.curve.scores import rows_of, score_designs, steps_of
from musiceval_sk.studies.inputs import feature_tables
from musiceval_sk.studies.leakage import shares_with_training
from musiceval_sk.studies.provenance import provenance
from musiceval_sk.studies.splits import Split, make_split
from musiceval_sk.studies.summary import count_tested


def score_learning_curve(
    clips: pd.DataFrame,
    X: Any,
    models: Any = None,
    cv: Any = "system",
    *,
    grows: str | Sequence[str] = "clips",
    sizes: Any = None,
    ratings: str | Path | pd.DataFrame | None = None,
    targets: str | list[str] | None = None,
    metrics: Collection[str] | None = None,
    n_splits: int | None = None,
    n_repeats: int = 10,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    scale: tuple[float, float] | None = (1, 5),
    rater: str | None = "rater",
    features: str = "as given",
    random_state: int | None = 0,
    n_jobs: int | None = None,
    progress: bool | None = None,
) -> ScoreLearningCurve:
    """Cut the training part of each fold to several sizes and score the same test clips every time.

    Models are fitted as by `run_study`, on the same folds: with all of the training part the scores are those of a study.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table, with ``system`` for the S metrics and, unless ratings are given, the targets.
    X : pandas.DataFrame, array-like [shape=(n_clips, n_features)] or callable
        Features, as for `run_study`; or what makes them, without arguments, called when all else has been checked.
    models : estimator or dict of str to estimator, default=None
        One line each; by default the look-ups, which hear nothing, and ridge. Every model is fitted
        ``n_repeats * n_splits`` times a size.
    cv : str or splitter, default="system"
        See `make_split`.
    grows : {"clips", "systems", "ratings", "budget"} or sequence of these, default="clips"
        What is cut:

        - "clips": training clips, at random;
        - "systems": whole systems; the clips of the others are all kept;
        - "ratings": ratings a training clip, drawn from each clip's own and averaged anew;
        - "budget": clips and ratings a clip together, for one sum of ratings: few clips with many, many with few.
    sizes : sequence of int or float, or mapping of str to such, default=None
        Numbers (int) or shares of what there is (float up to 1.0), for everything that grows or by name; for "budget" sums of
        training ratings. By default all, a half, a quarter and an eighth; of ratings the largest number and its halves, rounded
        up; budgets that give every training clip so many ratings.
    ratings : str, Path or pandas.DataFrame, default=None
        Ratings table, as for `aggregate_ratings`; needed for "ratings" and "budget". The targets are then the means of all ratings of a
        clip, in the place of columns of the clips table.
    targets : str or list of str, default=None
        Score columns; by default those of impression and alignment that are there.
    metrics : collection of str, default=None
        Names of `METRICS`; by default S_SRCC and U_SRCC, or U_SRCC where clips do not name their systems.
    n_splits : int, default=None
        Number of folds, see `make_split`.
    n_repeats : int, default=10
        Random parts of each size. Within a repeat, a smaller part lies within a larger one. Where nothing is left out, one fit a fold
        stands for all repeats.
    n_resamples : int, default=1000
        Bootstrap resamples.
    confidence : float in (0, 1), default=0.95
        Nominal coverage of intervals.
    scale : (float, float) or None, default=(1, 5)
        Of the ratings, as for `aggregate_ratings`.
    rater : str or None, default="rater"
        Column of raters; None where nobody knows who gave a rating.
    features : str, default="as given"
        What X is, for the header.
    random_state : int or None, default=0
        Seed of folds, parts and resamples.
    n_jobs : int, default=None
        Fits in parallel, see `joblib.Parallel`.
    progress : bool, default=None
        Whether to show a bar on stderr; by default only on a terminal.

    Returns
    -------
    ScoreLearningCurve
        Tables of scores and of steps, and what they let one say; ``print`` it.

    Raises
    ------
    ClipsTableError
        If no target or no usable clip is there, or systems are to grow and clips do not name them.
    RatingDesignError
        If ratings are to grow and there is no ratings table, or no clip has two.
    ValueError
        If a name is unknown, a size is more than every fold can give, or a model cannot be fitted to so little.

    Warns
    -----
    SkippedWarning
        If clips are left out; with their count.

    See Also
    --------
    power_of_comparison : How many systems and clips tell two predictors apart.

    Notes
    -----
    An interval is a percentile of `n_resamples` resamples, each of which draws test systems with replacement and then
    repeats; all sizes and models share what is drawn. So it holds what other test systems with their clips and other parts
    of *this* training data would change. What another training set of the full size would change is not in it.

    A clip with fewer ratings than a size asks for keeps all it has; the column ``ratings`` tells the mean.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> rng = np.random.default_rng(0)
    >>> clips = pd.DataFrame({"system": np.repeat(list("abcdefgh"), 6)}, index=[f"clip{i}" for i in range(48)])
    >>> clips["path"], clips["impression"] = "", np.repeat(np.linspace(1.5, 4.5, 8), 6) + rng.normal(0, 0.2, 48)
    >>> X = pd.DataFrame({"audio_0": clips["impression"] + rng.normal(0, 0.5, 48)})
    >>> curve = score_learning_curve(clips, X, Ridge(), n_splits=4, grows="systems", sizes=[2, 4], progress=False)
    >>> curve.line("impression", "U_SRCC")[["model", "size"]].values.tolist()
    [['Ridge', 2.0], ['Ridge', 4.0]]
    """
    names = _checked(grows, n_repeats, n_resamples, confidence)
    check_clips(clips)
    models = named_models(models, clips)
    clips, table, target_names = with_scores(clips, ratings, targets, scale, rater, names)
    chosen = checked_metrics(metrics, clips)
    seed = int(np.random.default_rng(random_state).integers(2**31))
    split = make_split(cv, clips, n_splits=n_splits, random_state=random_state)

    def _prepared(X: Any) -> tuple[list[Target], dict[str, list[Design]]]:
        features_by_name = feature_tables(X, clips)
        if len(features_by_name) > 1:
            raise ValueError(f"a learning curve takes one table of features; got {listed(features_by_name)}")
        [X] = features_by_name.values()
        made = [make_target(name, clips, X, split, table) for name in target_names]
        return made, {target.name: make_designs(names, sizes, amounts_of(target, names)) for target in made}

    if callable(X):
        _prepared(pd.DataFrame(index=clips.index))
        X = X()
    made, designs = _prepared(X)
    cells = run_fits(made, models, designs, split, n_repeats, seed, n_jobs, progress)
    options = {
        "metrics": chosen,
        "n_repeats": n_repeats,
        "n_resamples": n_resamples,
        "confidence": confidence,
        "random_state": random_state,
    }
    tables = _tables(made, designs, cells, options, seed)
    ceiling = None
    if table is not None:
        common: dict[str, Any] = {"scale": scale, "rater": rater, "confidence": confidence}
        ceiling = human_ceiling(table, clips=clips, targets=target_names, **common)
    about = {"features": features} | _about(made, models, split) | options | provenance()
    return ScoreLearningCurve(*tables, ceiling, about)


def _checked(grows: Any, n_repeats: int, n_resamples: int, confidence: float) -> list[str]:
    names = [grows] if isinstance(grows, str) else list(grows)
    unknown = [name for name in names if name not in GROWS]
    if unknown or not names:
        raise ValueError(f"unknown grows: {listed(unknown) or 'nothing'}; choose from {', '.join(GROWS)}")
    require_whole(n_repeats=n_repeats, n_resamples=n_resamples)
    require_confidence(confidence)
    return list(dict.fromkeys(names))


def _tables(
    made: Sequence[Target],
    designs: dict[str, list[Design]],
    cells: dict[tuple[str, str], list[list[Cell]]],
    options: dict[str, Any],
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Scores, steps and notes."""
    scores, steps, notes = [], [], []
    for target in made:
        of_target = designs[target.name]
        for (name, model), found in cells.items():
            if name != target.name:
                continue
            curve = score_designs(
                target, found, options["metrics"], options["n_repeats"], options["n_resamples"], seed
            )
            about = {"target": target.name, "model": model}
            arguments = (of_target, found, curve, options["metrics"], options["confidence"])
            rows = [about | row for row in rows_of(*arguments)]
            scores += rows
            steps += [about | row for row in steps_of(*arguments)]
            of_sizes = rows[:: len(rows) // len(of_target)]
            notes += [row | {"note": note} for row, note in zip(of_sizes, curve.notes, strict=True) if note]
    step_table = pd.DataFrame(steps, columns=STEP_COLUMNS).astype(
        {"gain": float, "low": float, "high": float}
    )
    return pd.DataFrame(scores), step_table, pd.DataFrame(notes, columns=NOTE_COLUMNS)


def _about(made: Sequence[Target], models: dict[str, Any], split: Split) -> dict[str, Any]:
    facts: dict[str, dict[str, Any]] = {}
    for target in made:
        part = pd.DataFrame({"system": target.systems}, index=target.truth.index)
        systems = None if target.systems is None else part["system"]
        facts[target.name] = count_tested(part, target.folds, systems)
        if target.ratings is not None:
            counts = target.ratings.groupby("clip_id").size()
            counts_told = [int(counts.min()), float(counts.mean()), int(counts.max())]
            facts[target.name]["ratings_a_clip"] = counts_told
    return {
        "split": split.name,
        "meaning": split.meaning,
        "folds": len(made[0].folds),
        "shared_with_training": _shared(made[0]),
        "targets": facts,
        "look_ups": [name for name, model in models.items() if not hears(model)],
        "models": {name: " ".join(repr(model).split()) for name, model in models.items()},
    }


def _shared(target: Target) -> dict[str, float]:
    if target.systems is None:
        return {}
    return shares_with_training(pd.DataFrame({"system": target.systems}), target.folds)
