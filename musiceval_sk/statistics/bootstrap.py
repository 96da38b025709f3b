"""All metrics with intervals that hold for other systems: by leaving systems out, and by drawing them anew."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import Shown, Table, counted, require_known
from musiceval_sk.statistics import align, intervals, resampling
from musiceval_sk.statistics.metrics import METRICS

# How "auto" makes intervals, by level.
HOW = {"systems": "leaving out a system at a time", "clips": "percentiles of resampled clips"}


def bootstrap_metrics(
    y_true: Any,
    y_pred: Any,
    *,
    systems: Any = None,
    folds: Any = None,
    level: str = "systems",
    n_resamples: int = 10_000,
    min_clips: int = 1,
    only: Any = None,
    leave_out: Any = None,
    scale: tuple[float, float] | None = None,
    random_state: Any = None,
    n_jobs: int | None = None,
) -> "MetricBootstrap":
    """Compute all eight metrics of each target, and how they would vary with other systems.

    Parameters
    ----------
    y_true : array-like [shape=(n,) or (n, n_targets)]
        True mean opinion scores. A DataFrame's columns name the targets.
    y_pred : array-like, of the same shape
        Predictions, matched as by `evaluate`.
    systems : array-like [shape=(n,)] or pandas.Series, default=None
        The system of each clip, as for `evaluate`. Without it only clips are drawn, and S metrics are nan.
    folds : array-like [shape=(n,)], default=None
        The fold in which each clip was tested (a Series by clip id, as for systems): metrics are computed fold by
        fold and averaged. Folds with fewer than three systems are left out of correlations of systems. Folds that share no
        system are resampled each by itself; where folds share systems, a system is drawn for all of them at once.
    level : {"systems", "clips"}, default="systems"
        What is drawn with replacement: whole systems; or clips within the systems as they are, which asks how the figure would
        vary for these very systems.
    n_resamples : int, default=10_000
        Number of resamples.
    min_clips : int, default=1
        Leave out systems with fewer clips.
    only, leave_out : iterable, default=None
        Names of the systems to keep, or to leave out.
    scale : (float, float), default=None
        Lowest and highest score that raters could give. Where all scores and predictions of a target lie on it, intervals of
        U_MSE and S_MSE end at the square of its width.
    random_state : int, RandomState, Generator or None, default=None
        Seed; the result does not depend on n_jobs.
    n_jobs : int, default=None
        Number of threads; None is one.

    Returns
    -------
    MetricBootstrap
        Estimates, the whole distribution, and tables of intervals.

    Raises
    ------
    ValueError
        If the input is not what `evaluate` takes, or an option is unknown.

    Warns
    -----
    FewSystemsWarning
        If there are fewer than five systems.

    Notes
    -----
    A system that is drawn twice counts as two systems. All targets share their resamples. S metrics are about means of as many
    clips a system as these have: with more clips systems are told apart better, and the figure itself is another.

    Examples
    --------
    >>> systems = np.repeat(list("abcdef"), 4)
    >>> truth = np.repeat([1.0, 2.0, 3.0, 3.5, 4.0, 5.0], 4) + np.tile([-0.5, 0.0, 0.2, 0.3], 6)
    >>> rng = np.random.default_rng(0)
    >>> found = bootstrap_metrics(truth, truth + rng.normal(size=24), systems=systems, random_state=0)
    >>> found.distribution.shape
    (10000, 1, 8)
    >>> list(found.to_frame().columns)[:5]
    ['target', 'metric', 'value', 'low', 'high']
    """
    require_known("level", level, resampling.LEVELS)
    align.require_whole(n_resamples=n_resamples)
    choice = {"min_clips": min_clips, "only": only, "leave_out": leave_out}
    scores = align.match_scores(y_true, {"y_pred": y_pred}, systems=systems, folds=folds, **choice)
    labels, tested_in = scores.systems, scores.folds
    align.warn_of_few(labels, stacklevel=2)
    level = "clips" if labels is None else level
    pairs = list(zip(scores.truth, scores.predictions[0], strict=True))
    names = [name for name, metric in METRICS.items() if labels is not None or not metric.by_system]
    resampled = resampling.ResampledMetrics(pairs, labels, level, names, tested_in)
    return MetricBootstrap(
        targets=scores.targets,
        estimates=resampled.as_they_are(),
        distribution=resampled.draw(n_resamples, random_state, n_jobs),
        left_out=resampled.leaving_out(),
        least_variances=np.stack(
            [intervals.least_variances(*pair, None if level == "clips" else labels) for pair in pairs]
        ),
        largest=np.stack([_largest(pair, scale) for pair in pairs]),
        n_clips=scores.truth.shape[1],
        n_systems=0 if labels is None else len(set(labels)),
        n_folds=1 if tested_in is None else len(set(tested_in)),
        level=level,
        notes=[_notes(pair, labels, tested_in) for pair in pairs],
    )


@dataclass(frozen=True, repr=False)
class MetricBootstrap(Shown):
    """What `bootstrap_metrics` found.

    Attributes
    ----------
    targets : list
        Names of the targets; None for the only one of a one-dimensional y.
    estimates : np.ndarray [shape=(n_targets, 8)]
        The metrics, in the order of `METRICS`.
    distribution : np.ndarray [shape=(n_resamples, n_targets, 8)]
        The metrics of each resample; nan where one was undefined.
    left_out : np.ndarray [shape=(n_units, n_targets, 8)]
        The metrics without each system (or part of the clips), for the jackknife.
    least_variances : np.ndarray [shape=(n_targets, 8)]
        Variances of the logarithms of U_MSE and S_MSE that errors of systems from a normal distribution would give; else 0.
    largest : np.ndarray [shape=(n_targets, 8)]
        The largest value that each metric can take; inf for errors off a scale, or on one that is not known.
    n_clips, n_systems, n_folds : int
        What the estimates rest on.
    level : {"systems", "clips"}
        What was drawn.
    notes : list of dict
        For each target why metrics are nan, by the first letter of their name.
    """

    targets: list[Any]
    estimates: np.ndarray
    distribution: np.ndarray
    left_out: np.ndarray
    least_variances: np.ndarray
    largest: np.ndarray
    n_clips: int
    n_systems: int
    n_folds: int
    level: str
    notes: list[dict[str, str]]

    def interval(
        self, metric: str, target: Any = None, *, method: str = "auto", confidence: float = 0.95
    ) -> tuple[float, float]:
        """Interval of one figure.

        Parameters
        ----------
        metric : str
            One of `METRICS`.
        target : str, default=None
            The target; needed only where there are several.
        method : {"auto", "jackknife", "percentile"}, default="auto"
            "auto" is what held the metric most nearly as often as it says in simulation (docs/statistics.md): the
            jackknife, but percentiles of the resamples for level="clips". The jackknife leaves out one system at a time (of more
            than 200, one of 200 parts) and takes Student's t, on the logarithm for U_MSE, the reciprocal of the cube root for S_MSE, on S_KTAU as it is and on Fisher's z
            scale for other correlations; of S_MSE and S_SRCC, which are cautious by themselves, it takes the normal distribution; of
            errors the variance is at least that which errors of systems from a normal distribution would give.
        confidence : float in (0, 1), default=0.95
            Nominal coverage.

        Returns
        -------
        tuple of float
            Lower and upper bound; nan where the figure is undefined or perfect, and where there are fewer than three systems for
            the jackknife.

        Raises
        ------
        ValueError
            If a name is unknown, or confidence is not between 0 and 1.
        """
        require_known("method", method, intervals.METHODS)
        align.require_confidence(confidence)
        row, column = self._cell_of(metric, target)
        low, high = intervals.interval(
            intervals.method_of(method, metric, self.level),
            self.distribution[:, row, column],
            self.estimates[row, column],
            self.left_out[:, row, column],
            intervals.scale_of(metric),
            confidence,
            least_variance=self.least_variances[row, column],
            normal=metric in ("S_MSE", "S_SRCC"),
        )
        largest = self.largest[row, column]
        return min(low, largest), min(high, largest)

    def samples(self, metric: str, target: Any = None) -> np.ndarray:
        """One figure in all resamples.

        Parameters
        ----------
        metric : str
            One of `METRICS`.
        target : str, default=None
            The target; needed only where there are several.

        Returns
        -------
        np.ndarray [shape=(n_resamples,)]
            Its values; nan where it was undefined.

        Raises
        ------
        ValueError
            If a name is unknown.
        """
        row, column = self._cell_of(metric, target)
        return self.distribution[:, row, column]

    def to_frame(self, *, method: str = "auto", confidence: float = 0.95) -> pd.DataFrame:
        """All figures with their intervals, one row a figure.

        Parameters
        ----------
        method : {"auto", "jackknife", "percentile"}, default="auto"
            As of `interval`.
        confidence : float in (0, 1), default=0.95
            Nominal coverage.

        Returns
        -------
        pandas.DataFrame
            ``target, metric, value, low, high``; ``method``, that of the interval; ``standard_error`` and ``n_undefined`` over
            resamples; ``n``, the number of clips (U) or systems (S); ``note``, why a figure or its interval is missing.
        """
        table = pd.DataFrame(list(product(self.targets, METRICS)), columns=["target", "metric"])
        drawn = pd.DataFrame(self.distribution.reshape(len(self.distribution), len(table)))
        table["value"] = self.estimates.ravel()
        bounds, notes = [], []
        for target, metric, value in table.itertuples(index=False):
            low, high = self.interval(metric, target, method=method, confidence=confidence)
            bounds.append((low, high))
            undefined = self.notes[self._cell_of(metric, target)[0]].get(metric[0], "")
            missing = intervals.NO_INTERVAL if np.isnan(low) else ""
            notes.append(undefined if np.isnan(value) else missing)
        table["low"], table["high"] = np.transpose(bounds)
        table["method"] = [intervals.method_of(method, metric, self.level) for metric in table["metric"]]
        table["standard_error"] = drawn.std()
        table["n"] = np.where(table["metric"].str.startswith("S"), self.n_systems, self.n_clips)
        table["n_undefined"] = drawn.isna().sum()
        return table.assign(note=notes)

    def _table_to_show(self) -> pd.DataFrame:
        table = self.to_frame()[["target", "metric", "value", "low", "high", "n", "note"]]
        return table.drop(columns="target") if self.targets == [None] else table

    def _parts(self) -> list[str]:
        folds = f", mean of {self.n_folds} folds" if self.n_folds > 1 else ""
        table = self.to_frame()
        names = (
            table["metric"] if self.targets == [None] else table["target"].astype(str) + " " + table["metric"]
        )
        bounds = [
            note or f"[{low:6.3f}, {high:6.3f}]"
            for low, high, note in table[["low", "high", "note"]].to_numpy()
        ]
        figures = pd.DataFrame({"value": table["value"].to_numpy(), "interval": bounds}, index=list(names))
        return [
            f"{counted(self.n_clips, 'clip')} of {counted(self.n_systems, 'system')}{folds}; 95 % intervals: "
            f"{HOW[self.level]}, {len(self.distribution)} resamples",
            Table(figures, float_format="{:.3f}".format, na_rep="-"),
        ]

    def _cell_of(self, metric: str, target: Any) -> tuple[int, int]:
        require_known("metric", metric, METRICS)
        if target is None and len(self.targets) == 1:
            return 0, list(METRICS).index(metric)
        require_known("target", target, self.targets)
        return self.targets.index(target), list(METRICS).index(metric)


def _largest(pair: resampling.Pair, scale: tuple[float, float] | None) -> np.ndarray:
    """Find the largest value that each metric can take."""
    low, high = scale or (np.nan, np.nan)
    on_scale = low <= np.min(pair) and np.max(pair) <= high
    error = (high - low) ** 2 if on_scale else np.inf
    return np.array([1.0 if metric.greater_is_better else error for metric in METRICS.values()])


def _notes(pair: resampling.Pair, systems: np.ndarray | None, folds: np.ndarray | None) -> dict[str, str]:
    """Why metrics of clips (U) and of systems (S) are undefined, where they are."""
    notes = {}
    levels = {"U": ("clips", pair)}
    if systems is None:
        notes["S"] = "no systems were given"
    else:
        levels["S"] = "systems", tuple(align.system_means(values, systems).to_numpy() for values in pair)
    for level, (units, (truth, prediction)) in levels.items():
        scores = {"truth": truth, "prediction": prediction}
        constant = [name for name, values in scores.items() if align.is_constant(values)]
        if constant:
            notes[level] = f"{' and '.join(constant)} constant over {len(truth)} {units}"
    if resampling.folds_are_small(systems, folds):
        notes.setdefault("S", resampling.NO_FOLD_RANKS)
    return notes
