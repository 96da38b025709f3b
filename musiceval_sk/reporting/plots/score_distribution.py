"""How often which score was given (Figure 1 of the MusicEval paper)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.reporting.plots.inputs import rated_clips
from musiceval_sk.reporting.plots.style import (
    HATCHES,
    INK,
    LIGHT_FILLS,
    Display,
    keep_labels_inside,
    write_legend,
)


class ScoreDistributionDisplay(Display):
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

    def __init__(self, scores: dict[str, Any], bin_width: float = 0.2):
        self.scores = scores
        self.bin_width = bin_width

    @classmethod
    def from_clips(
        cls,
        clips: pd.DataFrame,
        targets: str | Sequence[str] | None = None,
        *,
        ratings: Any = None,
        bin_width: float = 0.2,
        ax: Any = None,
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
        chosen = (
            [targets]
            if isinstance(targets, str)
            else list(targets or [target for target in TARGETS if target in there])
        )
        if not chosen:
            raise ClipsTableError(f"no target columns: looked for {listed(TARGETS)}, found {listed(there)}")
        scores = {
            target: rated_clips(clips, target, ratings=ratings, by_system=False)[target] for target in chosen
        }
        return cls(scores, bin_width).plot(ax=ax)

    def plot(self, ax: Any = None) -> "ScoreDistributionDisplay":
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        ScoreDistributionDisplay
            Itself.

        Raises
        ------
        ValueError
            If ``bin_width`` is not positive.
        """
        if not self.bin_width > 0:
            raise ValueError(f"bin_width must be greater than 0, got {self.bin_width}")
        self._count()
        ax = self._start(ax, (6.5, 3.8))
        width = 0.9 * self.bin_width / len(self.scores)
        for i, target in enumerate(self.scores):
            facts = self.summary_.loc[target]
            ax.bar(
                self.counts_.index + (i - (len(self.scores) - 1) / 2) * width,
                self.counts_[target],
                width,
                color=LIGHT_FILLS[i % len(LIGHT_FILLS)],
                hatch=HATCHES[i % len(HATCHES)],
                edgecolor=INK,
                linewidth=0.5,
                label=f"{target}: mean {facts['mean']:.2f}, sd {facts['sd']:.2f}, {facts['clips']:.0f} clips",
            )
        ax.set(xlabel="mean opinion score of a clip", ylabel="number of clips")
        write_legend(ax)
        keep_labels_inside(ax)
        return self

    def _count(self) -> None:
        bars = {
            # A hair above the edge: 3.1 / 0.2 comes out a little below 15.5.
            target: np.floor(np.asarray(scores, dtype=float) / self.bin_width + 0.5 + 1e-6).astype(int)
            for target, scores in self.scores.items()
        }
        low = min(numbers.min() for numbers in bars.values())
        high = max(numbers.max() for numbers in bars.values())
        counts = {
            target: np.bincount(numbers - low, minlength=high - low + 1) for target, numbers in bars.items()
        }
        centres = np.round(np.arange(low, high + 1) * self.bin_width, 10)
        self.counts_ = pd.DataFrame(counts, index=pd.Index(centres, name="score"))
        facts = {
            target: (len(scores), np.mean(scores), np.std(scores, ddof=1) if len(scores) > 1 else np.nan)
            for target, scores in self.scores.items()
        }
        self.summary_ = pd.DataFrame.from_dict(facts, orient="index", columns=["clips", "mean", "sd"])
