"""Whether a predicted score means what it says."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from musiceval_sk._text import require_known
from musiceval_sk.reporting.plots import base
from musiceval_sk.reporting.plots.labels import write_legend
from musiceval_sk.statistics.align import require_whole

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


def mean_interval(values: Any, *, groups: Any = None, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean and its t-interval.

    Parameters
    ----------
    values : array-like [shape=(n,)]
        Scores of clips.
    groups : array-like [shape=(n,)], default=None
        What makes clips alike, such as their system. The standard error is then the cluster-robust one,
        ``sqrt(G / (G - 1) * sum_g(e_g ** 2)) / n`` with ``e_g`` the summed deviations of a group, and the t-distribution
        has ``G - 1`` degrees of freedom. By default each clip is a group of its own: the usual interval.
    confidence : float in (0, 1), default=0.95
        Nominal coverage.

    Returns
    -------
    tuple of float
        Mean, lower and upper bound; the bounds are nan for a single group.

    References
    ----------
    A. C. Cameron and D. L. Miller, "A practitioner's guide to cluster-robust inference", J. Human Resources 50 (2015).

    Examples
    --------
    >>> [round(bound, 3) for bound in mean_interval([2, 3, 4])]
    [3.0, 0.516, 5.484]
    """
    values = np.asarray(values, dtype=float)
    groups = np.arange(len(values)) if groups is None else groups
    mean = float(values.mean())
    sums = pd.Series(values - mean).groupby(np.asarray(groups)).sum().to_numpy()
    n_groups = len(sums)
    if n_groups < 2:
        return mean, np.nan, np.nan
    error = np.sqrt(n_groups / (n_groups - 1) * np.sum(sums**2)) / len(values)
    half = float(stats.t.ppf((1 + confidence) / 2, n_groups - 1) * error)
    return mean, mean - half, mean + half
