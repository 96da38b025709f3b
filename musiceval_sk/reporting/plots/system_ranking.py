"""Which system is best, and which cannot be told apart."""

from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk.reporting.plots.inputs import FromEstimator, compared, name_of, rated_clips
from musiceval_sk.reporting.plots.names import name_ticks
from musiceval_sk.reporting.plots.statistics import (
    check_intervals,
    groups_alike,
    system_intervals,
    told_apart,
)
from musiceval_sk.reporting.plots.style import ACCENT, BLUE, INK, Display, keep_labels_inside

_FEWEST_SYSTEMS = 2


class SystemRankingDisplay(FromEstimator, Display):
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
        How pairs were told apart, for the title.

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

    def __init__(
        self,
        intervals: pd.DataFrame,
        name: str = "score",
        apart: pd.DataFrame | None = None,
        predicted: pd.DataFrame | None = None,
        rule: str = "",
    ):
        self.intervals = intervals
        self.name = name
        self.apart = apart
        self.predicted = predicted
        self.rule = rule

    @classmethod
    def from_clips(
        cls,
        clips: pd.DataFrame,
        target: str = "impression",
        *,
        ratings: Any = None,
        alpha: float = 0.05,
        ax: Any = None,
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
        rated = rated_clips(clips, target, ratings=ratings)
        return cls._of(rated[target], rated["system"], target, alpha).plot(ax=ax)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        systems: Any,
        name: str | None = None,
        alpha: float = 0.05,
        ax: Any = None,
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
        table = compared(y_true, y_pred, systems)
        display = cls._of(table["truth"], table["system"], name_of(y_true, name), alpha)
        display.predicted = system_intervals(table["prediction"], table["system"], confidence=1 - alpha)
        return display.plot(ax=ax)

    @classmethod
    def _of(cls, scores: Any, systems: Any, name: str, alpha: float) -> "SystemRankingDisplay":
        apart = told_apart(scores, systems, alpha=alpha)
        intervals = system_intervals(scores, systems, confidence=1 - alpha)
        return cls(intervals, name, apart, rule=f"Welch, Holm, {alpha:.0%}")

    def plot(self, ax: Any = None) -> "SystemRankingDisplay":
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure, as tall as the number of systems asks for.

        Returns
        -------
        SystemRankingDisplay
            Itself.

        Raises
        ------
        ValueError
            If there are fewer than 2 rows, or a column or row is missing.
        """
        table = check_intervals(self.intervals, self.intervals.index, ("mean", "low", "high"))
        if len(table) < _FEWEST_SYSTEMS:
            raise ValueError(
                f"a ranking needs at least {_FEWEST_SYSTEMS} systems, got {len(table)}: {', '.join(map(str, table.index))}"
            )
        table = table.sort_values("mean", ascending=False, kind="stable")
        self.order_ = list(table.index)
        self.groups_ = [] if self.apart is None else groups_alike(self.order_, self.apart)
        names = [str(system) for system in self.order_]
        ax = self._start(ax, (5.0 + 0.06 * max(map(len, names)), 1.6 + 0.24 * len(names)))
        places = np.arange(len(names), dtype=float)
        shift = 0.0 if self.predicted is None else 0.16
        self._draw_means(ax, table, places - shift, {"fmt": "D", "markerfacecolor": ACCENT})
        if self.predicted is not None:
            predicted = check_intervals(self.predicted, table.index, ("mean", "low", "high"))
            style = {"fmt": "s", "markerfacecolor": "white"}
            self._draw_means(ax, predicted, places + shift, style)
        ax.set_ylim(len(names) - 0.4, -0.6)
        signs = "" if self.predicted is None else " (filled diamond: truth, open square: prediction)"
        ax.set_xlabel(f"system mean of {self.name}, with interval{signs}")
        ax.set_ylabel("system, best on top")
        self._join(ax)
        name_ticks(ax, names, axis="y")
        keep_labels_inside(ax)
        return self

    @staticmethod
    def _draw_means(ax: Any, table: pd.DataFrame, places: np.ndarray, style: dict[str, Any]) -> None:
        error = (table["mean"] - table["low"], table["high"] - table["mean"])
        ax.errorbar(
            table["mean"],
            places,
            xerr=error,
            markeredgecolor=INK,
            markersize=5,
            ecolor=INK,
            capsize=2,
            color=INK,
            **style,
        )

    def _join(self, ax: Any) -> None:
        """Draw the bars in as few columns as they need, in a margin to the right of all intervals."""
        if self.apart is None:
            return
        low, high = ax.get_xlim()
        step = 0.022 * (high - low)
        columns: list[int] = []
        for group in self.groups_:
            first, last = self.order_.index(group[0]), self.order_.index(group[-1])
            column = next((i for i, end in enumerate(columns) if end < first), len(columns))
            columns[column : column + 1] = [last]
            x = high + (column + 1) * step
            ax.plot([x, x], [first - 0.25, last + 0.25], color=BLUE, linewidth=2.5, solid_capstyle="butt")
        ax.set_xlim(low, high + (len(columns) + 1) * step)
        note = f" ({self.rule})" if self.rule else ""
        ax.set_title(
            f"bars join systems that cannot be told apart{note}"
            if self.groups_
            else f"all systems can be told apart{note}",
            fontsize=9,
        )
