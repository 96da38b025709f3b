"""Whether a predicted score means what it says."""

from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk.reporting.plots.inputs import FromEstimator, compared, name_of
from musiceval_sk.reporting.plots.statistics import mean_interval
from musiceval_sk.reporting.plots.style import ACCENT, BLUE, INK, Display, keep_labels_inside, write_legend

STRATEGIES = ("quantile", "uniform")


class ScoreCalibrationDisplay(FromEstimator, Display):
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

    def __init__(self, bins: pd.DataFrame, name: str = "score", predictions: Any = None):
        self.bins = bins
        self.name = name
        self.predictions = predictions

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        systems: Any = None,
        n_bins: int = 8,
        strategy: str = "quantile",
        name: str | None = None,
        confidence: float = 0.95,
        ax: Any = None,
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
        if n_bins < 1 or strategy not in STRATEGIES:
            raise ValueError(
                f"n_bins must be at least 1 and strategy one of {', '.join(STRATEGIES)}; got {n_bins} and {strategy!r}"
            )
        table = compared(y_true, y_pred, systems, by_system=False)
        rows = []
        for _, part in table.groupby(_bin(table["prediction"].to_numpy(), n_bins, strategy)):
            groups = part["system"] if systems is not None else None
            interval = mean_interval(part["truth"], groups=groups, confidence=confidence)
            rows.append((part["prediction"].mean(), *interval, len(part)))
        bins = pd.DataFrame(rows, columns=["predicted", "observed", "low", "high", "clips"])
        return cls(bins, name_of(y_true, name), table["prediction"].to_numpy()).plot(ax=ax)

    def plot(self, ax: Any = None) -> "ScoreCalibrationDisplay":
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        ScoreCalibrationDisplay
            Itself.
        """
        ax = self._start(ax, (5.0, 5.0))
        bins = self.bins
        middle = np.concatenate([bins["predicted"], bins["observed"]])
        room = max(float(np.ptp(middle)), 0.2)
        ends = np.concatenate([middle, bins["low"], bins["high"]])
        ends = ends[np.isfinite(ends)].clip(middle.min() - room / 2, middle.max() + room / 2)
        limits = (ends.min() - 0.12 * room, ends.max() + 0.12 * room)
        ax.plot(limits, limits, "--", color="0.6", linewidth=1, label="a prediction means what it says")
        error = np.stack([bins["observed"] - bins["low"], bins["high"] - bins["observed"]])
        ax.errorbar(
            bins["predicted"],
            bins["observed"],
            yerr=error,
            fmt="o-",
            color=BLUE,
            markerfacecolor=ACCENT,
            markeredgecolor=INK,
            ecolor=INK,
            capsize=3,
            label=f"mean of {_range(bins['clips'])} clips",
        )
        if self.predictions is not None:
            rug = np.asarray(self.predictions)
            ax.plot(rug, np.zeros(len(rug)), "|", color="0.3", alpha=0.5, transform=ax.get_xaxis_transform())
        ax.set(xlim=limits, ylim=limits, aspect="equal")
        ax.set(xlabel=f"mean predicted {self.name}", ylabel=f"mean true {self.name}")
        write_legend(ax)
        keep_labels_inside(ax)
        return self


def _range(counts: pd.Series) -> str:
    low, high = counts.min(), counts.max()
    return str(low) if low == high else f"{low} to {high}"


def _bin(predictions: np.ndarray, n_bins: int, strategy: str) -> np.ndarray:
    if strategy == "uniform":
        edges = np.linspace(predictions.min(), predictions.max(), n_bins + 1)
    else:
        edges = np.quantile(predictions, np.linspace(0, 1, n_bins + 1))
    return np.searchsorted(np.unique(edges[1:-1]), predictions, side="right")
