"""Scores: how often which was given, those of each system (Figures 1 to 3 of the MusicEval paper), and whether a predicted one means what it says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import listed, require_known
from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.reporting.plots import base
from musiceval_sk.reporting.plots.labels import name_ticks, write_legend
from musiceval_sk.statistics.align import require_whole
from musiceval_sk.statistics.intervals import mean_interval

_FILLS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#0072b2", "#d55e00")
_HATCHES = ("", "//", "..", "xx", "\\\\", "--", "oo")


@dataclass(eq=False, repr=False)
class ScoreDistributionDisplay(base.Display):
    """Number of clips at each score, the targets side by side.

    Parameters
    ----------
    scores : dict of str to array-like
        Mean opinion scores of clips, by target.
    bin_width : float, default=0.2
        Width of a bar in units of the scale. Bars are centred on its multiples and hold their lower edge, so that scores in
        steps of the width, or of a whole part of it, fall evenly into bars.

    Attributes
    ----------
    counts_ : pandas.DataFrame
        Number of clips, indexed by the centre of the bar, one column a target.
    summary_ : pandas.DataFrame
        One row a target: ``clips``, ``mean``, ``sd`` (sample standard deviation).
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure around it.
    """

    scores: dict[str, Any]
    bin_width: float = 0.2

    @classmethod
    def from_clips(
        cls, clips: pd.DataFrame, targets=None, *, ratings=None, bin_width: float = 0.2, ax=None
    ) -> "ScoreDistributionDisplay":
        """Draw the scores of a clips table.

        Parameters
        ----------
        clips : pandas.DataFrame
            Clips table with the targets.
        targets : str or sequence of str, default=None
            Score columns; by default those of ``impression`` and ``alignment`` that are there.
        ratings : str, Path or pandas.DataFrame, default=None
            Raw ratings to average instead of the clips table's scores, see `aggregate_ratings`.
        bin_width : float, default=0.2
            Width of a bar in units of the scale.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        ScoreDistributionDisplay
            Drawn.

        Raises
        ------
        ClipsTableError
            If a column is missing or no clip has a score.
        """
        there = getattr(ratings, "columns", clips.columns)
        chosen = [targets] if isinstance(targets, str) else targets
        chosen = list(chosen or [target for target in TARGETS if target in there])
        if not chosen:
            raise ClipsTableError(f"no target columns: looked for {listed(TARGETS)}, found {listed(there)}")
        options = {"ratings": ratings, "by_system": False}
        scores = {target: base.rated_clips(clips, target, **options)[target] for target in chosen}
        return cls(scores, bin_width).plot(ax=ax)

    def _draw(self, ax: Any) -> None:
        if not self.bin_width > 0:
            raise ValueError(f"bin_width must be greater than 0, got {self.bin_width}")
        scores = {name: pd.Series(np.asarray(values, dtype=float)) for name, values in self.scores.items()}
        facts = {target: values.agg(["count", "mean", "std"]) for target, values in scores.items()}
        self.summary_ = pd.DataFrame(facts).T.set_axis(["clips", "mean", "sd"], axis=1).astype({"clips": int})
        # A hair above the edge: 3.1 / 0.2 comes out a little below 15.5.
        bars = {target: np.floor(values / self.bin_width + 0.5 + 1e-6) for target, values in scores.items()}
        counts = pd.DataFrame({target: numbers.value_counts() for target, numbers in bars.items()})
        numbers = np.arange(counts.index.min(), counts.index.max() + 1)
        self.counts_ = counts.reindex(numbers).fillna(0).astype(int)
        self.counts_.index = pd.Index(np.round(numbers * self.bin_width, 10), name="score")
        ax = self._start(ax, (6.5, 3.8))
        width = 0.9 * self.bin_width / len(scores)
        for i, (target, fact) in enumerate(self.summary_.iterrows()):
            x = self.counts_.index + (i - (len(scores) - 1) / 2) * width
            label = f"{target}: mean {fact['mean']:.2f}, sd {fact['sd']:.2f}, {fact['clips']:.0f} clips"
            style = {"color": _FILLS[i % len(_FILLS)], "hatch": _HATCHES[i % len(_HATCHES)]}
            ax.bar(x, self.counts_[target], width, edgecolor=base.INK, linewidth=0.5, label=label, **style)
        ax.set(xlabel="mean opinion score of a clip", ylabel="number of clips")
        write_legend(ax)


@dataclass(eq=False, repr=False)
class SystemScoresDisplay(base.Display):
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

    scores: pd.Series
    systems: Any
    order: Sequence[Any] | None = None

    _named_axis = "x"

    @classmethod
    def from_clips(
        cls, clips: pd.DataFrame, target="impression", *, ratings=None, order=None, ax=None
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
        rated = base.rated_clips(clips, target, ratings=ratings)
        return cls(rated[target], rated["system"], order).plot(ax=ax)

    def _draw(self, ax: Any) -> None:
        groups = pd.Series(np.asarray(self.scores)).groupby(np.asarray(self.systems))
        ascending = groups.mean().sort_values(kind="stable").index
        order = pd.Index(ascending if self.order is None else list(self.order))
        odd = [*ascending.symmetric_difference(order), *order[order.duplicated()]]
        if odd:
            words = f"order must name each of the {len(ascending)} systems once"
            raise ValueError(f"{words}; doubled, missing or unknown: {listed(odd)}")
        self.order_ = list(order)
        names = [str(system) for system in order]
        ax = self._start(ax, (max(5.0, 0.3 * len(names) + 1.5), 3.8 + 0.05 * max(map(len, names))))
        parts = [groups.get_group(system) for system in order]
        for i, part in enumerate(parts, start=1):
            label = "clip" if i == 1 else None
            ax.plot(i + base.spread_out(len(part), 0.2), part, label=label, **base.DOTS)
        lines = {name: {"color": base.INK} for name in ("medianprops", "boxprops", "whiskerprops")}
        options = {"widths": 0.6, "showfliers": False, "showmeans": True, "meanprops": base.DIAMONDS}
        drawn = ax.boxplot(parts, **options, **lines)
        drawn["means"][0].set_label("mean")
        drawn["medians"][0].set_label("median and quartiles")
        ax.set_xlabel("system, by mean score" if self.order is None else "system")
        ax.set_ylabel(f"{getattr(self.scores, 'name', None) or 'score'} (MOS of a clip)")
        name_ticks(ax, names, "x", np.arange(1, len(names) + 1))
        write_legend(ax)


STRATEGIES = ("quantile", "uniform")


@dataclass(eq=False, repr=False)
class ScoreCalibrationDisplay(base.PredictionDisplay):
    """Mean true score of the clips that were predicted alike, with intervals.

    Parameters
    ----------
    bins : pandas.DataFrame
        One row a bin: ``predicted`` and ``observed`` (means), ``low`` and ``high`` (of the observed), ``clips``.
    name : str, default="score"
        What is scored.
    predictions : array-like, default=None
        Predictions of all clips, drawn as a rug.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure around it.
    """

    bins: pd.DataFrame
    name: str = "score"
    predictions: Any = None

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_pred,
        *,
        systems=None,
        n_bins=8,
        strategy="quantile",
        name=None,
        confidence=0.95,
        ax=None,
    ) -> "ScoreCalibrationDisplay":
        """Bin clips by prediction and draw.

        Parameters
        ----------
        y_true, y_pred : array-like [shape=(n,)]
            True and predicted scores of clips.
        systems : array-like or pandas.Series, default=None
            The system of each clip. Clips of a system err alike; with it, intervals are t-intervals with cluster-robust
            standard errors, missing where a bin holds one system. Without it clips count as independent, and intervals are
            too narrow where they are not.
        n_bins : int, default=8
            Most bins; equal predictions are never split, so there may be fewer.
        strategy : {"quantile", "uniform"}, default="quantile"
            Bins of about equal numbers of clips, or of equal width.
        name : str, default=None
            What is scored; by default the name of ``y_true``.
        confidence : float in (0, 1), default=0.95
            Nominal coverage.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        ScoreCalibrationDisplay
            Drawn.

        Raises
        ------
        ValueError
            If ``n_bins`` is below 1, the strategy unknown, or scores and systems do not match.
        """
        require_whole(n_bins=n_bins)
        require_known("strategy", strategy, STRATEGIES)
        table = base.compared(y_true, y_pred, systems, by_system=False)
        predictions, rows = table["prediction"].to_numpy(), []
        labels = table["system"] if systems is not None else pd.Series(range(len(table)), table.index)
        values = predictions if strategy == "quantile" else [predictions.min(), predictions.max()]
        edges = np.quantile(values, np.linspace(0, 1, n_bins + 1))
        places = np.searchsorted(np.unique(edges[1:-1]), predictions, side="right")
        for _, part in table.groupby(places):
            interval = mean_interval(part["truth"], groups=labels[part.index], confidence=confidence)
            rows.append((part["prediction"].mean(), *interval, len(part)))
        bins = pd.DataFrame(rows, columns=["predicted", "observed", "low", "high", "clips"])
        return cls(bins, base.name_of(y_true, name), predictions).plot(ax=ax)

    def _draw(self, ax: Any) -> None:
        ax = self._start(ax, (5.0, 5.0))
        bins, counts = self.bins, self.bins["clips"]
        means = np.concatenate([bins["predicted"], bins["observed"]])
        base.draw_diagonal(ax, means, [bins["low"], bins["high"]], "a prediction means what it says")
        fewest = "" if counts.min() == counts.max() else f"{counts.min()} to "
        label = f"mean of {fewest}{counts.max()} clips"
        x, y = bins["predicted"], bins["observed"]
        error = (y - bins["low"], bins["high"] - y)
        style = base.DIAMONDS | {"marker": "o", "color": base.BLUE, "ecolor": base.INK, "capsize": 2}
        ax.errorbar(x, y, yerr=error, label=label, **style)
        if self.predictions is not None:
            rug = np.asarray(self.predictions)
            ax.plot(rug, np.zeros(len(rug)), "|", color="0.3", alpha=0.5, transform=ax.get_xaxis_transform())
        ax.set(xlabel=f"mean predicted {self.name}", ylabel=f"mean true {self.name}")
        write_legend(ax)
