"""What a search over parameters found."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.reporting.plots.names import name_ticks
from musiceval_sk.reporting.plots.style import ACCENT, BLUE, INK, Display, brief, keep_labels_inside, lay_out


class SearchResultsDisplay(Display):
    """Mean score over folds by one parameter (a line) or two (a table of shades with the scores in figures).

    Where other parameters were searched too, each place shows the best over them. The bars of a line are the standard
    deviation of folds, not a confidence interval; and the best of many candidates is too good by what luck gave it.

    Parameters
    ----------
    results : pandas.DataFrame
        One row a candidate: a column for each parameter, ``mean`` and ``sd`` of the score over folds.
    parameters : sequence of str
        One or two to draw.
    score_name : str, default="score"
        What is scored; greater is better.

    Attributes
    ----------
    shown_ : pandas.DataFrame
        The best candidate at each place: the parameters drawn, ``mean`` and ``sd``.
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure around it.
    """

    def __init__(self, results: pd.DataFrame, parameters: Sequence[str], score_name: str = "score"):
        self.results = results
        self.parameters = parameters
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        search: Any,
        parameters: Sequence[str] | None = None,
        *,
        metric: str = "score",
        score_name: str = "score",
        ax: Any = None,
    ) -> "SearchResultsDisplay":
        """Draw a fitted search.

        Parameters
        ----------
        search : estimator
            Fitted: `GridSearchCV`, `FusedGridSearchCV` and the like, with ``cv_results_``.
        parameters : sequence of str, default=None
            One or two parameters; by default those that vary, when they are no more than two.
        metric : str, default="score"
            Name of the metric, where the search had several.
        score_name : str, default="score"
            What to call it on the axis.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        SearchResultsDisplay
            Drawn.

        Raises
        ------
        ValueError
            If the search is not fitted, or parameters or metric are not among its results.
        """
        if not hasattr(search, "cv_results_"):
            raise ValueError(f"{type(search).__name__} has no cv_results_: fit the search before drawing it")
        return cls.from_cv_results(
            search.cv_results_, parameters, metric=metric, score_name=score_name, ax=ax
        )

    @classmethod
    def from_cv_results(
        cls,
        cv_results: Mapping[str, Any],
        parameters: Sequence[str] | None = None,
        *,
        metric: str = "score",
        score_name: str = "score",
        ax: Any = None,
    ) -> "SearchResultsDisplay":
        """Draw the ``cv_results_`` of a search.

        Parameters
        ----------
        cv_results : mapping or pandas.DataFrame
            With ``param_<name>``, ``mean_test_<metric>`` and ``std_test_<metric>``.
        parameters : sequence of str, default=None
            One or two parameters; by default those that vary, when they are no more than two.
        metric : str, default="score"
            Name of the metric, where the search had several.
        score_name : str, default="score"
            What to call it on the axis.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        SearchResultsDisplay
            Drawn.

        Raises
        ------
        ValueError
            If parameters or metric are not among the results, or no candidate has a score.
        """
        if f"mean_test_{metric}" not in cv_results:
            known = [name[len("mean_test_") :] for name in cv_results if name.startswith("mean_test_")]
            raise ValueError(f"the results hold no metric {metric!r}; found: {listed(known)}")
        columns = {
            name[len("param_") :]: list(values)
            for name, values in cv_results.items()
            if name.startswith("param_")
        }
        chosen = _chosen(columns, parameters)
        columns |= {
            "mean": list(cv_results[f"mean_test_{metric}"]),
            "sd": list(cv_results[f"std_test_{metric}"]),
        }
        results = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
        results[["mean", "sd"]] = results[["mean", "sd"]].astype(float)
        if results["mean"].isna().all():
            raise ValueError(f"none of {len(results)} candidates has a score: every fit or score failed")
        return cls(results, chosen, score_name).plot(ax=ax)

    def plot(self, ax: Any = None) -> "SearchResultsDisplay":
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        SearchResultsDisplay
            Itself.
        """
        values = [_ordered(self.results[name]) for name in self.parameters]
        keyed = self.results.assign(
            **{f"place_{i}": self.results[name].map(brief) for i, name in enumerate(self.parameters)}
        ).dropna(subset=["mean"])
        places = [f"place_{i}" for i in range(len(values))]
        best = keyed.loc[keyed.groupby(places)["mean"].idxmax()].set_index(places)
        self.shown_ = best[[*self.parameters, "mean", "sd"]].reset_index(drop=True)
        others = [name for name in self.results if name not in (*self.parameters, "mean", "sd")]
        varied = [name for name in others if self.results[name].map(str).nunique() > 1]
        if len(values) == 1:
            self._draw_line(ax, best, values[0])
        else:
            self._draw_table(ax, best, values[0], values[1])
        if varied:
            self.ax_.set_title(f"best over {', '.join(varied)}", fontsize=9, parse_math=False)
        keep_labels_inside(self.ax_)
        return self

    def _draw_line(self, ax: Any, best: pd.DataFrame, values: list[str]) -> None:
        ax = self._start(ax, (max(4.5, 0.5 * len(values) + 1.5), 3.8))
        shown = best.reindex(values)
        style = {"fmt": "o-", "color": BLUE, "ecolor": INK, "capsize": 3}
        ax.errorbar(range(len(values)), shown["mean"], yerr=shown["sd"], **style)
        top = int(np.nanargmax(shown["mean"]))
        ax.plot(
            [top],
            [shown["mean"].iloc[top]],
            "*",
            color=ACCENT,
            markersize=14,
            markeredgecolor=INK,
            label="best",
        )
        ax.legend(frameon=False, fontsize=8)
        ax.set_xlim(-0.5, len(values) - 0.5)
        ax.set(ylabel=f"{self.score_name}, mean and sd of folds")
        ax.set_xlabel(self.parameters[0], parse_math=False)
        name_ticks(ax, values, axis="x")

    def _draw_table(self, ax: Any, best: pd.DataFrame, rows: list[str], columns: list[str]) -> None:
        ax = self._start(ax, (max(4.5, 0.75 * len(columns) + 2.0), max(2.6, 0.5 * len(rows) + 1.5)))
        means = best["mean"].unstack().reindex(index=rows, columns=columns).to_numpy(dtype=float)
        image = ax.imshow(means, cmap="cividis", aspect="auto")
        top = np.unravel_index(np.nanargmax(means), means.shape)
        from matplotlib.patches import Rectangle

        corner = (float(top[1]) - 0.5, float(top[0]) - 0.5)
        ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=ACCENT, linewidth=3))
        # Names on one side take room from the other: rows are fitted again once columns have theirs.
        for names, axis in ((rows, "y"), (columns, "x"), (rows, "y")):
            name_ticks(ax, names, axis=axis)
        ax.set_ylabel(self.parameters[0], parse_math=False)
        ax.set_xlabel(
            f"{self.parameters[1]} (in the cells: {self.score_name}, mean of folds)", parse_math=False
        )
        lay_out(ax)
        frame = ax.get_window_extent()
        room = min(frame.width / len(columns) / 3.2, frame.height / len(rows) / 1.4) * 72 / ax.figure.dpi
        for (i, j), mean in np.ndenumerate(means):
            dark = np.isfinite(mean) and np.mean(image.cmap(image.norm(mean))[:3]) < 0.5
            ax.text(
                j,
                i,
                f"{mean:.2f}" if np.isfinite(mean) else "-",
                ha="center",
                va="center",
                fontsize=max(4.0, min(9.0, room)),
                color="white" if dark else INK,
                fontweight="bold" if (i, j) == top else "normal",
            )


def _chosen(columns: dict[str, list[Any]], parameters: Sequence[str] | None) -> list[str]:
    if parameters is None:
        parameters = [name for name, values in columns.items() if len(set(map(str, values))) > 1]
        parameters = parameters or list(columns)[:1]
    chosen = [parameters] if isinstance(parameters, str) else list(parameters)
    unknown = [name for name in chosen if name not in columns]
    if unknown:
        raise ValueError(f"parameter(s) {listed(unknown)} were not searched; found: {listed(columns)}")
    if len(chosen) not in (1, 2) or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"one or two different parameters can be drawn, not {len(chosen)}: choose with parameters= from {listed(chosen)}"
        )
    return chosen


def _ordered(values: pd.Series) -> list[str]:
    """Values as text: numbers ascending, anything else in order of appearance."""
    known = list(values)
    if all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in known):
        known.sort()
    return list(dict.fromkeys(map(brief, known)))
