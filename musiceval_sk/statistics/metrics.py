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

import inspect
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from musiceval_sk._ids import id_texts, match_ids, near_misses
from musiceval_sk._text import listed, require_known
from musiceval_sk.statistics import align


class _Kind(NamedTuple):
    """What the doc of a metric says of it, and its figures of clips and of systems in the example."""

    words: str
    correlation: str  # scipy's function
    of_clips: float
    of_systems: float


_KINDS = {
    "MSE": _Kind("Mean squared error", "", 1.6667, 0.6667),
    "LCC": _Kind("Pearson's linear correlation", "pearsonr", 0.5, 0.7857),
    "SRCC": _Kind("Spearman's rank correlation, ties by average ranks,", "spearmanr", 0.5, 0.5),
    "KTAU": _Kind("Kendall's rank correlation, tau-b,", "kendalltau", 0.3333, 0.3333),
}
_RANGES = {
    True: "float in [-1, 1]\n    Higher is better; nan, with a `scipy.stats.ConstantInputWarning`, where an input is constant.",
    False: "float in [0, inf)\n    Squared units of the scale; lower is better.",
}


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


def _metric(level: str, kind: str) -> Metric:
    name, by_system, is_correlation = f"{level}_{kind}", level == "S", kind != "MSE"

    def of_clips(y_true: Any, y_pred: Any) -> float:
        """{words} over clips.

        Parameters
        ----------
        y_true, y_pred : array-like [shape=(n,)]
            True and predicted mean opinion scores, matched by clip id where both have an index.

        Returns
        -------
        {returned}

        Raises
        ------
        ValueError
            If shapes or clips differ, or values are not finite.

        Examples
        --------
        >>> round(METRICS["{name}"].function([1, 2, 4], [1, 4, 3]), 4)
        {found}
        """
        return agreement_of(name, *align.validate(y_true, y_pred))

    def of_systems(y_true: Any, y_pred: Any, systems: Any) -> float:
        """{words} over systems.

        Parameters
        ----------
        y_true, y_pred : array-like [shape=(n,)]
            True and predicted mean opinion scores of clips, matched by clip id where both have an index.
        systems : array-like [shape=(n,)]
            The system of each clip, as for `evaluate`.

        Returns
        -------
        {returned}

        Raises
        ------
        ValueError
            If shapes or clips differ, values are not finite, or a clip has no system.

        Warns
        -----
        FewSystemsWarning
            If there are fewer than five systems.

        Examples
        --------
        >>> round(METRICS["{name}"].function([1, 3, 4, 5], [2, 2, 5, 4], systems=["a", "a", "b", "c"]), 4)
        {found}
        """
        truth, prediction = align.validate(y_true, y_pred)
        clips = align.clips_of(y_true=y_true, y_pred=y_pred, systems=systems)
        labels = align.systems_in_order(clips, systems, len(truth))
        align.warn_of_few(labels, stacklevel=2)
        return agreement_of(
            name, *(align.system_means(values, labels).to_numpy() for values in (truth, prediction))
        )

    function: Callable[..., float] = of_systems if by_system else of_clips
    about = _KINDS[kind]
    function.__name__ = function.__qualname__ = name.lower()
    function.__doc__ = inspect.cleandoc(function.__doc__ or "").format(
        words=about.words,
        returned=_RANGES[is_correlation],
        name=name,
        found=about.of_systems if by_system else about.of_clips,
    )
    return Metric(function, by_system, is_correlation)


METRICS = {f"{level}_{kind}": _metric(level, kind) for level in "US" for kind in _KINDS}
u_mse, u_lcc, u_srcc, u_ktau, s_mse, s_lcc, s_srcc, s_ktau = (metric.function for metric in METRICS.values())


def take_metrics(
    metrics: str | Collection[str] | None, usual: Sequence[str], *, with_systems: bool
) -> list[str]:
    """Name the metrics that are asked for, else the usual ones; refuse those of systems where not every clip names its own."""
    names = [metrics] if isinstance(metrics, str) else list(usual if metrics is None else metrics)
    require_known("metrics", names, METRICS)
    lacking = [name for name in names if METRICS[name].by_system and not with_systems]
    if lacking:
        raise ValueError(f"{listed(lacking)} compare systems: give the system of every clip")
    return names


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
    choice = {"min_clips": min_clips, "only": only, "leave_out": leave_out}
    scores = align.match_scores(y_true, {"y_pred": y_pred}, systems=systems, **choice)
    align.warn_of_few(scores.systems, stacklevel=2)
    rows = {}
    for target, truth, prediction in zip(scores.targets, scores.truth, scores.predictions[0], strict=True):
        levels = {"U": (truth, prediction)}
        if scores.systems is not None:
            predicted = align.system_means(prediction, scores.systems)
            true = align.system_means(truth, scores.systems)
            if system_truth is not None:
                true = _system_truth(system_truth, target, predicted.index)
            levels["S"] = true.to_numpy(), predicted.to_numpy()
        figures = {}
        # No comprehension, a frame of its own before Python 3.12: warnings are to point at the caller.
        for name in METRICS:
            figures[name] = agreement_of(name, *levels[name[0]]) if name[0] in levels else np.nan
        rows[target] = pd.Series(figures)
    return rows[None] if None in rows else pd.DataFrame(rows).T


def agreement_of(name: str, truth: np.ndarray, prediction: np.ndarray) -> float:
    """Compute a metric of clips' scores or systems' means."""
    level, kind = name.split("_")
    if kind == "MSE":
        return float(np.mean((truth - prediction) ** 2))
    if level == "S" and kind != "LCC":
        truth, prediction = align.settled(truth), align.settled(prediction)
    for role, values in (("y_true", truth), ("y_pred", prediction)):
        if align.is_constant(values):
            warnings.warn(
                f"{role} is constant over {values.size} values: a correlation is undefined, nan is returned",
                stats.ConstantInputWarning,
                stacklevel=3,
            )
            return float("nan")
    return float(getattr(stats, _KINDS[kind].correlation)(truth, prediction).statistic)


def _system_truth(system_truth: Any, target: Any, systems: pd.Index) -> pd.Series:
    """Take a target's true scores, of a Series or a DataFrame, in the order of the systems."""
    true = system_truth
    if isinstance(system_truth, pd.DataFrame):
        only = system_truth.columns[0] if target is None and system_truth.shape[1] == 1 else target
        true = system_truth.get(only)
    if not isinstance(true, pd.Series) or (true is system_truth and target is not None):
        form = f"DataFrame with a column {target!r}"
        if target is None:
            form = "Series, as pd.Series({'S1': 3.5, 'S2': 4.0}), since there is one target"
        columns = f" with {listed(system_truth.columns)}" if isinstance(system_truth, pd.DataFrame) else ""
        raise ValueError(
            f"system_truth must be the scores by system in a {form}; got a {type(system_truth).__name__}{columns}"
        )
    true = true.set_axis(id_texts(true.index))
    if not true.index.is_unique:
        raise ValueError(
            f"system_truth repeats systems: {listed(true.index[true.index.duplicated()].unique())}"
        )
    places = match_ids(systems, true.index)
    lacking = systems[places < 0]
    if len(lacking):
        raise ValueError(
            f"system_truth lacks systems: {listed(lacking)}; it has {listed(filter(None, true.index))}"
            f"{near_misses(lacking, true.index)}"
        )
    true = true.iloc[places].set_axis(systems).astype(float)
    if not np.isfinite(true).all():
        raise ValueError(
            f"system_truth has no finite score of systems: {listed(systems[~np.isfinite(true)])}"
        )
    return true
