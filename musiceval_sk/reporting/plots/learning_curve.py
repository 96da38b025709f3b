"""How a score grows with the data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.datasets.readers import require_columns
from musiceval_sk.ratings.ceiling import PERFECT
from musiceval_sk.reporting.plots import base
from musiceval_sk.reporting.plots.labels import write_legend
from musiceval_sk.studies.curve_result import GROWS, ScoreLearningCurve

_COLOURS = (base.BLUE, base.ACCENT, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", base.INK)
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 3)))
_STYLES = list(zip(_COLOURS, "os^DvPX", _LINES, strict=True))
# Share of the height that a name above its line takes.
_ROOM_FOR_WORDS = 0.07


@dataclass(eq=False, repr=False)
class ScoreLearningCurveDisplay(base.Display):
    """A score against the size of something (clips, systems, ratings a clip), with intervals, one line a predictor.

    Parameters
    ----------
    table : pandas.DataFrame
        Tidy: ``size`` and ``score``, optionally ``low`` and ``high``, and the column that ``by`` names.
    size_name : str, default="training clips"
        What grows.
    score_name : str, default="score"
        What is scored.
    by : str, default=None
        Column that tells lines apart.
    references : mapping of str to float, default=None
        Levels to draw across, such as the human ceiling.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure around it.
    """

    table: pd.DataFrame
    size_name: str = "training clips"
    score_name: str = "score"
    by: str | None = None
    references: Mapping[str, float] | None = None

    @classmethod
    def from_table(
        cls, table: pd.DataFrame, *, size="size", score="score", by=None, references=None, ax=None
    ) -> "ScoreLearningCurveDisplay":
        """Draw a tidy table of scores.

        Parameters
        ----------
        table : pandas.DataFrame
            One row a point. Columns ``low`` and ``high`` are its interval, where they are there.
        size : str, default="size"
            Column of what grows; it names the axis.
        score : str, default="score"
            Column of the score; it names the axis.
        by : str, default=None
            Column that tells lines apart, such as the model.
        references : mapping of str to float, default=None
            Levels to draw across.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        ScoreLearningCurveDisplay
            Drawn.

        Raises
        ------
        ValueError
            If a column is missing, or there is no point.
        """
        require_columns(table, [column for column in (size, score, by) if column is not None])
        tidy = table.rename(columns={size: "size", score: "score"}).dropna(subset=["score"])
        if tidy.empty:
            raise ValueError(f"none of {len(table)} rows has a {score}: nothing to draw")
        return cls(tidy, size, score, by, references).plot(ax=ax)

    @classmethod
    def from_curve(
        cls, curve: ScoreLearningCurve, target, metric, *, grows=None, kind=None, models=None, ax=None
    ) -> "ScoreLearningCurveDisplay":
        """Draw what `score_learning_curve` found, one line a model.

        Where ratings were given, the correlation that a perfect predictor of what endlessly many raters would say reaches over all test
        clips is drawn across; but not for means of folds of system metrics, for which it is not known.

        Parameters
        ----------
        curve : ScoreLearningCurve
            The result.
        target : str
            Name of the target.
        metric : str
            One of the metrics that were asked for.
        grows : {"clips", "systems", "ratings"}, default=None
            Which lines; by default the first that were asked for.
        kind : {"pooled", "mean of folds"}, default=None
            Kind of score; by default the one to read, `ScoreLearningCurve.kind`.
        models : collection of str, default=None
            Names of the models to draw; by default all that could be judged.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        ScoreLearningCurveDisplay
            Drawn, with the intervals of the result.

        Raises
        ------
        ValueError
            If there are no such lines, or none could be judged.
        """
        rows = curve.line(target, metric, grows, kind)
        grows, kind = rows["grows"].iloc[0], rows["kind"].iloc[0]
        if models is not None:
            rows = rows[rows["model"].isin(models)]
        if not np.isfinite(rows["score"]).any():
            who = listed(models or ["any model"])
            raise ValueError(f"no {metric} of {target!r} could be judged for {who}")
        references = None
        if curve.ceiling is not None and metric in curve.ceiling.metrics():
            level = curve.ceiling.metrics()[metric].get((target, PERFECT), np.nan)
            known = np.isfinite(level) and not (metric.startswith("S_") and kind == "mean of folds")
            references = {"human ceiling": float(level)} if known else None
        rows = rows.dropna(subset=["score"])
        return cls(rows, GROWS[grows], f"{metric} of {target}, {kind}", "model", references).plot(ax=ax)

    def _draw(self, ax: Any) -> None:
        ax = self._start(ax, (6.0, 4.0))
        lines = [("", self.table)] if self.by is None else list(self.table.groupby(self.by, sort=False))
        spacing = np.ptp(self.table["size"]) / max(self.table["size"].nunique() - 1, 1)
        for i, (label, part) in enumerate(lines):
            part = part.sort_values("size")
            x, y, error = part["size"], part["score"], None
            if {"low", "high"} <= set(part):
                # A percentile interval of a biased figure may leave the figure out.
                error = np.clip([y - part["low"], part["high"] - y], 0, None)
            # Side by side by a little, so that intervals at the same size can be told apart.
            x = x + 0.06 * spacing * (i - (len(lines) - 1) / 2)
            colour, marker, line = _STYLES[i % len(_STYLES)]
            style = {"color": colour, "marker": marker, "linestyle": line, "elinewidth": 1, "capsize": 3}
            ax.errorbar(x, y, yerr=error, label=str(label) or None, **style)
        for name, level in (self.references or {}).items():
            ax.axhline(level, color="0.35", linewidth=1, linestyle=(0, (1, 2)))
            # On the left, where curves are low.
            ax.text(0, level, f" {name}", transform=ax.get_yaxis_transform(), fontsize=8, va="bottom")
            lowest, highest = ax.get_ylim()
            ax.set_ylim(top=max(highest, level + _ROOM_FOR_WORDS * (highest - lowest)))
        ax.set(xlabel=self.size_name, ylabel=self.score_name)
        if self.by is not None:
            write_legend(ax, beside=True, title=self.by)
