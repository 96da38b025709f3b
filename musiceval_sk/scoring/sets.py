"""Several predictors on several data sets in one table, and how much each loses from one set to another."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from musiceval_sk._text import Shown, Table, counted, listed
from musiceval_sk.statistics import intervals
from musiceval_sk.statistics.bootstrap import HOW, bootstrap_metrics

SHOWN = ("U_SRCC", "S_SRCC", "U_MSE", "S_MSE")
_SERIES, _FIGURES = ["predictor", "target", "metric"], ["value", "low", "high"]
_OFF = 0.005
_MOST_OFF = 0.5


class Judged(NamedTuple):
    """Predictions of one predictor on one data set.

    Attributes
    ----------
    data_set, predictor : str
        Names; a predictor is the same on every set where it bears the same name.
    truth, prediction : pandas.DataFrame [shape=(n, n_targets)]
        Scores by clip id, one column a target.
    systems : pandas.Series or None
        System by clip id, where all are known.
    scale : (float, float) or None, default=(1, 5)
        Lowest and highest score that raters could give; None for one that is not known.
    """

    data_set: str
    predictor: str
    truth: pd.DataFrame
    prediction: pd.DataFrame
    systems: pd.Series | None
    scale: tuple[float, float] | None = (1, 5)


@dataclass(frozen=True, repr=False)
class SetScores(Shown):
    """What `score_sets` found; ``print`` it.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a set, predictor, target and metric: ``value, low, high``, ``n`` (clips or systems), ``off_scale``, the share of
        predictions that no rater could give, and ``note``, why a figure is missing.
    drops : pandas.DataFrame
        One row a predictor, target, metric and pair of sets: ``value_a`` on ``set_a``, ``value_b`` on ``set_b``, ``difference``, b minus
        a, with ``low`` and ``high``, and ``note``. For correlations a negative difference is a drop.
    notes : list of str
        What the intervals cover.
    """

    table: pd.DataFrame
    drops: pd.DataFrame
    notes: list[str]

    def _headline(self) -> str:
        named = (self.table[["predictor", "target"]].drop_duplicates(), self.table["data_set"].unique())
        return f"{counted(len(named[0]), 'predictor')} on {', '.join(map(str, named[1]))}"

    def _table_to_show(self) -> pd.DataFrame:
        names = ["data_set", "predictor", "target"]
        shown = self.table[self.table["metric"].isin(SHOWN)]
        rows = shown.groupby(names, sort=False).agg(
            clips=("clips", "first"), off_scale=("off_scale", "first")
        )
        rows["off_scale"] = rows["off_scale"].map("{:.0%}".format, na_action="ignore").fillna("-")
        cells = shown.assign(cell=_cells(shown)).pivot(index=names, columns="metric", values="cell")
        return rows.join(cells[[name for name in SHOWN if name in cells]]).reset_index()

    def _remarks(self) -> list[str]:
        return self.notes

    def _parts(self) -> list[str]:
        lines: list[str] = [Table(self._table_to_show(), index=False)]
        drops = self.drops[self.drops["metric"].isin(SHOWN)]
        if len(drops):
            pairs = drops.assign(change=_cells(drops, "difference"))
            pairs = pairs[["predictor", "target", "metric", "set_a", "set_b", "value_a", "value_b", "change"]]
            lines += ["", Table(pairs, index=False, float_format="{:.3f}".format, na_rep="-")]
        return [*lines, *(f"- {note}" for note in self.notes)]


def score_sets(
    judged: Iterable[Judged], *, n_resamples: int = 2000, random_state: Any = 0, n_jobs: int | None = None
) -> SetScores:
    """Score predictors on data sets, all eight metrics with intervals, and compare the sets.

    Where most predictions lie off the raters' scale, as cosines do, errors mean nothing and are left out.

    Parameters
    ----------
    judged : iterable of Judged
        Predictions by set and predictor.
    n_resamples : int, default=2000
        As of `bootstrap_metrics`.
    random_state : int, RandomState, Generator or None, default=0
        Seed.
    n_jobs : int, default=None
        Threads.

    Returns
    -------
    SetScores
        Both tables.

    Raises
    ------
    ValueError
        If a predictor stands twice for one set, or the input is not what `bootstrap_metrics` takes.

    Notes
    -----
    Intervals of a difference come from those of the two figures, which need not be symmetric (MOVER): with `a` in [l, u] and `b` in
    [l', u'], ``b - a - sqrt((b - l')**2 + (u - a)**2)`` to ``b - a + sqrt((u' - b)**2 + (a - l)**2)``. That supposes sets of different clips and
    systems; where they share systems it is too wide or, for errors that go against each other, too narrow.

    References
    ----------
    G. Y. Zou, "Toward using confidence intervals to compare correlations", Psychological Methods 12 (2007).

    Examples
    --------
    >>> ids = [f"S{i}_{j}" for i in range(8) for j in range(4)]
    >>> systems = pd.Series([name[:2] for name in ids], ids)
    >>> rng = np.random.default_rng(0)
    >>> truth = pd.DataFrame({"impression": np.repeat(np.linspace(1.5, 4.5, 8), 4)}, ids)
    >>> near, far = (truth + rng.normal(0, spread, truth.shape) for spread in (0.3, 2.0))
    >>> found = score_sets([Judged("own", "m", truth, near, systems), Judged("other", "m", truth + 0, far, systems)])
    >>> drop = found.drops.set_index("metric").loc["U_SRCC"]
    >>> bool(drop["difference"] < 0)
    True
    """
    judged = list(judged)
    names = pd.Series(
        [f"{one.predictor} on {one.data_set}: {target}" for one in judged for target in one.truth]
    )
    if len(twice := names[names.duplicated()].unique()):
        raise ValueError(f"predictors stand twice: {listed(twice)}; give them different names")
    options = {"n_resamples": n_resamples, "random_state": random_state, "n_jobs": n_jobs}
    table = pd.concat([_rows(one, options) for one in judged], ignore_index=True)
    return SetScores(table, _drops(table), _notes(table, judged))


def _rows(one: Judged, options: dict[str, Any]) -> pd.DataFrame:
    """All metrics of one predictor on one set."""
    found = bootstrap_metrics(one.truth, one.prediction, systems=one.systems, scale=one.scale, **options)
    about = {"data_set": one.data_set, "predictor": one.predictor, "clips": found.n_clips}
    table = found.to_frame().assign(**about, systems=found.n_systems, level=found.level)
    off = {target: _share_off(one.prediction[target], one.scale) for target in one.truth}
    table["off_scale"] = table["target"].map(off).astype(float)
    meaningless = table["metric"].str.endswith("MSE") & (table["off_scale"] > _MOST_OFF)
    table.loc[meaningless, _FIGURES] = np.nan
    table.loc[meaningless, "note"] = "predictions are not on the raters' scale"
    return table[["data_set", *_SERIES, *_FIGURES, "n", "clips", "systems", "off_scale", "note", "level"]]


def _share_off(predicted: pd.Series, scale: tuple[float, float] | None) -> float:
    """Share of predictions that no rater could give."""
    return np.nan if scale is None else 1 - predicted.between(scale[0] - _OFF, scale[1] + _OFF).mean()


def _drops(table: pd.DataFrame) -> pd.DataFrame:
    """Differences between sets of a predictor's figures, later sets less earlier ones."""
    series = table.groupby(_SERIES, sort=False).ngroup()
    table = table.assign(series=series, place=np.arange(len(table)))
    pairs = table.merge(table, on=[*_SERIES, "series"], suffixes=("_a", "_b"))
    pairs = pairs[pairs["place_a"] < pairs["place_b"]].sort_values("series", kind="stable")
    a, b = ([pairs[f"{name}_{side}"] for name in _FIGURES] for side in "ab")
    low, high = difference_interval(a, b)
    note = pairs["note_a"].where(pairs["note_a"] != "", pairs["note_b"])
    note = note.where(note != "", intervals.NO_INTERVAL).where(low.isna(), "")
    pairs = pairs.rename(columns={"data_set_a": "set_a", "data_set_b": "set_b"})
    pairs = pairs.assign(difference=b[0] - a[0], low=low, high=high, note=note)
    columns = [*_SERIES, "set_a", "set_b", "value_a", "value_b", "difference", "low", "high", "note"]
    return pairs[columns].reset_index(drop=True)


def difference_interval(a: Sequence[Any], b: Sequence[Any]) -> tuple[Any, Any]:
    """Interval of b less a from independent figures with their bounds, by MOVER.

    Parameters
    ----------
    a, b : sequence of float or pandas.Series
        Figure, lower and upper bound.

    Returns
    -------
    tuple of float or pandas.Series
        Lower and upper bound; nan where one of the figures has none.

    Examples
    --------
    >>> low, high = difference_interval([0.8, 0.7, 0.85], [0.5, 0.3, 0.65])
    >>> print(round(low, 3), round(high, 3))
    -0.506 -0.12
    """
    (value_a, low_a, high_a), (value_b, low_b, high_b) = a, b
    difference = value_b - value_a
    low = difference - np.hypot(value_b - low_b, high_a - value_a)
    return low, difference + np.hypot(high_b - value_b, value_a - low_a)


def _cells(table: pd.DataFrame, value: str = "value") -> list[str]:
    """Lay out figures with their intervals as text."""
    texts = []
    for figure, low, high in table[[value, "low", "high"]].itertuples(index=False):
        bounds = f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""
        texts.append(f"{figure:.3f}{bounds}" if np.isfinite(figure) else "-")
    return texts


def _notes(table: pd.DataFrame, judged: list[Judged]) -> list[str]:
    notes = [f"intervals of 95 %: {listed(dict.fromkeys(HOW[level] for level in table['level']))}"]
    if table["data_set"].nunique() > 1:
        words = "the second less the first, intervals from those of both, as of different clips and systems"
        notes.append(f"differences between sets: {words}")
    if shared := _shared(judged):
        notes.append(f"sets share clips, so their differences are not of independent clips: {listed(shared)}")
    for reason, rows in table[table["note"] != ""].groupby("note", sort=False):
        which = dict.fromkeys(rows["predictor"] + " on " + rows["data_set"])
        notes.append(f"{listed(which)}: {listed(rows['metric'].unique(), most=8)}: {reason}")
    ends = {one.data_set: "{:g} to {:g}".format(*one.scale) for one in judged if one.scale is not None}
    if ends:
        same = len(set(ends.values())) == 1
        of_sets = listed(set(ends.values()) if same else (f"{end} ({name})" for name, end in ends.items()))
        notes.append(f"off_scale: share of predictions that no rater could give; scale: {of_sets}")
    return notes


def _shared(judged: list[Judged]) -> list[str]:
    """Pairs of sets that have clips in common."""
    clips = {one.data_set: one.truth.index for one in judged}
    common = {pair: len(clips[pair[0]].intersection(clips[pair[1]])) for pair in combinations(clips, 2)}
    return [f"{a} and {b} ({counted(number, 'clip')})" for (a, b), number in common.items() if number]
