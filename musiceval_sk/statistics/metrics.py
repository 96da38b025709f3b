"""The field's eight metrics: MSE, LCC, SRCC and KTAU, per utterance (clip) and per system.

Conventions:

- ``U_`` metrics compare clips. ``S_`` metrics first average truth and prediction over each system's clips.
- LCC is Pearson's, SRCC Spearman's with average ranks, KTAU Kendall's tau-b.
- A constant input has no correlation: the result is nan, with a `scipy.stats.ConstantInputWarning`, never 0.
- S metrics over fewer than five systems come with a `FewSystemsWarning`: chance alone ranks four systems perfectly in one of
  24 orders. Means of systems that differ by rounding only are tied.
- Systems are told apart by their text without surrounding spaces: 1, 1.0 and "1" are one system, as "S1" and "S1 " are.
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

from musiceval_sk._ids import id_texts, match_ids, near_misses
from musiceval_sk._text import listed
from musiceval_sk.statistics.align import (
    clips_of,
    is_constant,
    kept_clips,
    matched,
    settled,
    system_means,
    systems_in_order,
    validate,
    warn_of_few,
)


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

    Warns
    -----
    FewSystemsWarning
        If there are fewer than five systems.

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

    Warns
    -----
    FewSystemsWarning
        If there are fewer than five systems.
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

    Warns
    -----
    FewSystemsWarning
        If there are fewer than five systems.

    Examples
    --------
    >>> s_srcc([1, 2, 3, 5], [2, 2, 3, 4], systems=["a", "a", "b", "c"])
    1.0
    """
    return u_srcc(*map(settled, _system_scores(y_true, y_pred, systems)))


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

    Warns
    -----
    FewSystemsWarning
        If there are fewer than five systems.
    """
    return u_ktau(*map(settled, _system_scores(y_true, y_pred, systems)))


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


def evaluate(
    y_true: Any,
    y_pred: Any,
    *,
    systems: Any = None,
    system_truth: pd.Series | None = None,
    min_clips: int = 1,
    only: Any = None,
    leave_out: Any = None,
) -> Any:
    """Compute the whole table: all eight metrics, for each target.

    Parameters
    ----------
    y_true : array-like [shape=(n,) or (n, n_targets)]
        True mean opinion scores. A DataFrame's columns name the targets.
    y_pred : array-like, of the same shape
        Predictions. Where both it and y_true have an index, rows are matched by clip id (columns of DataFrames by name), and
        indices of different clips are refused; arrays go by position.
    systems : array-like [shape=(n,)] or pandas.Series, default=None
        The system of each clip; without it the S metrics are nan. A Series is matched by clip id to the scores that have
        an index, and may then hold more clips.
    system_truth : pandas.Series or DataFrame, default=None
        True scores by system, instead of the mean over the evaluated clips; a DataFrame has the targets' columns.
        Numbers match their text.
    min_clips : int, default=1
        Leave out systems with fewer clips, from all metrics.
    only, leave_out : iterable, default=None
        Names of the systems to keep, or to leave out, from all metrics.

    Returns
    -------
    pandas.Series or pandas.DataFrame
        Indexed by metric; for several targets one row a target and one column a metric.

    Raises
    ------
    ValueError
        If shapes or clips differ, values are not finite, a clip has no system, ``system_truth`` lacks one, or systems are
        chosen that are not there.

    Warns
    -----
    FewSystemsWarning
        If there are fewer than five systems.

    See Also
    --------
    bootstrap_metrics : The same with intervals.

    Examples
    --------
    >>> systems = ["a", "b", "b", "c", "d", "e"]
    >>> print(round(evaluate([1, 2, 2, 3, 4, 5], [1, 3, 2, 3, 4, 5], systems=systems)["S_MSE"], 3))
    0.05
    """
    targets, labels = matched(y_true, y_pred, systems)
    kept = kept_clips(labels, len(y_true), min_clips=min_clips, only=only, leave_out=leave_out)
    labels = None if labels is None else labels[kept]
    warn_of_few(labels, stacklevel=2)
    rows = {}
    for name, truth, prediction in targets:
        of_system = None if system_truth is None else _truth_of(system_truth, name)
        rows[name] = _evaluate_one(truth[kept], prediction[kept], labels, of_system)
    return rows[None] if None in rows else pd.DataFrame(rows).T


def _correlation(name: str, y_true: Any, y_pred: Any) -> float:
    from scipy import stats

    truth, prediction = validate(y_true, y_pred)
    for role, values in (("y_true", truth), ("y_pred", prediction)):
        if is_constant(values):
            warnings.warn(
                f"{role} is constant over {values.size} values: a correlation is undefined, nan is returned",
                stats.ConstantInputWarning,
                stacklevel=3,
            )
            return float("nan")
    return float(getattr(stats, name)(truth, prediction).statistic)


def _system_scores(y_true: Any, y_pred: Any, systems: Any) -> tuple[pd.Series, pd.Series]:
    truth, prediction = validate(y_true, y_pred)
    labels = systems_in_order(clips_of(y_true=y_true, y_pred=y_pred, systems=systems), systems, len(truth))
    warn_of_few(labels, stacklevel=3)
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
        true = _of_systems(system_truth, predicted.index)
    by_system = {"S_MSE": u_mse(true, predicted), "S_LCC": u_lcc(true, predicted)}
    true, predicted = settled(true), settled(predicted)
    by_system |= {"S_SRCC": u_srcc(true, predicted), "S_KTAU": u_ktau(true, predicted)}
    return pd.Series(scores | by_system)


def _truth_of(system_truth: Any, target: Any) -> pd.Series:
    """Column of a target; a Series serves the only one."""
    if isinstance(system_truth, pd.Series) and target is None:
        return system_truth
    columns = list(system_truth.columns) if isinstance(system_truth, pd.DataFrame) else []
    if target is None and len(columns) == 1:
        return system_truth[columns[0]]
    if target is None or target not in columns:
        form = f"DataFrame with a column {target!r}"
        if target is None:
            form = "Series, as pd.Series({'S1': 3.5, 'S2': 4.0}), since there is one target"
        raise ValueError(
            f"system_truth must be the scores by system in a {form}; got a {type(system_truth).__name__}"
            + (f" with {listed(columns)}" if columns else "")
        )
    return system_truth[target]


def _of_systems(system_truth: pd.Series, systems: pd.Index) -> pd.Series:
    """Bring true scores into the order of the systems."""
    system_truth = system_truth.set_axis(id_texts(system_truth.index))
    if not system_truth.index.is_unique:
        repeated = system_truth.index[system_truth.index.duplicated()].unique()
        raise ValueError(f"system_truth repeats systems: {listed(repeated)}")
    places = match_ids(systems, system_truth.index)
    if (places < 0).any():
        lacking = systems[places < 0]
        near = near_misses(lacking, system_truth.index)
        raise ValueError(
            f"system_truth lacks systems: {listed(lacking)}; it has {listed(filter(None, system_truth.index))}{near}"
        )
    true = system_truth.iloc[places].set_axis(systems).astype(float)
    if not np.isfinite(true).all():
        raise ValueError(
            f"system_truth has no finite score of systems: {listed(systems[~np.isfinite(true)])}"
        )
    return true
