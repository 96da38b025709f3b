"""Where a predictor is too kind or too harsh: residuals by system."""

from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk.reporting.plots.inputs import FromEstimator, compared, name_of
from musiceval_sk.reporting.plots.names import name_ticks
from musiceval_sk.reporting.plots.statistics import check_intervals, system_intervals
from musiceval_sk.reporting.plots.style import ACCENT, BLUE, INK, Display, keep_labels_inside, spread_out


class SystemResidualsDisplay(FromEstimator, Display):
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

    def __init__(self, residuals: pd.DataFrame, name: str = "score", intervals: pd.DataFrame | None = None):
        self.residuals = residuals
        self.name = name
        self.intervals = intervals

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        systems: Any,
        name: str | None = None,
        intervals: pd.DataFrame | None = None,
        ax: Any = None,
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
        return cls(compared(y_true, y_pred, systems), name_of(y_true, name), intervals).plot(ax=ax)

    def plot(self, ax: Any = None) -> "SystemResidualsDisplay":
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure, as tall as the number of systems asks for.

        Returns
        -------
        SystemResidualsDisplay
            Itself.

        Raises
        ------
        ValueError
            If ``intervals`` lack a system or bound.
        """
        table = self.residuals.assign(residual=self.residuals["prediction"] - self.residuals["truth"])
        order = table.groupby("system")["truth"].mean().sort_values(ascending=False, kind="stable").index
        self.systems_ = system_intervals(table["residual"], table["system"]).loc[order]
        if self.intervals is not None:
            self.systems_[["low", "high"]] = check_intervals(self.intervals, order)
        names = [str(system) for system in order]
        ax = self._start(ax, (5.0 + 0.06 * max(map(len, names)), 1.6 + 0.24 * len(names)))
        ax.axvline(0, color="0.4", linewidth=1, linestyle="--")
        for place, system in enumerate(order):
            part = table.loc[table["system"] == system, "residual"]
            ax.plot(part, place + spread_out(len(part), 0.25), ".", color=BLUE, alpha=0.4, markersize=4)
        means = self.systems_["mean"]
        error = np.stack([means - self.systems_["low"], self.systems_["high"] - means])
        ax.errorbar(
            means,
            range(len(order)),
            xerr=error,
            fmt="D",
            color=ACCENT,
            markeredgecolor=INK,
            ecolor=INK,
            capsize=3,
        )
        ax.set_ylim(len(order) - 0.4, -0.6)
        ax.set_xlabel(f"prediction minus truth, {self.name}")
        ax.set_ylabel("system, best on top")
        ax.set_title("diamond: mean of the system, bar: its interval, dots: clips", fontsize=9)
        name_ticks(ax, names, axis="y")
        keep_labels_inside(ax)
        return self
