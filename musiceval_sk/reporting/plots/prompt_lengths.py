"""How long the prompts are (Figure 5 of the MusicEval paper)."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import gaussian_kde

from musiceval_sk.datasets.readers import require_columns
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.reporting.plots.style import (
    ACCENT,
    BLUE,
    INK,
    LIGHT_FILLS,
    Display,
    keep_labels_inside,
    write_legend,
)

UNITS = ("words", "characters")


class PromptLengthDisplay(Display):
    """Violin of the lengths of prompts, with quartiles, median and every prompt as a dot.

    Parameters
    ----------
    lengths : pandas.Series
        Length of each prompt, indexed by prompt.
    unit : {"words", "characters"}, default="words"
        What was counted.

    Attributes
    ----------
    quartiles_ : np.ndarray [shape=(3,)]
        Lower quartile, median and upper quartile.
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure around it.
    """

    def __init__(self, lengths: pd.Series, unit: str = "words"):
        self.lengths = lengths
        self.unit = unit

    @classmethod
    def from_clips(cls, clips: pd.DataFrame, *, unit: str = "words", ax: Any = None) -> "PromptLengthDisplay":
        """Draw the prompts of a clips table, each distinct text once.

        Parameters
        ----------
        clips : pandas.DataFrame
            With ``prompt``; clips without a prompt are passed over.
        unit : {"words", "characters"}, default="words"
            What to count; words are what white space separates, so for scripts without spaces count characters.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        PromptLengthDisplay
            Drawn.

        Raises
        ------
        ClipsTableError
            If there is no column ``prompt``, or no clip has one.
        ValueError
            If ``unit`` is unknown.
        """
        if unit not in UNITS:
            raise ValueError(f"unknown unit {unit!r}; choose from {', '.join(UNITS)}")
        require_columns(clips, ["prompt"])
        prompts = clips["prompt"].dropna().astype(str).str.strip()
        prompts = prompts[prompts != ""].drop_duplicates()
        if prompts.empty:
            raise ClipsTableError(f"none of {len(clips)} clips has a prompt: nothing to draw")
        lengths = [len(prompt.split() if unit == "words" else prompt) for prompt in prompts]
        return cls(pd.Series(lengths, index=prompts.to_numpy()), unit).plot(ax=ax)

    def plot(self, ax: Any = None) -> "PromptLengthDisplay":
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        PromptLengthDisplay
            Itself.
        """
        ax = self._start(ax, (6.0, 2.8))
        values = np.asarray(self.lengths, dtype=float)
        self.quartiles_ = np.quantile(values, [0.25, 0.5, 0.75])
        low, median, high = self.quartiles_
        if np.ptp(values) > 0:
            grid = np.linspace(values.min(), values.max(), 200)
            density = gaussian_kde(values)(grid)
            half = 0.45 * density / density.max()
            ax.fill_between(grid, -half, half, facecolor=LIGHT_FILLS[0], edgecolor=INK, alpha=0.5)
        order = np.argsort(values, kind="stable")
        # Dots of equal length side by side, in a strip below the middle.
        ranks = pd.Series(values).groupby(values).cumcount().to_numpy()
        stack = -0.12 - 0.25 * ranks / max(ranks.max(), 1)
        ax.plot(values[order], stack[order], ".", color=BLUE, alpha=0.6, markersize=4)
        ax.plot(
            [low, high], [0, 0], color=INK, linewidth=6, solid_capstyle="butt", label="half of the prompts"
        )
        ax.plot([median], [0], "D", color=ACCENT, markeredgecolor="white", label="median")
        ax.set(ylim=(-0.6, 0.6), yticks=[], xlabel=f"length of a prompt ({self.unit})")
        write_legend(
            ax,
            title=f"{len(values)} distinct prompts: {values.min():.0f} to {values.max():.0f} {self.unit}, median {median:g}",
        )
        keep_labels_inside(ax)
        return self
