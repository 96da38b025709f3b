"""The fits behind a learning curve: every model, size and repeat on the folds of one split, tests always the same."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk.ratings.aggregate import aggregate_ratings
from musiceval_sk.studies.cells import Inputs, Part, predict_fold
from musiceval_sk.studies.curve.designs import Design, nested_ratings
from musiceval_sk.studies.judge import judge
from musiceval_sk.studies.splits import Split


@dataclass(frozen=True)
class Target:
    """Everything about one target that its fits share.

    Attributes
    ----------
    name : str
        The target.
    inputs : Inputs
        Features of the clips that have some and a score, in the order of the clips table.
    truth : pandas.Series
        Their scores, by all ratings.
    systems : np.ndarray or None
        Their systems.
    folds : list of (np.ndarray, np.ndarray)
        Training and test rows.
    ratings : pandas.DataFrame or None
        Long table with ``clip_id`` and the target, only ratings that were given.
    """

    name: str
    inputs: Inputs
    truth: pd.Series
    systems: np.ndarray | None
    folds: list[tuple[np.ndarray, np.ndarray]]
    ratings: pd.DataFrame | None

    def labels(self, found: pd.DataFrame) -> np.ndarray | None:
        """System of each row of predictions, None where clips do not name their systems."""
        if self.systems is None:
            return None
        return pd.Series(self.systems, index=self.truth.index).loc[found.index].to_numpy()


@dataclass(frozen=True)
class Cell:
    """One fit a fold of one model, size and repeat.

    Attributes
    ----------
    found : pandas.DataFrame
        Out-of-fold predictions with their fold; rows are the same in every cell of a target.
    scores : dict of str to dict
        By kind and metric, as from `judge`.
    note : str
        What the scores cannot say.
    clips, systems, ratings : float
        What the fits were given, mean over folds: training clips, their systems, and ratings a clip.
    """

    found: pd.DataFrame
    scores: dict[str, dict[str, float]]
    note: str
    clips: float
    systems: float
    ratings: float


def run_fits(
    targets: Sequence[Target],
    models: dict[str, Any],
    designs: dict[str, list[Design]],
    split: Split,
    n_repeats: int,
    seed: int,
    n_jobs: int | None,
    progress: bool | None,
) -> dict[tuple[str, str], list[list[Cell]]]:
    """Fit everything, with a bar.

    Parameters
    ----------
    targets : sequence of Target
        Clips, features, folds.
    models : dict of str to estimator
        Not fitted.
    designs : dict of str to list of Design
        Sizes, by target.
    split : Split
        Tells the groups that early stopping keeps whole.
    n_repeats : int
        Random parts of each size; where nothing is left out there is one.
    seed : int
        Seed of the parts.
    n_jobs : int or None
        As of `joblib.Parallel`.
    progress : bool or None
        Whether to show a bar; None only on a terminal.

    Returns
    -------
    dict
        By target and model, a list of repeats for each size.
    """
    from joblib import Parallel, delayed
    from tqdm import tqdm

    scores = {target.name: _drawn_scores(target, designs[target.name], n_repeats, seed) for target in targets}
    jobs = [
        (replace(target, ratings=None), name, place, design, repeat)
        for target in targets
        for name in models
        for place, design in enumerate(designs[target.name])
        for repeat in range(1 if design.is_whole else n_repeats)
    ]
    running = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_fit_cell)(
            target,
            split,
            name,
            models[name],
            design,
            scores[target.name][design.ratings, repeat],
            (seed, repeat),
        )
        for target, name, _, design, repeat in jobs
    )
    hidden = None if progress is None else not progress
    bar = tqdm(running, total=len(jobs), desc="learning curve", unit="part", disable=hidden)
    cells: dict[tuple[str, str], list[list[Cell]]] = {
        (target.name, name): [[] for _ in designs[target.name]] for target in targets for name in models
    }
    for (target, name, place, _, _), cell in zip(jobs, bar, strict=True):
        cells[target.name, name][place].append(cell)
    return cells


def _drawn_scores(
    target: Target, designs: Sequence[Design], n_repeats: int, seed: int
) -> dict[tuple[int | None, int], tuple[pd.Series, pd.Series]]:
    """By number of ratings (None is all) and repeat, the clips' scores and how many ratings they rest on.

    The r ratings of a repeat are among its r + 1.
    """
    whole = target.truth, _counts(target)
    scores: dict[tuple[int | None, int], tuple[pd.Series, pd.Series]] = {
        (None, repeat): whole for repeat in range(n_repeats)
    }
    wanted = {design.ratings for design in designs} - {None}
    if target.ratings is None or not wanted:
        return scores
    for repeat in range(n_repeats):
        numbers = nested_ratings(target.ratings["clip_id"], (seed, repeat))
        for most in wanted:
            drawn = target.ratings[numbers < most]
            table = aggregate_ratings(drawn, targets=[target.name], scale=None, rater=None)
            table = table.reindex(target.truth.index)
            scores[most, repeat] = table[target.name], table[f"{target.name}_count"]
    return scores


def _fit_cell(
    target: Target,
    split: Split,
    name: str,
    model: Any,
    design: Design,
    scores: tuple[pd.Series, pd.Series],
    seed: Sequence[int],
) -> Cell:
    """Fit one model to one part of the training data of each fold, and judge it."""
    parts, counts = [], []
    groups = None if split.inner is None else split.inner.loc[target.truth.index]
    for fold, (train, test) in enumerate(target.folds):
        rows = design.rows(train, target.systems, (*seed, fold))
        truth = target.truth.copy()
        truth.iloc[rows] = scores[0].iloc[rows]
        n_systems = np.nan if target.systems is None else len(np.unique(target.systems[rows].astype(str)))
        try:
            found = predict_fold("", model, target.inputs, Part(truth, groups), rows, test)
        except ValueError as error:
            raise ValueError(
                f"{name} could not be fitted to {len(rows)} clips of {n_systems:g} systems ({target.name}, {design.grows}, fold "
                f"{fold}): {error}. Ask for larger sizes, or for other models"
            ) from error
        parts.append(found.assign(fold=fold))
        counts.append((len(rows), n_systems, scores[1].iloc[rows].mean()))
    found = pd.concat(parts)
    return Cell(found, *judge(found, target.labels(found)), *np.mean(counts, axis=0))


def _counts(target: Target) -> pd.Series:
    if target.ratings is None:
        return pd.Series(np.nan, index=target.truth.index)
    return target.ratings.groupby("clip_id").size().reindex(target.truth.index)
