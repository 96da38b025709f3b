"""Figures as Display classes, in scikit-learn's manner: made ``from_...``, drawn with `plot`."""

from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._optional import import_optional
from musiceval_sk.evaluation.metrics import system_means, systems_of, u_srcc
from musiceval_sk.evaluation.stats import spearman_interval

_INK = "#1b3a4b"
_ACCENT = "#d55e00"  # vermillion of Okabe and Ito's colour-blind safe palette


class SystemScoresDisplay:
    """Distribution of clip scores within each system, systems in order of their mean.

    Parameters
    ----------
    scores : pandas.Series
        Mean opinion scores of clips.
    systems : array-like [shape=(n,)]
        The system of each clip.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure around it.
    """

    def __init__(self, scores: pd.Series, systems: Any):
        self.scores = scores
        self.systems = np.asarray(systems)

    @classmethod
    def from_clips(
        cls, clips: pd.DataFrame, target: str = "impression", *, ax: Any = None
    ) -> "SystemScoresDisplay":
        """Draw the scores of a clips table.

        Parameters
        ----------
        clips : pandas.DataFrame
            With ``system`` and the target.
        target : str, default="impression"
            Score column.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        SystemScoresDisplay
            Drawn.
        """
        rated = clips[clips[target].notna()]
        return cls(rated[target], rated["system"]).plot(ax=ax)

    def plot(self, ax: Any = None) -> "SystemScoresDisplay":
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure, as wide as the number of systems asks for.

        Returns
        -------
        SystemScoresDisplay
            Itself.
        """
        order = list(system_means(self.scores, self.systems).sort_values().index)
        self.ax_, self.figure_ = _axes(ax, size=(max(5.0, 0.45 * len(order) + 1.5), 4.0))
        parts = [self.scores[self.systems == system].to_numpy() for system in order]
        self.ax_.boxplot(
            parts,
            widths=0.6,
            showfliers=False,
            showmeans=True,
            medianprops={"color": _INK},
            boxprops={"color": _INK},
            whiskerprops={"color": _INK},
            meanprops={
                "marker": "D",
                "markerfacecolor": _ACCENT,
                "markeredgecolor": _ACCENT,
                "markersize": 5,
            },
        )
        for i, part in enumerate(parts, start=1):
            spread = np.linspace(-0.15, 0.15, len(part)) if len(part) > 1 else [0.0]
            self.ax_.plot(i + np.asarray(spread), part, ".", color=_INK, alpha=0.35, markersize=4)
        names = [str(system) for system in order]
        rotation = 90 if max(map(len, names)) > 4 or len(names) > 20 else 0
        self.ax_.set_xticks(range(1, len(names) + 1), names, rotation=rotation)
        self.ax_.set(
            xlabel="system, by mean score (diamond)", ylabel=f"{self.scores.name or 'score'} (MOS of a clip)"
        )
        return self


class SystemScatterDisplay:
    """Predicted against true system means, one named point a system.

    Parameters
    ----------
    y_true, y_pred : pandas.Series
        True and predicted means by system.
    name : str, default="score"
        What is scored.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure around it.
    """

    def __init__(self, y_true: pd.Series, y_pred: pd.Series, name: str = "score"):
        self.y_true = y_true
        self.y_pred = y_pred
        self.name = name

    @classmethod
    def from_predictions(
        cls, y_true: Any, y_pred: Any, *, systems: Any, name: str | None = None, ax: Any = None
    ) -> "SystemScatterDisplay":
        """Average clips over systems and draw.

        Parameters
        ----------
        y_true, y_pred : array-like [shape=(n,)]
            True and predicted scores of clips.
        systems : array-like or pandas.Series
            The system of each clip, see `systems_of`.
        name : str, default=None
            What is scored; by default the name of ``y_true``.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        SystemScatterDisplay
            Drawn.
        """
        labels = systems_of(y_true, systems)
        name = name or getattr(y_true, "name", None) or "score"
        return cls(system_means(y_true, labels), system_means(y_pred, labels), name).plot(ax=ax)

    def plot(self, ax: Any = None) -> "SystemScatterDisplay":
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        SystemScatterDisplay
            Itself.
        """
        self.ax_, self.figure_ = _axes(ax, size=(5.0, 5.0))
        both = np.concatenate([self.y_true, self.y_pred])
        margin = 0.1 * max(np.ptp(both), 0.1)
        limits = (both.min() - margin, both.max() + margin)
        self.ax_.plot(limits, limits, "--", color="0.6", linewidth=1, label="prediction = truth")
        self.ax_.plot(self.y_true, self.y_pred, "o", color=_ACCENT, markeredgecolor=_INK)
        srcc, n = u_srcc(self.y_true, self.y_pred), len(self.y_true)
        low, high = spearman_interval(srcc, n)
        bounds = f", 95 % [{low:+.2f}, {high:+.2f}]" if np.isfinite(low) else ""
        self.ax_.set_title(f"S_SRCC {srcc:+.2f}{bounds}, {n} systems", fontsize=10)
        self.ax_.set(xlim=limits, ylim=limits, xlabel=f"true system mean of {self.name}", aspect="equal")
        self.ax_.set_ylabel(f"predicted system mean of {self.name}")
        self.ax_.legend(loc="upper left", frameon=False, fontsize=8)
        self._name_points()
        return self

    def _name_points(self) -> None:
        """Write each system beside its point, on the first side that is still free of other names."""
        taken: list[Any] = []
        self.ax_.figure.canvas.draw()
        for system in self.y_true.sort_values().index:
            for x, y, side in ((5, 3, "left"), (5, -9, "left"), (-5, 3, "right"), (-5, -9, "right")):
                name = self.ax_.annotate(
                    str(system),
                    (self.y_true[system], self.y_pred[system]),
                    xytext=(x, y),
                    textcoords="offset points",
                    fontsize=8,
                    horizontalalignment=side,
                )
                box = name.get_window_extent()
                if not any(box.overlaps(other) for other in taken):
                    break
                if (x, y) != (-5, -9):
                    name.remove()
            taken.append(box)


def _axes(ax: Any, size: tuple[float, float]) -> tuple[Any, Any]:
    if ax is None:
        pyplot = import_optional("matplotlib.pyplot", extra="report", purpose="Drawing figures")
        _, ax = pyplot.subplots(figsize=size, layout="constrained")
    return ax, ax.figure
