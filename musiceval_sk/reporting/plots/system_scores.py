"""Scores of each system's clips (Figures 2 and 3 of the MusicEval paper)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.reporting.plots.inputs import rated_clips
from musiceval_sk.reporting.plots.names import name_ticks
from musiceval_sk.reporting.plots.style import ACCENT, BLUE, INK, Display, keep_labels_inside, spread_out
from musiceval_sk.statistics.metrics import system_means


class SystemScoresDisplay(Display):
    """Distribution of clip scores within each system: box, mean (diamond) and every clip (dots).

    Parameters
    ----------
    scores : pandas.Series
        Mean opinion scores of clips.
    systems : array-like [shape=(n,)]
        The system of each clip.
    order : sequence, default=None
        Systems from left to right; by default in order of their mean. Give one display's ``order_`` to another to
        compare two targets.

    Attributes
    ----------
    order_ : list
        Systems from left to right.
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure around it.
    """

    def __init__(self, scores: pd.Series, systems: Any, order: Sequence[Any] | None = None):
        self.scores = scores
        self.systems = np.asarray(systems)
        self.order = order

    @classmethod
    def from_clips(
        cls,
        clips: pd.DataFrame,
        target: str = "impression",
        *,
        ratings: Any = None,
        order: Sequence[Any] | None = None,
        ax: Any = None,
    ) -> "SystemScoresDisplay":
        """Draw the scores of a clips table.

        Parameters
        ----------
        clips : pandas.DataFrame
            With ``system`` and the target.
        target : str, default="impression"
            Score column.
        ratings : str, Path or pandas.DataFrame, default=None
            Raw ratings to average instead of the clips table's scores, see `aggregate_ratings`.
        order : sequence, default=None
            Systems from left to right; by default in order of their mean.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        SystemScoresDisplay
            Drawn.

        Raises
        ------
        ClipsTableError
            If a column is missing, or no clip has a score and a system.
        """
        rated = rated_clips(clips, target, ratings=ratings)
        return cls(rated[target], rated["system"], order).plot(ax=ax)

    def plot(self, ax: Any = None) -> "SystemScoresDisplay":
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure, as large as number and names of the systems ask for.

        Returns
        -------
        SystemScoresDisplay
            Itself.

        Raises
        ------
        ValueError
            If ``order`` does not name each system once.
        """
        self.order_ = self._ordered()
        names = [str(system) for system in self.order_]
        ax = self._start(ax, (max(5.0, 0.3 * len(names) + 1.5), 3.8 + 0.05 * max(map(len, names))))
        parts = [np.asarray(self.scores)[self.systems == system] for system in self.order_]
        lines = {name: {"color": INK} for name in ("medianprops", "boxprops", "whiskerprops")}
        diamond = {"marker": "D", "markerfacecolor": ACCENT, "markeredgecolor": INK, "markersize": 5}
        for i, part in enumerate(parts, start=1):
            ax.plot(i + spread_out(len(part), 0.2), part, ".", color=BLUE, alpha=0.4, markersize=4)
        ax.boxplot(parts, widths=0.6, showfliers=False, showmeans=True, meanprops=diamond, **lines)
        ax.set(
            xlabel="system, by mean score (diamond)"
            if self.order is None
            else "system (mean score: diamond)",
            ylabel=f"{getattr(self.scores, 'name', None) or 'score'} (MOS of a clip)",
        )
        name_ticks(ax, names, axis="x", positions=np.arange(1, len(names) + 1))
        keep_labels_inside(ax)
        return self

    def _ordered(self) -> list[Any]:
        means = system_means(self.scores, self.systems).sort_values(kind="stable")
        if self.order is None:
            return list(means.index)
        order = list(self.order)
        odd = [*set(means.index).symmetric_difference(order), *pd.Index(order)[pd.Index(order).duplicated()]]
        if odd:
            raise ValueError(
                f"order must name each of the {len(means)} systems once; doubled, missing or unknown: {listed(odd)}"
            )
        return order
