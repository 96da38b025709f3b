"""The field's eight metrics: MSE, LCC, SRCC and KTAU, per utterance (clip) and per system.

Conventions:

- ``U_`` metrics compare clips. ``S_`` metrics first average truth and prediction over each system's clips.
- LCC is Pearson's, SRCC Spearman's with average ranks, KTAU Kendall's tau-b.
- A constant input has no correlation: the result is nan, with a `scipy.stats.ConstantInputWarning`, never 0.
- System truth is by default the mean of the clips that are evaluated. The released baseline reads a table of system
  scores instead (all clips of a system, not only the evaluated); give that as ``system_truth`` to `evaluate`.

Sources: definitions as in E. Cooper et al., "Generalization ability of MOS prediction networks", ICASSP 2022, and
C. Liu et al., "MusicEval", ICASSP 2025, Table I.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import listed

_ROUNDING = 1e-13


def u_mse(y_true: Any, y_pred: Any) -> float:
    """Mean squared error over clips.

    Parameters
    ----------
    y_true, y_pred : array-like [shape=(n,)]
        True and predicted mean opinion scores.

    Returns
    -------
    float in [0, inf)
        Squared units of the scale; lower is better.

    Examples
    --------
    >>> u_mse([1, 2, 3], [1, 2, 5])
    1.3333333333333333
    """
    truth, prediction = validate(y_true, y_pred)
    return float(np.mean((truth - prediction) ** 2))


def u_lcc(y_true: Any, y_pred: Any) -> float:
    """Pearson's linear correlation over clips.

    Parameters
    ----------
    y_true, y_pred : array-like [shape=(n,)]
        True and predicted mean opinion scores.

    Returns
    -------
    float in [-1, 1]
        Higher is better; nan where an input is constant.

    Warns
    -----
    scipy.stats.ConstantInputWarning
        If an input is constant.

    Examples
    --------
    >>> round(u_lcc([1, 2, 3], [1, 2, 5]), 4)
    0.9608
    """
    return _correlation("pearsonr", y_true, y_pred)


def u_srcc(y_true: Any, y_pred: Any) -> float:
    """Spearman's rank correlation over clips, ties by average ranks.

    Parameters
    ----------
    y_true, y_pred : array-like [shape=(n,)]
        True and predicted mean opinion scores.

    Returns
    -------
    float in [-1, 1]
        Higher is better; nan where an input is constant.

    Warns
    -----
    scipy.stats.ConstantInputWarning
        If an input is constant.

    Examples
    --------
    >>> u_srcc([1, 2, 3], [1, 2, 5])
    1.0
    """
    return _correlation("spearmanr", y_true, y_pred)


def u_ktau(y_true: Any, y_pred: Any) -> float:
    """Kendall's rank correlation over clips, tau-b.

    Parameters
    ----------
    y_true, y_pred : array-like [shape=(n,)]
        True and predicted mean opinion scores.

    Returns
    -------
    float in [-1, 1]
        Higher is better; nan where an input is constant.

    Warns
    -----
    scipy.stats.ConstantInputWarning
        If an input is constant.

    Examples
    --------
    >>> round(u_ktau([1, 2, 3], [1, 3, 2]), 4)
    0.3333
    """
    return _correlation("kendalltau", y_true, y_pred)


def s_mse(y_true: Any, y_pred: Any, systems: Any) -> float:
    """Mean squared error over systems.

    Parameters
    ----------
    y_true, y_pred : array-like [shape=(n,)]
        True and predicted mean opinion scores of clips.
    systems : array-like [shape=(n,)]
        The system of each clip.

    Returns
    -------
    float in [0, inf)
        Squared units of the scale; lower is better.

    Examples
    --------
    >>> s_mse([1, 3, 4], [2, 2, 5], systems=["a", "a", "b"])
    0.5
    """
    return u_mse(*_system_scores(y_true, y_pred, systems))


def s_lcc(y_true: Any, y_pred: Any, systems: Any) -> float:
    """Pearson's linear correlation over systems.

    Parameters
    ----------
    y_true, y_pred : array-like [shape=(n,)]
        True and predicted mean opinion scores of clips.
    systems : array-like [shape=(n,)]
        The system of each clip.

    Returns
    -------
    float in [-1, 1]
        Higher is better; nan where an input is constant over systems.
    """
    return u_lcc(*_system_scores(y_true, y_pred, systems))


def s_srcc(y_true: Any, y_pred: Any, systems: Any) -> float:
    """Spearman's rank correlation over systems: the field's headline figure.

    Parameters
    ----------
    y_true, y_pred : array-like [shape=(n,)]
        True and predicted mean opinion scores of clips.
    systems : array-like [shape=(n,)]
        The system of each clip.

    Returns
    -------
    float in [-1, 1]
        Higher is better; nan where an input is constant over systems.

    Examples
    --------
    >>> s_srcc([1, 2, 3, 5], [2, 2, 3, 4], systems=["a", "a", "b", "c"])
    1.0
    """
    return u_srcc(*_system_scores(y_true, y_pred, systems))


def s_ktau(y_true: Any, y_pred: Any, systems: Any) -> float:
    """Kendall's rank correlation over systems, tau-b.

    Parameters
    ----------
    y_true, y_pred : array-like [shape=(n,)]
        True and predicted mean opinion scores of clips.
    systems : array-like [shape=(n,)]
        The system of each clip.

    Returns
    -------
    float in [-1, 1]
        Higher is better; nan where an input is constant over systems.
    """
    return u_ktau(*_system_scores(y_true, y_pred, systems))


@dataclass(frozen=True)
class Metric:
    """One of the eight.

    Attributes
    ----------
    function : callable
        ``function(y_true, y_pred)`` or, where `by_system`, ``function(y_true, y_pred, systems)``.
    by_system : bool
        Whether it compares systems.
    greater_is_better : bool
        False for the errors.
    """

    function: Callable[..., float]
    by_system: bool
    greater_is_better: bool


METRICS: dict[str, Metric] = {
    "U_MSE": Metric(u_mse, by_system=False, greater_is_better=False),
    "U_LCC": Metric(u_lcc, by_system=False, greater_is_better=True),
    "U_SRCC": Metric(u_srcc, by_system=False, greater_is_better=True),
    "U_KTAU": Metric(u_ktau, by_system=False, greater_is_better=True),
    "S_MSE": Metric(s_mse, by_system=True, greater_is_better=False),
    "S_LCC": Metric(s_lcc, by_system=True, greater_is_better=True),
    "S_SRCC": Metric(s_srcc, by_system=True, greater_is_better=True),
    "S_KTAU": Metric(s_ktau, by_system=True, greater_is_better=True),
}


def evaluate(y_true: Any, y_pred: Any, *, systems: Any = None, system_truth: pd.Series | None = None) -> Any:
    """Compute the whole table: all eight metrics, for each target.

    Parameters
    ----------
    y_true : array-like [shape=(n,) or (n, n_targets)]
        True mean opinion scores. A DataFrame's columns name the targets.
    y_pred : array-like, of the same shape
        Predictions, in the same order of rows and columns; labelled ones are brought into the order of a labelled y_true.
    systems : array-like [shape=(n,)] or pandas.Series, default=None
        The system of each clip; without it the S metrics are nan. A Series is matched to a pandas ``y_true`` by clip
        id, and may then hold more clips.
    system_truth : pandas.Series or DataFrame, default=None
        True scores by system, instead of the mean over the evaluated clips; a DataFrame has the targets' columns.

    Returns
    -------
    pandas.Series or pandas.DataFrame
        Indexed by metric; for several targets one row a target and one column a metric.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, or a clip has no system.

    Examples
    --------
    >>> print(round(evaluate([1, 2, 4], [1, 3, 4], systems=["a", "a", "b"])["S_MSE"], 3))
    0.125
    """
    y_pred = _aligned(y_true, y_pred)
    truth, prediction = np.asarray(y_true, dtype=float), np.asarray(y_pred, dtype=float)
    if truth.shape != prediction.shape:
        raise ValueError(f"y_true has shape {truth.shape}, y_pred {prediction.shape}; they must be the same")
    labels = None if systems is None else systems_of(y_true, systems)
    if truth.ndim == 1:
        return _evaluate_one(truth, prediction, labels, system_truth)
    names = list(getattr(y_true, "columns", range(truth.shape[1])))
    rows = {}
    for i, name in enumerate(names):
        of_system = None if system_truth is None else system_truth[name]
        rows[name] = _evaluate_one(truth[:, i], prediction[:, i], labels, of_system)
    return pd.DataFrame(rows).T


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


def _aligned(y_true: Any, y_pred: Any) -> Any:
    """Bring labelled predictions into the order of labelled truth; refuse those about other clips."""
    if not isinstance(y_pred, pd.Series | pd.DataFrame) or type(y_true) is not type(y_pred):
        return y_pred
    if y_true.ndim == 2 and set(y_true.columns) == set(y_pred.columns):
        y_pred = y_pred[list(y_true.columns)]
    mine, theirs = y_true.index, y_pred.index
    if mine.equals(theirs):
        return y_pred
    if not mine.is_unique or not theirs.is_unique or set(mine) != set(theirs):
        odd = [*mine.difference(theirs), *theirs.difference(mine), *mine[mine.duplicated()]]
        raise ValueError(f"y_true and y_pred are about different clips, e.g. {listed(odd)}")
    return y_pred.reindex(mine)


def _correlation(name: str, y_true: Any, y_pred: Any) -> float:
    from scipy import stats

    truth, prediction = validate(y_true, y_pred)
    for role, values in (("y_true", truth), ("y_pred", prediction)):
        # Averaging equal values over systems leaves differences in the last bits, which are no ranking.
        if np.ptp(values) <= _ROUNDING * np.abs(values).max():
            warnings.warn(
                f"{role} is constant over {values.size} values: a correlation is undefined, nan is returned",
                stats.ConstantInputWarning,
                stacklevel=3,
            )
            return float("nan")
    return float(getattr(stats, name)(truth, prediction).statistic)


def _system_scores(y_true: Any, y_pred: Any, systems: Any) -> tuple[pd.Series, pd.Series]:
    truth, prediction = validate(y_true, y_pred)
    labels = systems_of(y_true, systems)
    return system_means(truth, labels), system_means(prediction, labels)


def _evaluate_one(
    truth: np.ndarray, prediction: np.ndarray, systems: np.ndarray | None, system_truth: pd.Series | None
) -> pd.Series:
    scores = {
        name: metric.function(truth, prediction) for name, metric in METRICS.items() if not metric.by_system
    }
    if systems is None:
        return pd.Series(scores | {name: np.nan for name, metric in METRICS.items() if metric.by_system})
    predicted = system_means(prediction, systems)
    true = system_means(truth, systems)
    if system_truth is not None:
        missing = predicted.index.difference(system_truth.index)
        if len(missing):
            raise ValueError(f"system_truth lacks systems: {listed(missing)}")
        true = system_truth.reindex(predicted.index)
    by_system = {"S" + name[1:]: METRICS[name].function(true, predicted) for name in scores}
    return pd.Series(scores | by_system)
