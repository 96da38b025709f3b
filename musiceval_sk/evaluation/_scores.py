"""Truth, predictions and systems as users give them, brought into one order and held to the contract."""

import warnings
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.evaluation.subsets import select_systems
from musiceval_sk.exceptions import FewSystemsWarning

ENOUGH_SYSTEMS = 5
_ROUNDING = 1e-13


def matched(
    y_true: Any, y_pred: Any, systems: Any
) -> tuple[list[tuple[Any, np.ndarray, np.ndarray]], np.ndarray | None]:
    """Bring truth, predictions and systems into one order, target by target.

    Parameters
    ----------
    y_true, y_pred, systems : array-like
        As `evaluate` takes them.

    Returns
    -------
    targets : list of (name, np.ndarray, np.ndarray)
        Truth and prediction of each target; the name is None where y_true has one dimension.
    systems : np.ndarray or None
        The system of each clip.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, or a clip has no system.
    """
    y_pred = _aligned(y_true, y_pred)
    truth, prediction = np.asarray(y_true, dtype=float), np.asarray(y_pred, dtype=float)
    if truth.shape != prediction.shape:
        raise ValueError(f"y_true has shape {truth.shape}, y_pred {prediction.shape}; they must be the same")
    labels = None if systems is None else systems_of(y_true, systems)
    if truth.ndim == 1:
        return [(None, *validate(truth, prediction))], labels
    names = list(getattr(y_true, "columns", range(truth.shape[1])))
    columns = enumerate(names)
    return [(name, *validate(truth[:, i], prediction[:, i])) for i, name in columns], labels


def validate(y_true: Any, y_pred: Any) -> tuple[np.ndarray, np.ndarray]:
    """Hold the inputs of a metric to the contract.

    Parameters
    ----------
    y_true, y_pred : array-like [shape=(n,)]
        True and predicted scores.

    Returns
    -------
    tuple of np.ndarray
        Both as float arrays.

    Raises
    ------
    ValueError
        If they are not one-dimensional, empty, of different length or not finite.
    """
    y_pred = _aligned(y_true, y_pred)
    truth, prediction = np.asarray(y_true, dtype=float), np.asarray(y_pred, dtype=float)
    if truth.ndim != 1 or truth.shape != prediction.shape or truth.size == 0:
        raise ValueError(
            f"y_true and y_pred must be non-empty, one-dimensional and of one length; got {truth.shape} and "
            f"{prediction.shape}. For several targets use evaluate"
        )
    for name, values in (("y_true", truth), ("y_pred", prediction)):
        broken = np.count_nonzero(~np.isfinite(values))
        if broken:
            raise ValueError(f"{name} holds {broken} values that are nan or infinite, of {values.size}")
    return truth, prediction


def systems_of(y: Any, systems: Any) -> np.ndarray:
    """Find the system of each row of y.

    Parameters
    ----------
    y : array-like
        Scores; a Series or DataFrame is indexed by clip id.
    systems : array-like or pandas.Series
        Systems by clip id (a Series, where y is indexed too), else one per row.

    Returns
    -------
    np.ndarray [shape=(n,)]
        The systems, in the order of y.

    Raises
    ------
    ValueError
        If clips of y have no system, or the lengths differ.
    """
    if isinstance(systems, pd.Series) and isinstance(y, pd.Series | pd.DataFrame):
        if not systems.index.is_unique:
            raise ValueError(f"systems repeats clip ids: {listed(systems.index[systems.index.duplicated()])}")
        found = systems.reindex(y.index)
        if found.isna().any():
            raise ValueError(f"no system is known for clips: {listed(found.index[found.isna()])}")
        return found.to_numpy()
    labels = np.asarray(systems, dtype=object)
    if labels.shape != (len(y),):
        raise ValueError(f"systems has shape {labels.shape} for {len(y)} clips")
    missing = np.flatnonzero(pd.isna(labels))
    if len(missing):
        raise ValueError(f"no system is known for {len(missing)} clips, at rows: {listed(missing)}")
    return labels


def _aligned(y_true: Any, y_pred: Any) -> Any:
    """Bring labelled predictions into the order of labelled truth; refuse those about other clips."""
    if not isinstance(y_pred, pd.Series | pd.DataFrame) or type(y_true) is not type(y_pred):
        return y_pred
    if y_true.ndim == 2 and set(y_true.columns) == set(y_pred.columns):
        y_pred = y_pred[list(y_true.columns)]
    elif y_true.ndim == 2 and set(y_true.columns) & set(y_pred.columns):
        raise ValueError(
            f"y_true has the targets {listed(y_true.columns)}, y_pred {listed(y_pred.columns)}: give both the same names"
        )
    mine, theirs = y_true.index, y_pred.index
    if mine.equals(theirs):
        return y_pred
    if not mine.is_unique or not theirs.is_unique or set(mine) != set(theirs):
        odd = [*mine.difference(theirs), *theirs.difference(mine), *mine[mine.duplicated()]]
        raise ValueError(f"y_true and y_pred are about different clips, e.g. {listed(odd)}")
    return y_pred.reindex(mine)


def kept_clips(systems: np.ndarray | None, n: int, **choice: Any) -> np.ndarray:
    """Apply a choice of systems where there are any.

    Parameters
    ----------
    systems : np.ndarray [shape=(n,)] or None
        The system of each clip.
    n : int
        Number of clips.
    **choice : dict
        Options of `select_systems`.

    Returns
    -------
    np.ndarray of bool [shape=(n,)]
        True for the clips to keep.

    Raises
    ------
    ValueError
        If a choice is made and no systems are given.
    """
    made = {name: value for name, value in choice.items() if value not in (None, 1)}
    if systems is None:
        if made:
            raise ValueError(
                f"{listed(made)} was given, but no systems: give the system of each clip as systems="
            )
        return np.ones(n, dtype=bool)
    return select_systems(systems, **choice)


def folds_of(folds: Any, y: Any, kept: np.ndarray) -> np.ndarray | None:
    """Find the fold of each clip that is kept.

    Parameters
    ----------
    folds : array-like [shape=(n,)] or None
        The fold in which each clip was tested; a Series, where y is indexed too, by clip id.
    y : array-like
        Scores; a Series or DataFrame is indexed by clip id.
    kept : np.ndarray of bool [shape=(n,)]
        As from `kept_clips`.

    Returns
    -------
    np.ndarray or None
        Numbers of folds; None without folds.

    Raises
    ------
    ValueError
        If the lengths differ, or a clip has no fold.
    """
    if folds is None:
        return None
    if isinstance(folds, pd.Series) and isinstance(y, pd.Series | pd.DataFrame):
        if not folds.index.is_unique:
            raise ValueError(f"folds repeats clip ids: {listed(folds.index[folds.index.duplicated()])}")
        folds = folds.reindex(y.index)
    names = np.asarray(folds)
    if names.shape != kept.shape:
        raise ValueError(f"folds has shape {names.shape}; expected one fold for each of {len(kept)} clips")
    numbers = pd.factorize(names)[0]
    if (numbers < 0).any():
        raise ValueError(f"{np.count_nonzero(numbers < 0)} clips have no fold")
    return numbers[kept]


def warn_of_few(systems: np.ndarray | None, stacklevel: int) -> None:
    """Warn where there are too few systems for S metrics to mean much.

    Parameters
    ----------
    systems : np.ndarray or None
        The system of each clip, or of each mean.
    stacklevel : int
        As of `warnings.warn`, counted from here.

    Warns
    -----
    FewSystemsWarning
        If there are fewer than five systems.
    """
    n = ENOUGH_SYSTEMS if systems is None else pd.unique(pd.Series(systems)).size
    if n < ENOUGH_SYSTEMS:
        warnings.warn(
            f"S metrics over {n} systems: chance alone ranks so few well; read them with their interval, or collect clips of "
            f"at least {ENOUGH_SYSTEMS} systems",
            FewSystemsWarning,
            stacklevel=stacklevel + 1,
        )


def system_means(values: Any, systems: Any) -> pd.Series:
    """Average clips over their system.

    Parameters
    ----------
    values : array-like [shape=(n,)]
        Scores of clips.
    systems : array-like [shape=(n,)]
        The system of each clip.

    Returns
    -------
    pandas.Series
        Mean by system, sorted by system.
    """
    return pd.Series(np.asarray(values, dtype=float)).groupby(np.asarray(systems)).mean()


def is_constant(values: np.ndarray) -> bool:
    """Whether values differ by no more than their rounding, which is no ranking.

    Parameters
    ----------
    values : np.ndarray [shape=(n,)]
        Scores of clips, or means of systems.

    Returns
    -------
    bool
        True for a single value.
    """
    return bool(np.ptp(values) <= _ROUNDING * np.abs(values).max())


def settled(means: Any) -> Any:
    """Round means so that equal ones are equal: a sum's last bits depend on the order of its clips.

    Parameters
    ----------
    means : np.ndarray or pandas.Series
        Means of systems.

    Returns
    -------
    np.ndarray or pandas.Series
        Means to twelve digits of the largest, for ranking.
    """
    largest = np.nanmax(np.abs(np.asarray(means)))
    return np.round(means, 11 - int(np.floor(np.log10(largest)))) if largest > 0 else means
