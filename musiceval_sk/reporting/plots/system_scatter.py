"""Predicted against true system means."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ConstantInputWarning

from musiceval_sk.exceptions import FewSystemsWarning
from musiceval_sk.reporting.plots.inputs import FromEstimator, compared, name_of
from musiceval_sk.reporting.plots.names import name_points
from musiceval_sk.reporting.plots.statistics import check_intervals, system_intervals
from musiceval_sk.reporting.plots.style import ACCENT, INK, Display, keep_labels_inside
from musiceval_sk.statistics.bootstrap import bootstrap_metrics
from musiceval_sk.statistics.metrics import u_srcc

_FEWEST_SYSTEMS = 2


class SystemScatterDisplay(FromEstimator, Display):
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

    def __init__(
        self,
        y_true: pd.Series,
        y_pred: pd.Series,
        name: str = "score",
        true_intervals: pd.DataFrame | None = None,
        predicted_intervals: pd.DataFrame | None = None,
    ):
        self.y_true = y_true
        self.y_pred = y_pred
        self.name = name
        self.true_intervals = true_intervals
        self.predicted_intervals = predicted_intervals

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        systems: Any,
        name: str | None = None,
        confidence: float | None = 0.95,
        ax: Any = None,
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
        table = compared(y_true, y_pred, systems)
        sides = [
            system_intervals(table[side], table["system"], confidence=confidence or 0.95)
            for side in ("truth", "prediction")
        ]
        intervals = sides if confidence else [None, None]
        return cls(sides[0]["mean"], sides[1]["mean"], name_of(y_true, name), *intervals).plot(ax=ax)

    def plot(self, ax: Any = None) -> "SystemScatterDisplay":
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure, wider where long names need a key.

        Returns
        -------
        SystemScatterDisplay
            Itself.

        Raises
        ------
        ValueError
            If there are fewer than 2 systems, or intervals lack a system or bound.
        """
        if len(self.y_true) < _FEWEST_SYSTEMS:
            raise ValueError(
                f"a scatter of systems needs at least {_FEWEST_SYSTEMS} of them, got {len(self.y_true)}: "
                f"{', '.join(map(str, self.y_true.index))}"
            )
        order = self.y_true.sort_values(ascending=False, kind="stable").index
        true, predicted = self.y_true[order], self.y_pred[order]
        names = [str(system) for system in order]
        long = max(map(len, names)) > 8
        ax = self._start(ax, (7.5 if long else 5.5, 5.0))
        bars = self._bars(order)
        limits = self._limits(bars)
        ax.plot(limits, limits, "--", color="0.6", linewidth=1, label="prediction = truth")
        for side, (low, high) in bars.items():
            middle = true if side == "x" else predicted
            ax.errorbar(
                true,
                predicted,
                fmt="none",
                ecolor="0.55",
                elinewidth=0.8,
                **{f"{side}err": (middle - low, high - middle)},
            )
        ax.plot(self.y_true, self.y_pred[self.y_true.index], "o", color=ACCENT, markeredgecolor=INK)
        ax.set_title(self._verdict(), fontsize=10)
        ax.set(xlim=limits, ylim=limits, xlabel=f"true system mean of {self.name}", aspect="equal")
        ax.set_ylabel(f"predicted system mean of {self.name}")
        ax.legend(loc="upper left", frameon=False, fontsize=8)
        keep_labels_inside(ax)
        name_points(ax, names, np.column_stack([true, predicted]))
        return self

    def _bars(self, order: pd.Index) -> dict[str, tuple[pd.Series, pd.Series]]:
        given = {"x": self.true_intervals, "y": self.predicted_intervals}
        checked = {side: check_intervals(table, order) for side, table in given.items() if table is not None}
        return {side: (table["low"], table["high"]) for side, table in checked.items()}

    def _limits(self, bars: dict[str, tuple[pd.Series, pd.Series]]) -> tuple[float, float]:
        """Both axes from the means, and from intervals as far as they do not dwarf the means."""
        means = np.concatenate([self.y_true, self.y_pred])
        room = max(float(np.ptp(means)), 0.2)
        ends = np.concatenate([means, *(bound for pair in bars.values() for bound in pair)])
        ends = ends[np.isfinite(ends)].clip(means.min() - room / 2, means.max() + room / 2)
        margin = 0.08 * max(float(np.ptp(ends)), 0.2)
        return float(ends.min() - margin), float(ends.max() + margin)

    def _verdict(self) -> str:
        count = len(self.y_true)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConstantInputWarning)
            warnings.simplefilter("ignore", FewSystemsWarning)  # the title counts them
            self.srcc_ = u_srcc(self.y_true, self.y_pred)
            found = bootstrap_metrics(self.y_true, self.y_pred, systems=self.y_true.index, n_resamples=1)
        self.interval_ = found.interval("S_SRCC")
        low, high = self.interval_
        if np.isnan(self.srcc_):
            return f"S_SRCC undefined (one side is constant), {count} systems"
        bounds = f", 95 % [{low:+.2f}, {high:+.2f}]" if np.isfinite(low) else ""
        return f"S_SRCC {self.srcc_:+.2f}{bounds}, {count} systems"
