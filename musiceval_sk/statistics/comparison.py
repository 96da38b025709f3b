"""Which of several predictors is better, on the same clips, and how sure that is.

The permutation test swaps two predictors: had they the same merit, it would not matter which of the two predicted what. Predictors
need not share a scale, and a mixture of two scales ranks nothing. So before a swap predictions are brought to one: standardised
for LCC, ranked for SRCC and KTAU, as they are for MSE; this leaves each predictor's own metrics as they were.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata, zscore

from musiceval_sk._text import listed, require_known
from musiceval_sk.statistics import align, intervals, resampling
from musiceval_sk.statistics.agreement import ClipAgreement
from musiceval_sk.statistics.metrics import METRICS, take_metrics

_COMMON_SCALE = {"MSE": np.asarray, "LCC": zscore, "SRCC": rankdata, "KTAU": rankdata}


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
    method : {"auto", "jackknife", "percentile"}, default="auto"
        Method of the interval. "auto" is what held the difference most nearly as often as it says in simulation
        (docs/statistics.md): percentiles of resampled systems for S_SRCC and S_KTAU, and else the jackknife, which leaves out one
        system at a time (of more than 200, one of 200 parts) and takes Student's t; without systems, percentiles of resampled clips.
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
    align.require_confidence(confidence)
    require_known("method", method, intervals.METHODS)
    align.require_whole(n_resamples=n_resamples)
    usual = ["U_SRCC", "U_LCC"] if systems is None else ["S_SRCC", "S_LCC"]
    metrics = take_metrics(metrics, usual, with_systems=systems is not None)
    pairs = _pairs(list(predictions), baseline)  # of a table, its columns
    given = {f"predictions[{name!r}]": values for name, values in predictions.items()}
    choice = {"min_clips": min_clips, "only": only, "leave_out": leave_out}
    scores = align.match_scores(y_true, given, systems=systems, folds=folds, **choice)
    if any(METRICS[name].by_system for name in metrics):
        align.warn_of_few(scores.systems, stacklevel=2)
    (rng,) = resampling.generators(random_state, 1)
    rows = []
    for place, target in enumerate(scores.targets):
        compared = _Compared(scores, place, list(predictions), rng)
        compared.resample(metrics, n_resamples, n_jobs)
        rows += [
            {"target": target} | compared.row(metric, a, b, method, confidence)
            for metric, (a, b) in product(metrics, pairs)
        ]
    table = pd.DataFrame(rows)
    table["p_holm"] = table.groupby(["target", "metric"], dropna=False)["p_value"].transform(holm)
    return table


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
    values = np.array(list(p_values))
    order = np.argsort(values)[: np.count_nonzero(np.isfinite(values))]
    factors = len(order) - np.arange(len(order))
    corrected = np.full(len(values), np.nan)
    corrected[order] = np.minimum(1, np.maximum.accumulate(values[order] * factors))
    return corrected


class TestResult(NamedTuple):
    """Outcome of a two-sided test.

    Attributes
    ----------
    statistic : float
        Positive where the first predictor's figure is the greater.
    p_value : float in [0, 1]
        Probability of a statistic at least as far from 0 if both predictors were equal.
    """

    statistic: float
    p_value: float


def swap_test(
    kind: str, parts: Sequence[pd.DataFrame], n_permutations: int, rng: np.random.Generator
) -> TestResult:
    """Test whether one metric differs between two predictors, by swapping them.

    Parameters
    ----------
    kind : {"MSE", "LCC", "SRCC", "KTAU"}
        The metric.
    parts : sequence of pandas.DataFrame
        Truth and both predictions, in three columns, of clips or of systems, indexed by the number of what is swapped as a whole:
        all at once, or those of each fold. The metric is then averaged over folds, and a system is swapped in all or in none.
    n_permutations : int
        Number of random swaps; where there are no more different ones, each is tried once.
    rng : np.random.Generator
        Source of the swaps.

    Returns
    -------
    TestResult
        The observed difference, and the share of swaps, the one observed included, with at least as large a one; nan where it is
        undefined.
    """
    swaps = _swaps(1 + max(part.index.max() for part in parts), n_permutations, rng)
    found = resampling.mean_of_defined([_differences(kind, part, swaps[part.index]) for part in parts])
    observed = float(found[0])
    if not np.isfinite(observed):
        return TestResult(np.nan, np.nan)
    # A swap that leaves nothing to correlate tells nothing against the predictors being equal.
    return TestResult(observed, float(np.mean(~(np.abs(found) < abs(observed) - intervals.ROUNDING))))


class _Compared:
    """All predictors of one target, with their metrics in the same resamples."""

    def __init__(self, scores: align.Scores, place: int, names: list[str], rng: np.random.Generator):
        self._truth, self._predictions = scores.truth[place], scores.predictions[:, place]
        self._systems, self._folds, self._names, self._rng = scores.systems, scores.folds, names, rng
        self._level = "clips" if scores.systems is None else "systems"

    def resample(self, metrics: Collection[str], n_resamples: int, n_jobs: int | None) -> None:
        pairs = [(self._truth, prediction) for prediction in self._predictions]
        resampled = resampling.ResampledMetrics(pairs, self._systems, self._level, metrics, self._folds)
        self._estimates, self._left_out = resampled.as_they_are(), resampled.leaving_out()
        self._samples = resampled.draw(n_resamples, self._rng, n_jobs)

    def row(self, metric: str, a: str, b: str, method: str, confidence: float) -> dict[str, Any]:
        """Everything about one metric of two predictors, but for the correction."""
        first, second = self._names.index(a), self._names.index(b)
        column = list(METRICS).index(metric)
        value_a, value_b = self._estimates[[first, second], column]
        difference = value_a - value_b
        samples, left_out = (
            of[:, first, column] - of[:, second, column] for of in (self._samples, self._left_out)
        )
        method = intervals.method_of(method, metric, self._level, difference=True)
        low, high = intervals.interval(method, samples, difference, left_out, "difference", confidence)
        (whole,) = self._parts(metric, a, b, None)
        constant = list(whole.columns[whole.apply(align.is_constant)])
        note = f"constant: {listed(constant)}" if constant else ""
        if np.isfinite(difference):
            note = intervals.NO_INTERVAL if np.isnan(low) else ""
        elif METRICS[metric].by_system and resampling.folds_are_small(self._systems, self._folds):
            note = resampling.NO_FOLD_RANKS
        return {
            "metric": metric,
            "a": a,
            "b": b,
            "value_a": value_a,
            "value_b": value_b,
            "difference": difference,
            "low": low,
            "high": high,
            "method": method,
            "p_value": self._p_value(metric, a, b),
            "p_holm": np.nan,
            "n": len(whole),
            "note": note,
        }

    def _parts(self, metric: str, a: str, b: str, folds: np.ndarray | None) -> list[pd.DataFrame]:
        """Truth and both predictions, of clips or of systems, all at once or fold by fold, by the number of the system."""
        units = np.arange(len(self._truth)) if self._systems is None else pd.factorize(self._systems)[0]
        columns = [self._truth, *self._predictions[[self._names.index(a), self._names.index(b)]]]
        table = pd.DataFrame(np.transpose(columns), index=units, columns=["the truth", a, b])
        parts = [table] if folds is None else [part for _, part in table.groupby(folds)]
        if METRICS[metric].by_system:
            parts = [part.groupby(level=0).mean() for part in parts]
        if metric in ("S_SRCC", "S_KTAU"):
            parts = [part.apply(align.settled) for part in parts]
        return parts

    def _p_value(self, metric: str, a: str, b: str) -> float:
        parts = self._parts(metric, a, b, self._folds)
        if not metric.endswith("MSE"):
            parts = [part for part in parts if not part.apply(align.is_constant).any()]
            if METRICS[metric].by_system and self._folds is not None:
                parts = [part for part in parts if len(part) >= resampling.LEAST_SYSTEMS_TO_RANK]
        if not parts:
            return np.nan
        with resampling.one_thread():
            return swap_test(metric[2:], parts, len(self._samples), self._rng).p_value


def _swaps(n_units: int, n_permutations: int, rng: np.random.Generator) -> np.ndarray:
    """Which units to swap [shape=(n_units, n)]; the first is the observed state."""
    if n_units <= int(n_permutations).bit_length():  # that is, 2 ** (n_units - 1) <= n_permutations
        # To swap all the others instead gives the same difference with the other sign.
        states = np.arange(2 ** (n_units - 1))
        return (states >> np.arange(n_units)[:, np.newaxis] & 1).astype(bool)
    swaps = rng.random((n_units, n_permutations + 1)) < 0.5
    swaps[:, 0] = False
    return swaps


def _differences(kind: str, part: pd.DataFrame, swaps: np.ndarray) -> np.ndarray:
    """Difference of the metric under each swap [shape=(n_swaps,)].

    Both predictions of all rows are one pool, of which each side holds every row once.
    """
    truth, *predictions = part.to_numpy().T
    scaled = [_COMMON_SCALE[kind](values) for values in predictions]
    pool = ClipAgreement(np.tile(truth, len(scaled)), np.concatenate(scaled), [kind])
    differences = []
    for swap in np.array_split(swaps, 1 + 2 * swaps.size // resampling.BLOCK, axis=1):
        side = np.concatenate([swap, ~swap]).astype(float)
        differences.append(pool.score(1 - side)[0] - pool.score(side)[0])
    return np.concatenate(differences)


def _pairs(names: list[str], baseline: str | None) -> list[tuple[str, str]]:
    if len(names) < 2:
        raise ValueError(f"two predictors at least are needed to compare; got {listed(names) or 'none'}")
    if baseline is None:
        return list(combinations(names, 2))
    require_known("baseline", baseline, names)
    return [(name, baseline) for name in names if name != baseline]
