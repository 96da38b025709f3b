"""How a score grows with the data."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.ratings.ceiling import PERFECT
from musiceval_sk.reporting.plots.style import (
    SERIES_COLOURS,
    SERIES_LINES,
    SERIES_MARKERS,
    Display,
    keep_labels_inside,
    write_legend,
)
from musiceval_sk.studies.curve.result import ScoreLearningCurve, axis_name

# Share of the height that a name above its line takes.
_ROOM_FOR_WORDS = 0.07


class ScoreLearningCurveDisplay(Display):
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

    def __init__(
        self,
        table: pd.DataFrame,
        size_name: str = "training clips",
        score_name: str = "score",
        by: str | None = None,
        references: Mapping[str, float] | None = None,
    ):
        self.table = table
        self.size_name = size_name
        self.score_name = score_name
        self.by = by
        self.references = references

    @classmethod
    def from_table(
        cls,
        table: pd.DataFrame,
        *,
        size: str = "size",
        score: str = "score",
        by: str | None = None,
        references: Mapping[str, float] | None = None,
        ax: Any = None,
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
        missing = [column for column in (size, score, by) if column is not None and column not in table]
        if missing:
            raise ValueError(
                f"the table lacks the column(s) {listed(missing)}; found: {listed(table.columns, most=12)}"
            )
        tidy = table.rename(columns={size: "size", score: "score"}).dropna(subset=["score"])
        if tidy.empty:
            raise ValueError(f"none of {len(table)} rows has a {score}: nothing to draw")
        return cls(tidy, size, score, by, references).plot(ax=ax)

    @classmethod
    def from_curve(
        cls,
        curve: ScoreLearningCurve,
        target: str,
        metric: str,
        *,
        grows: str | None = None,
        kind: str | None = None,
        models: Collection[str] | None = None,
        ax: Any = None,
    ) -> "ScoreLearningCurveDisplay":
        """Draw what `score_learning_curve` found, one line a model (and a sum of ratings, where that is what is compared).

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
        grows : {"clips", "systems", "ratings", "budget"}, default=None
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
            raise ValueError(
                f"no {metric} of {target!r} could be judged for {listed(models or ['any model'])}"
            )
        if grows == "budget":
            rows = rows.assign(model=[f"{row.model}, {row.budget:.0f} ratings" for row in rows.itertuples()])
        table = rows.dropna(subset=["score"])
        # A percentile interval of a biased figure may leave the figure out; bars reach from it to the interval's ends.
        table = table.assign(
            low=table[["low", "score"]].min(axis=1), high=table[["high", "score"]].max(axis=1)
        )
        references = None
        if curve.ceiling is not None and metric in curve.ceiling.metrics():
            level = curve.ceiling.metrics()[metric].get((target, PERFECT), np.nan)
            known = np.isfinite(level) and not (metric.startswith("S_") and kind == "mean of folds")
            references = {"human ceiling": float(level)} if known else None
        return cls(table, axis_name(grows), f"{metric} of {target}, {kind}", "model", references).plot(ax=ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        groups: Any = None,
        scoring: Any = None,
        cv: Any = None,
        train_sizes: Any = (0.2, 0.4, 0.6, 0.8, 1.0),
        n_jobs: int | None = None,
        random_state: int | None = 0,
        score_name: str = "score",
        ax: Any = None,
    ) -> "ScoreLearningCurveDisplay":
        """Train on growing parts of the data and draw the mean over folds with their standard deviation.

        The parts are drawn at random from the training clips of each fold (`sklearn.model_selection.learning_curve`), so that all
        systems of training remain: this is the growth by clips, not by systems. The bars are the spread of folds, not a
        confidence interval.

        Parameters
        ----------
        estimator : estimator
            Not fitted.
        X : array-like or pandas.DataFrame [shape=(n, n_features)]
            Features of clips.
        y : array-like or pandas.Series [shape=(n,)]
            True scores, indexed by clip for scorers that look systems up.
        groups : array-like [shape=(n,)], default=None
            Groups for ``cv``, such as the systems.
        scoring : str or callable, default=None
            As in scikit-learn, or from `mos_scorer`; by default the estimator's own.
        cv : int or splitter, default=None
            As in scikit-learn.
        train_sizes : array-like, default=(0.2, 0.4, 0.6, 0.8, 1.0)
            Shares or numbers of the training clips.
        n_jobs : int, default=None
            As in scikit-learn.
        random_state : int or None, default=0
            Seed of the parts.
        score_name : str, default="score"
            What is scored.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        ScoreLearningCurveDisplay
            Drawn; ``table`` holds ``size, score, sd, low, high, folds``.
        """
        from sklearn.model_selection import learning_curve

        sizes, _, scores = learning_curve(
            estimator,
            X,
            y,
            groups=groups,
            scoring=scoring,
            cv=cv,
            train_sizes=np.asarray(train_sizes),
            shuffle=True,
            n_jobs=n_jobs,
            random_state=random_state,
        )
        mean = scores.mean(axis=1)
        sd = scores.std(axis=1, ddof=1)
        facts = {
            "size": sizes,
            "score": mean,
            "sd": sd,
            "low": mean - sd,
            "high": mean + sd,
            "folds": scores.shape[1],
        }
        return cls(pd.DataFrame(facts), score_name=f"{score_name}, mean and sd of folds").plot(ax=ax)

    def plot(self, ax: Any = None) -> "ScoreLearningCurveDisplay":
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        ScoreLearningCurveDisplay
            Itself.
        """
        ax = self._start(ax, (6.0, 4.0))
        lines = [("", self.table)] if self.by is None else list(self.table.groupby(self.by, sort=False))
        spacing = np.ptp(self.table["size"]) / max(self.table["size"].nunique() - 1, 1)
        for i, (label, part) in enumerate(lines):
            part = part.sort_values("size")
            error = None
            if {"low", "high"} <= set(part):
                error = (part["score"] - part["low"], part["high"] - part["score"])
            # Side by side by a little, so that intervals at the same size can be told apart.
            shift = 0.06 * spacing * (i - (len(lines) - 1) / 2)
            ax.errorbar(
                part["size"] + shift,
                part["score"],
                yerr=error,
                capsize=3,
                color=SERIES_COLOURS[i % len(SERIES_COLOURS)],
                marker=SERIES_MARKERS[i % len(SERIES_MARKERS)],
                linestyle=SERIES_LINES[i % len(SERIES_LINES)],
                elinewidth=1,
                label=str(label) or None,
            )
        for name, level in (self.references or {}).items():
            ax.axhline(level, color="0.35", linewidth=1, linestyle=(0, (1, 2)))
            # On the left, where curves are low.
            ax.text(0, level, f" {name}", transform=ax.get_yaxis_transform(), fontsize=8, va="bottom")
            lowest, highest = ax.get_ylim()
            ax.set_ylim(top=max(highest, level + _ROOM_FOR_WORDS * (highest - lowest)))
        ax.set(xlabel=self.size_name, ylabel=self.score_name)
        if self.by is not None:
            write_legend(ax, beside=True, title=self.by)
        keep_labels_inside(ax)
        return self
