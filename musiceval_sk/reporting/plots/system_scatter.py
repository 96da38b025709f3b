"""Predicted against true system means."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk.reporting.plots import base
from musiceval_sk.reporting.plots.labels import LONG, name_points
from musiceval_sk.statistics.bootstrap import bootstrap_metrics
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
        true, predicted = (
            base.system_intervals(table[side], table["system"], confidence=confidence or 0.95)
            for side in ("truth", "prediction")
        )
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
            ax.errorbar(true, predicted, fmt="none", ecolor="0.55", elinewidth=0.8, **error)
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
