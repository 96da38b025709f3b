"""Systems: predicted against true means, which is best and which cannot be told apart, and where a predictor is too kind or too harsh."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from musiceval_sk.reporting.plots import base
from musiceval_sk.reporting.plots.labels import LONG, name_points, write_legend
from musiceval_sk.statistics.bootstrap import bootstrap_metrics
from musiceval_sk.statistics.comparison import holm
from musiceval_sk.statistics.intervals import system_intervals
from musiceval_sk.statistics.metrics import METRICS


@dataclass(eq=False, repr=False)
class SystemScatterDisplay(base.PredictionDisplay):
    """Predicted against true system means, one named point a system, with intervals.

    Names stand beside their points; where they would cover one another, points are numbered by rank of the true mean and a
    key stands beside the axes. Places are found for the figure as it is: draw after resizing, not before.

    Parameters
    ----------
    y_true, y_pred : pandas.Series
        True and predicted means by system.
    name : str, default="score"
        What is scored.
    true_intervals, predicted_intervals : pandas.DataFrame, default=None
        ``low`` and ``high`` by system; without them no interval is drawn.

    Attributes
    ----------
    srcc_ : float
        Spearman's correlation of the means, nan where one side is constant.
    interval_ : tuple of float
        Its 95 % interval, that of `bootstrap_metrics` and of studies, by leaving out a system at a time.
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure around it.
    """

    y_true: pd.Series
    y_pred: pd.Series
    name: str = "score"
    true_intervals: pd.DataFrame | None = None
    predicted_intervals: pd.DataFrame | None = None

    @classmethod
    def from_predictions(
        cls, y_true, y_pred, *, systems, name=None, confidence: float | None = 0.95, ax=None
    ) -> "SystemScatterDisplay":
        """Average clips over systems and draw.

        Parameters
        ----------
        y_true, y_pred : array-like [shape=(n,)]
            True and predicted scores of clips.
        systems : array-like or pandas.Series
            The system of each clip, see `evaluate`.
        name : str, default=None
            What is scored; by default the name of ``y_true``.
        confidence : float in (0, 1) or None, default=0.95
            Coverage of the t-intervals over a system's clips; None draws none. They say how well its clips tell a system's
            mean, not how far another panel of raters or another training would differ.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        SystemScatterDisplay
            Drawn.

        Raises
        ------
        ValueError
            If scores and systems do not match, or there are fewer than 2 systems.
        """
        table = base.compared(y_true, y_pred, systems)
        how = {"systems": table["system"], "confidence": confidence or 0.95}
        true, predicted = (system_intervals(table[side], **how) for side in ("truth", "prediction"))
        intervals = (true, predicted) if confidence else (None, None)
        return cls(true["mean"], predicted["mean"], base.name_of(y_true, name), *intervals).plot(ax=ax)

    def _draw(self, ax: Any) -> None:
        true = self.y_true.sort_values(ascending=False, kind="stable")
        base.require_two_systems("a scatter", true.index)
        predicted = self.y_pred[true.index]
        names = [str(system) for system in true.index]
        ax = self._start(ax, (7.5 if max(map(len, names)) > LONG else 5.5, 5.0))
        given = {"x": self.true_intervals, "y": self.predicted_intervals}
        given = {side: table for side, table in given.items() if table is not None}
        bars = {side: base.check_intervals(table, true.index) for side, table in given.items()}
        bounds = [table[end] for table in bars.values() for end in table]
        base.draw_diagonal(ax, np.concatenate([true, predicted]), bounds, "prediction = truth")
        for side, table in bars.items():
            means = true if side == "x" else predicted
            error = {f"{side}err": (means - table["low"], table["high"] - means)}
            ax.errorbar(true, predicted, fmt="none", ecolor=base.GREY, elinewidth=0.8, **error)
        ax.plot(self.y_true, self.y_pred[self.y_true.index], "o", color=base.ACCENT, markeredgecolor=base.INK)
        ax.set_title(self._title(), fontsize=10)
        ax.set_xlabel(f"true system mean of {self.name}")
        ax.set_ylabel(f"predicted system mean of {self.name}")
        ax.legend(loc="upper left", frameon=False, fontsize=8)
        self._named = names, np.column_stack([true, predicted])

    def _fit_labels(self) -> None:
        name_points(self.ax_, *self._named)

    def _title(self) -> str:
        count = len(self.y_true)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the title says what is constant, and of how many systems
            self.srcc_ = METRICS["S_SRCC"].function(self.y_true, self.y_pred, self.y_true.index)
            found = bootstrap_metrics(self.y_true, self.y_pred, systems=self.y_true.index, n_resamples=1)
        self.interval_ = low, high = found.interval("S_SRCC")
        if np.isnan(self.srcc_):
            return f"S_SRCC undefined (one side is constant), {count} systems"
        bounds = f", 95 % [{low:+.2f}, {high:+.2f}]" if np.isfinite(low) else ""
        return f"S_SRCC {self.srcc_:+.2f}{bounds}, {count} systems"


@dataclass(eq=False, repr=False)
class SystemRankingDisplay(base.PredictionDisplay):
    """Systems in order of their mean, with intervals, and bars over those that cannot be told apart.

    A bar on the right joins neighbours in the ranking of which no pair is told apart, as in critical-difference diagrams
    (Demsar, J. Machine Learning Research 7, 2006). By itself the display uses Welch's t-test over clips with Holm's
    correction over all pairs; it leaves out that systems answered the same prompts, so it errs on the side of joining.

    Parameters
    ----------
    intervals : pandas.DataFrame
        One row a system (or a predictor, or whatever is ranked): ``mean``, ``low``, ``high``.
    name : str, default="score"
        What is scored.
    apart : pandas.DataFrame of bool, default=None
        Rows by rows, whether a pair is told apart, from a test of your own; without it no bars are drawn.
    predicted : pandas.DataFrame, default=None
        Predicted ``mean``, ``low`` and ``high`` of the same rows, drawn below the true ones.
    rule : str, default=""
        How pairs were told apart, for the legend.

    Attributes
    ----------
    order_ : list
        From best to worst.
    groups_ : list of list
        What each bar joins.
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure around it.
    """

    intervals: pd.DataFrame
    name: str = "score"
    apart: pd.DataFrame | None = None
    predicted: pd.DataFrame | None = None
    rule: str = ""

    _named_axis = "y"

    @classmethod
    def from_clips(
        cls, clips: pd.DataFrame, target="impression", *, ratings=None, alpha=0.05, ax=None
    ) -> "SystemRankingDisplay":
        """Rank the systems of a clips table by what the raters said.

        Parameters
        ----------
        clips : pandas.DataFrame
            With ``system`` and the target.
        target : str, default="impression"
            Score column.
        ratings : str, Path or pandas.DataFrame, default=None
            Raw ratings to average instead of the clips table's scores, see `aggregate_ratings`.
        alpha : float in (0, 1), default=0.05
            Family-wise error rate of the tests; intervals have the coverage ``1 - alpha`` each.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        SystemRankingDisplay
            Drawn.

        Raises
        ------
        ClipsTableError
            If a column is missing, or no clip has a score and a system.
        ValueError
            If there are fewer than 2 systems.
        """
        rated = base.rated_clips(clips, target, ratings=ratings)
        return cls._of_scores(rated[target], rated["system"], target, alpha).plot(ax=ax)

    @classmethod
    def from_predictions(
        cls, y_true, y_pred, *, systems, name=None, alpha=0.05, ax=None
    ) -> "SystemRankingDisplay":
        """Rank systems by truth, and show beside it where a predictor puts them.

        Parameters
        ----------
        y_true, y_pred : array-like [shape=(n,)]
            True and predicted scores of clips.
        systems : array-like or pandas.Series
            The system of each clip, see `evaluate`.
        name : str, default=None
            What is scored; by default the name of ``y_true``.
        alpha : float in (0, 1), default=0.05
            Family-wise error rate of the tests between true means; intervals have the coverage ``1 - alpha`` each.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        SystemRankingDisplay
            Drawn.

        Raises
        ------
        ValueError
            If scores and systems do not match, or there are fewer than 2 systems.
        """
        table = base.compared(y_true, y_pred, systems)
        display = cls._of_scores(table["truth"], table["system"], base.name_of(y_true, name), alpha)
        display.predicted = system_intervals(table["prediction"], table["system"], confidence=1 - alpha)
        return display.plot(ax=ax)

    @classmethod
    def _of_scores(cls, scores: Any, systems: Any, name: str, alpha: float) -> "SystemRankingDisplay":
        apart = told_apart(scores, systems, alpha=alpha)
        intervals = system_intervals(scores, systems, confidence=1 - alpha)
        return cls(intervals, name, apart, rule=f"Welch, Holm, {alpha:.0%}")

    def _draw(self, ax: Any) -> None:
        columns = ("mean", "low", "high")
        table = base.check_intervals(self.intervals, self.intervals.index, columns)
        base.require_two_systems("a ranking", table.index)
        table = table.sort_values("mean", ascending=False, kind="stable")
        self.order_ = list(table.index)
        ax = self._start_rows(ax, self.order_)
        places = np.arange(len(table)) - (0.0 if self.predicted is None else 0.16)
        base.draw_means(ax, table, places, label="truth, with interval")
        if self.predicted is not None:
            predicted = base.check_intervals(self.predicted, table.index, columns)
            style = {"marker": "s", "markerfacecolor": "white", "label": "prediction"}
            base.draw_means(ax, predicted, places + 0.32, **style)
        ax.set_xlabel(f"system mean of {self.name}")
        self.groups_ = [] if self.apart is None else groups_alike(self.order_, self.apart)
        if self.apart is not None:
            self._join(ax)
        all_apart = self.apart is not None and not self.groups_
        write_legend(ax, title=f"all systems can be told apart{self._rule()}" if all_apart else None)

    def _join(self, ax: Any) -> None:
        """Draw the bars in as few columns as they need, in a margin to the right of all intervals."""
        low, high = ax.get_xlim()
        step = 0.022 * (high - low)
        bar = {"color": base.BLUE, "linewidth": 2.5, "solid_capstyle": "butt"}
        ends: list[int] = []  # of the last bar of each column
        for group in self.groups_:
            first, last = self.order_.index(group[0]), self.order_.index(group[-1])
            column = next((i for i, end in enumerate(ends) if end < first), len(ends))
            ends[column : column + 1] = [last]
            x = high + (column + 1) * step
            label = None if group != self.groups_[0] else f"cannot be told apart{self._rule()}"
            ax.plot([x, x], [first - 0.25, last + 0.25], label=label, **bar)
        ax.set_xlim(low, high + (len(ends) + 1) * step)

    def _rule(self) -> str:
        return f" ({self.rule})" if self.rule else ""


@dataclass(eq=False, repr=False)
class SystemResidualsDisplay(base.PredictionDisplay):
    """Prediction minus truth of every clip, by system, with the system's mean and interval.

    Systems stand in order of their true mean, the best on top: a predictor that shrinks towards the middle leans to the left
    at the top and to the right at the bottom.

    Parameters
    ----------
    residuals : pandas.DataFrame
        One row a clip: ``truth``, ``prediction``, ``system``.
    name : str, default="score"
        What is scored.
    intervals : pandas.DataFrame, default=None
        ``low`` and ``high`` of the mean residual by system; by default t-intervals over clips.

    Attributes
    ----------
    systems_ : pandas.DataFrame
        One row a system, from top to bottom: ``mean`` (of the residual), ``low``, ``high``, ``clips``.
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure around it.
    """

    residuals: pd.DataFrame
    name: str = "score"
    intervals: pd.DataFrame | None = None

    _named_axis = "y"

    @classmethod
    def from_predictions(
        cls, y_true, y_pred, *, systems, name=None, intervals: pd.DataFrame | None = None, ax=None
    ) -> "SystemResidualsDisplay":
        """Subtract and draw.

        Parameters
        ----------
        y_true, y_pred : array-like [shape=(n,)]
            True and predicted scores of clips.
        systems : array-like or pandas.Series
            The system of each clip, see `evaluate`.
        name : str, default=None
            What is scored; by default the name of ``y_true``.
        intervals : pandas.DataFrame, default=None
            ``low`` and ``high`` of the mean residual by system; by default 95 % t-intervals over clips.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        SystemResidualsDisplay
            Drawn.

        Raises
        ------
        ValueError
            If scores and systems do not match, or ``intervals`` lack a system or bound.
        """
        return cls(base.compared(y_true, y_pred, systems), base.name_of(y_true, name), intervals).plot(ax=ax)

    def _draw(self, ax: Any) -> None:
        table = self.residuals.assign(residual=self.residuals["prediction"] - self.residuals["truth"])
        order = table.groupby("system")["truth"].mean().sort_values(ascending=False, kind="stable").index
        self.systems_ = system_intervals(table["residual"], table["system"]).loc[order]
        if self.intervals is not None:
            self.systems_[["low", "high"]] = base.check_intervals(self.intervals, order)
        ax = self._start_rows(ax, order)
        ax.axvline(0, color="0.4", linewidth=1, linestyle="--")
        for place, system in enumerate(order):
            part = table.loc[table["system"] == system, "residual"]
            label = None if place else "clip"
            ax.plot(part, place + base.spread_out(len(part), 0.25), label=label, **base.DOTS)
        base.draw_means(ax, self.systems_, range(len(order)), label="mean of the system, with interval")
        ax.set_xlabel(f"prediction minus truth, {self.name}")
        write_legend(ax)


def told_apart(values: Any, systems: Any, *, alpha: float = 0.05) -> pd.DataFrame:
    """Pairs of systems whose means differ: Welch's t-test over clips, Holm's correction over all pairs.

    Parameters
    ----------
    values : array-like [shape=(n,)]
        Scores of clips.
    systems : array-like [shape=(n,)]
        The system of each clip.
    alpha : float in (0, 1), default=0.05
        Family-wise error rate.

    Returns
    -------
    pandas.DataFrame of bool
        Systems by systems. A system of one clip is told apart from none.
    """
    groups = pd.Series(np.asarray(values, dtype=float)).groupby(np.asarray(systems))
    facts = groups.agg(["mean", "std", "count"])
    first, second = np.triu_indices(len(facts), k=1)
    pairs = (*facts.to_numpy()[first].T, *facts.to_numpy()[second].T)
    with np.errstate(divide="ignore", invalid="ignore"):
        p_values = stats.ttest_ind_from_stats(*pairs, equal_var=False).pvalue
    # There is none for a single clip, or where all clips of both systems have one and the same score.
    differ = holm(np.nan_to_num(p_values, nan=1.0)) <= alpha
    apart = np.zeros((len(facts), len(facts)), dtype=bool)
    apart[first, second] = apart[second, first] = differ
    return pd.DataFrame(apart, index=facts.index, columns=facts.index)


def groups_alike(order: list[Any], apart: pd.DataFrame) -> list[list[Any]]:
    """Longest runs of ``order`` in which no pair is told apart; runs of one are left out."""
    n = len(order)
    differ = apart.loc[order, order].to_numpy(dtype=bool) & ~np.eye(n, dtype=bool)
    ends = [max(end for end in range(i + 1, n + 1) if not differ[i:end, i:end].any()) for i in range(n)]
    longest = [end - i > 1 and (i == 0 or end > ends[i - 1]) for i, end in enumerate(ends)]
    return [order[i:end] for i, end in enumerate(ends) if longest[i]]
