"""Which of several predictors is better, on the same clips, and how sure that is."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from musiceval_sk._text import listed
from musiceval_sk.statistics.align import (
    clips_of,
    folds_of,
    is_constant,
    kept_clips,
    matched,
    settled,
    system_means,
    warn_of_few,
)
from musiceval_sk.statistics.confidence import require_confidence, require_whole
from musiceval_sk.statistics.dependent_correlations import williams_test
from musiceval_sk.statistics.folds import (
    LEAST_SYSTEMS_TO_RANK,
    NO_FOLD_RANKS,
    folds_are_small,
    resampled_metrics,
)
from musiceval_sk.statistics.intervals import METHODS, NO_INTERVAL, interval, method_of
from musiceval_sk.statistics.kernels import Judged
from musiceval_sk.statistics.metrics import METRICS
from musiceval_sk.statistics.permutation import Swapped, swap_p_value
from musiceval_sk.statistics.resampling import generators


def compare_predictors(
    y_true: Any,
    predictions: Mapping[str, Any],
    *,
    systems: Any = None,
    metrics: str | Collection[str] | None = None,
    baseline: str | None = None,
    folds: Any = None,
    method: str = "auto",
    confidence: float = 0.95,
    n_resamples: int = 10_000,
    min_clips: int = 1,
    only: Any = None,
    leave_out: Any = None,
    random_state: Any = None,
    n_jobs: int | None = None,
) -> pd.DataFrame:
    """Compare predictors pair by pair: difference, its interval, and tests.

    Parameters
    ----------
    y_true : array-like [shape=(n,) or (n, n_targets)]
        True mean opinion scores. A DataFrame's columns name the targets.
    predictions : mapping of str to array-like
        Each predictor's predictions, matched as by `evaluate`; the columns of a table are such a mapping, too.
    systems : array-like [shape=(n,)] or pandas.Series, default=None
        The system of each clip, as for `evaluate`.
    metrics : str or collection of str, default=None
        Names of metrics; by default S_SRCC and S_LCC, or U_SRCC and U_LCC without systems.
    baseline : str, default=None
        Compare all others with this predictor; by default all pairs are compared.
    folds : array-like [shape=(n,)], default=None
        The fold in which each clip was tested (a Series by clip id, as for systems): metrics are computed fold by
        fold and averaged, as `bootstrap_metrics` does. Folds with fewer than three systems are left out of correlations of
        systems. Folds that share no system are resampled each by itself; where folds share systems, a system is drawn for all
        of them at once.
    method : {"auto", "jackknife", "percentile", "bca", "basic"}, default="auto"
        Method of the interval. "auto" is what held the difference most nearly as often as it says in simulation
        (docs/statistics.md): percentiles of resampled systems for S_SRCC and S_KTAU, and else the jackknife, which leaves out one
        system at a time and takes Student's t; without systems, percentiles of resampled clips.
    confidence : float in (0, 1), default=0.95
        Nominal coverage of intervals.
    n_resamples : int, default=10_000
        Number of resamples of whole systems (of clips, without systems), and of swaps.
    min_clips : int, default=1
        Leave out systems with fewer clips.
    only, leave_out : iterable, default=None
        Names of the systems to keep, or to leave out.
    random_state : int, RandomState, Generator or None, default=None
        Seed.
    n_jobs : int, default=None
        Number of threads for the bootstrap; None is one.

    Returns
    -------
    pandas.DataFrame
        One row a target, metric and pair:

        - ``target, metric, a, b, value_a, value_b``, and ``difference``, a minus b. For errors less is better.
        - ``low, high``: interval of the difference, both predictors with the same systems and clips; ``method``, its own.
        - ``p_value``: of a permutation test that swaps both predictors' predictions, for all clips of a system at once; without
          systems, clip by clip; with ``folds``, in all folds at once. ``p_holm``: the same after Holm's correction over the pairs of this target and metric.
        - ``p_williams``: of S_LCC, by formula (`williams_test`), without ``folds``.
        - ``n``: number of clips (U) or systems (S). ``note``: why a figure or its interval is missing.

    Raises
    ------
    ValueError
        If there are fewer than two predictors, or a name or option is unknown.

    Warns
    -----
    FewSystemsWarning
        If there are fewer than five systems.

    References
    ----------
    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).

    Examples
    --------
    >>> truth = np.arange(24) / 6 + 1
    >>> noise = np.random.default_rng(0).normal(size=(2, 24))
    >>> systems = np.repeat(list("abcdef"), 4)
    >>> table = compare_predictors(truth, {"good": truth + noise[0], "none": noise[1]}, systems=systems, random_state=0)
    >>> table[["metric", "a", "b"]].values.tolist()
    [['S_SRCC', 'good', 'none'], ['S_LCC', 'good', 'none']]
    """
    require_confidence(confidence)
    metrics = _checked(predictions, metrics, systems is not None, baseline, method, n_resamples)
    named = {f"predictions[{name!r}]": values for name, values in predictions.items()}
    clips = clips_of(y_true=y_true, **named, systems=systems, folds=folds)
    found = [matched(y_true, values, systems, clips, argument) for argument, values in named.items()]
    by_name = dict(zip(predictions, found, strict=True))
    labels = next(iter(by_name.values()))[1]
    kept = kept_clips(labels, len(y_true), min_clips=min_clips, only=only, leave_out=leave_out)
    labels = None if labels is None else labels[kept]
    tested_in = folds_of(folds, clips, kept)
    if any(METRICS[name].by_system for name in metrics):
        warn_of_few(labels, stacklevel=2)
    pairs = [(a, baseline) for a in by_name if a != baseline] if baseline else list(combinations(by_name, 2))
    generator = generators(random_state, 1)[0]
    rows: list[dict[str, Any]] = []
    for place, (target, truth, _) in enumerate(next(iter(by_name.values()))[0]):
        judged = {
            name: Judged(truth[kept], targets[place][2][kept]) for name, (targets, _) in by_name.items()
        }
        compared = _Compared(judged, labels, tested_in, metrics, n_resamples, generator, n_jobs)
        for metric in metrics:
            of_metric = [
                {"target": target} | compared.row(metric, a, b, method, confidence) for a, b in pairs
            ]
            for row, corrected in zip(of_metric, holm([row["p_value"] for row in of_metric]), strict=True):
                rows.append(row | {"p_holm": corrected})
    columns = [
        "target",
        "metric",
        "a",
        "b",
        "value_a",
        "value_b",
        "difference",
        "low",
        "high",
        "method",
        "p_value",
        "p_holm",
    ]
    return pd.DataFrame(rows)[[*columns, "p_williams", "n", "note"]]


def holm(p_values: Iterable[float]) -> np.ndarray:
    """Correct p-values for being several, by Holm's step-down procedure.

    Parameters
    ----------
    p_values : iterable of float in [0, 1]
        Uncorrected; nan is passed over and not counted.

    Returns
    -------
    np.ndarray
        Corrected p-values in the same order.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.array(list(p_values), dtype=float)
    order = np.argsort(values)[: np.count_nonzero(np.isfinite(values))]
    factors = len(order) - np.arange(len(order))
    corrected = np.full(len(values), np.nan)
    if len(order):
        corrected[order] = np.minimum(1, np.maximum.accumulate(values[order] * factors))
    return corrected


class _Compared:
    """All predictors of one target, with their metrics in the same resamples."""

    def __init__(
        self,
        judged: dict[str, Judged],
        systems: np.ndarray | None,
        folds: np.ndarray | None,
        metrics: Collection[str],
        n_resamples: int,
        rng: np.random.Generator,
        n_jobs: int | None,
    ):
        self._judged, self._systems, self._folds = judged, systems, folds
        self._n_resamples, self._rng = n_resamples, rng
        self._level = "clips" if systems is None else "systems"
        resampled = resampled_metrics(list(judged.values()), systems, self._level, metrics, folds)
        self._estimates = resampled.as_they_are()
        self._samples = resampled.draw(n_resamples, rng, n_jobs)
        self._left_out = resampled.leaving_out()

    def row(self, metric: str, a: str, b: str, method: str, confidence: float) -> dict[str, Any]:
        """Everything about one metric of two predictors, but for the correction."""
        first, second = (list(self._judged).index(name) for name in (a, b))
        column = list(METRICS).index(metric)
        values = self._estimates[[first, second], column]
        difference = values[0] - values[1]
        samples, left_out = (
            of[:, first, column] - of[:, second, column] for of in (self._samples, self._left_out)
        )
        method = method_of(method, metric, self._level, difference=True)
        low, high = interval(method, samples, difference, left_out, "difference", confidence)
        parts = self._parts(metric, a, b)
        whole = parts[0] if self._folds is None else self._parts(metric, a, b, whole=True)[0]
        scores = [whole.truth, *whole.predictions]
        constant = [
            name
            for name, values_of in zip(("the truth", a, b), scores, strict=True)
            if is_constant(values_of)
        ]
        row = {"metric": metric, "a": a, "b": b, "value_a": values[0], "value_b": values[1]}
        row |= {"difference": difference, "low": low, "high": high, "method": method, "n": len(scores[0])}
        row["p_value"] = self._p_value(metric, parts)
        if np.isfinite(difference):
            row["note"] = "" if low <= high else NO_INTERVAL
        elif METRICS[metric].by_system and folds_are_small(self._systems, self._folds):
            row["note"] = NO_FOLD_RANKS
        else:
            row["note"] = f"constant: {listed(constant)}" if constant else ""
        by_formula = metric == "S_LCC" and self._folds is None and not constant
        row["p_williams"] = _williams(scores) if by_formula else np.nan
        return row

    def _parts(self, metric: str, a: str, b: str, *, whole: bool = False) -> list[Swapped]:
        """Truth and both predictions, of clips or of systems, all at once or fold by fold."""
        scores = [self._judged[a].truth, self._judged[a].prediction, self._judged[b].prediction]
        units = np.arange(len(scores[0])) if self._systems is None else pd.factorize(self._systems)[0]
        folds = np.zeros(len(units), dtype=int) if whole or self._folds is None else self._folds
        rows = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
        make = _of_systems if METRICS[metric].by_system else _of_clips
        parts = [make(*(values[some] for values in (*scores, units))) for some in rows]
        if metric not in ("S_SRCC", "S_KTAU"):
            return parts
        return [
            replace(part, truth=settled(part.truth), predictions=tuple(map(settled, part.predictions)))
            for part in parts
        ]

    def _p_value(self, metric: str, parts: list[Swapped]) -> float:
        by_system = METRICS[metric].by_system
        if not metric.endswith("MSE"):
            parts = [part for part in parts if not any(map(is_constant, (part.truth, *part.predictions)))]
            if by_system and self._folds is not None:
                parts = [part for part in parts if len(part.truth) >= LEAST_SYSTEMS_TO_RANK]
        if not parts:
            return np.nan
        with threadpool_limits(1, user_api="blas"):
            return swap_p_value(metric[2:], parts, self._n_resamples, self._rng, by_system=by_system)


def _of_clips(truth: np.ndarray, a: np.ndarray, b: np.ndarray, units: np.ndarray) -> Swapped:
    return Swapped(truth, (a, b), units)


def _of_systems(truth: np.ndarray, a: np.ndarray, b: np.ndarray, units: np.ndarray) -> Swapped:
    names = np.unique(units)
    means = [system_means(values, units).loc[names].to_numpy() for values in (truth, a, b)]
    return Swapped(means[0], (means[1], means[2]), names)


def _williams(scores: list[np.ndarray]) -> float:
    correlations = np.clip(np.corrcoef(scores), -1, 1)
    return williams_test(correlations[0, 1], correlations[0, 2], correlations[1, 2], len(scores[0])).p_value


def _checked(
    predictions: Mapping[str, Any],
    metrics: str | Collection[str] | None,
    with_systems: bool,
    baseline: str | None,
    method: str,
    n_resamples: int,
) -> list[str]:
    if len(list(predictions)) < 2:  # of a table, its columns
        raise ValueError(
            f"two predictors at least are needed to compare; got {listed(predictions) or 'none'}"
        )
    if baseline is not None and baseline not in predictions:
        raise ValueError(f"baseline {baseline!r} is not among the predictors: {listed(predictions)}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {listed(METHODS)}; got {method!r}")
    require_whole(n_resamples=n_resamples)
    if metrics is None:
        return ["S_SRCC", "S_LCC"] if with_systems else ["U_SRCC", "U_LCC"]
    if isinstance(metrics, str):
        metrics = [metrics]
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise ValueError(f"unknown metrics: {listed(unknown)}; choose from {', '.join(METRICS)}")
    lacking = [name for name in metrics if METRICS[name].by_system]
    if lacking and not with_systems:
        raise ValueError(f"{listed(lacking)} compare systems: give the system of each clip as systems=")
    return list(metrics)
