"""What all displays share: where they draw, what they are made from, and means of systems with their intervals."""

import io
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from musiceval_sk._ids import id_texts, warn_of_skipped
from musiceval_sk._optional import import_optional
from musiceval_sk._text import counted, listed
from musiceval_sk.datasets.readers import numbers, require_columns
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.ratings.aggregate import aggregate_ratings
from musiceval_sk.reporting.plots.labels import fit_labels, name_ticks
from musiceval_sk.statistics.align import clips_of, in_order_of, systems_in_order, validate

# Okabe and Ito's palette, safe for colour-blind readers. https://jfly.uni-koeln.de/color/
INK, BLUE, ACCENT = "#000000", "#0072b2", "#d55e00"
GREY = "0.55"  # the lightest with a contrast of 3 to 1 on white
DOTS = {"marker": ".", "linestyle": "none", "color": BLUE, "alpha": 0.4, "markersize": 4}
DIAMONDS = {"marker": "D", "markerfacecolor": ACCENT, "markeredgecolor": INK, "markersize": 5}


class Display:
    """Base of the displays: where it was drawn, and how a notebook shows it."""

    _named_axis: ClassVar[str | None] = None

    def plot(self, ax: Any = None) -> Any:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure, as large as number and names of the systems ask for.

        Returns
        -------
        Display
            Itself.

        Raises
        ------
        ValueError
            If there are too few systems, or the display was given intervals, an order or a width that do not serve.
        """
        self._draw(ax)
        self._fit_labels()
        return self

    def _draw(self, ax: Any) -> None:
        raise NotImplementedError

    def _fit_labels(self) -> None:
        fit_labels(self.ax_, self._named_axis)

    def _start(self, ax: Any, size: tuple[float, float]) -> Any:
        """Make axes of ``size`` inches unless there are some."""
        if ax is None:
            backend = "matplotlib.backends.backend_agg"
            agg = import_optional(backend, extra="report", purpose="Drawing figures")
            from matplotlib.figure import Figure

            ax = agg.FigureCanvasAgg(Figure(figsize=size, layout="constrained")).figure.subplots()
        self.ax_, self.figure_ = ax, ax.figure
        return ax

    def _start_rows(self, ax: Any, systems: Sequence[Any]) -> Any:
        """Make axes with a named row for each system, the first on top."""
        names = [str(system) for system in systems]
        ax = self._start(ax, (5.0 + 0.06 * max(map(len, names)), 1.6 + 0.24 * len(names)))
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.set_ylabel("system, best on top")
        name_ticks(ax, names, "y", range(len(names)))
        return ax

    def _repr_png_(self) -> bytes | None:
        if not hasattr(self, "figure_"):
            return None
        picture = io.BytesIO()
        self.figure_.canvas.figure.savefig(picture, format="png")
        return picture.getvalue()


class PredictionDisplay(Display):
    """Base of the displays that are made ``from_predictions``."""

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, systems: Any = None, target: str | None = None, **options: Any
    ) -> Any:
        """Predict and draw.

        Parameters
        ----------
        estimator : estimator
            Fitted, on other clips than these: on its training data any figure flatters.
        X : array-like or pandas.DataFrame [shape=(n, n_features)]
            Features of clips.
        y : array-like [shape=(n,)] or pandas.DataFrame
            True scores, in the order of X or, where both are indexed by the same clip ids, in any; of a DataFrame with several
            columns, ``target`` names the one to draw.
        systems : array-like or pandas.Series, default=None
            The system of each clip, see `evaluate`; only a calibration can do without.
        target : str, default=None
            The column of ``y`` and of the predictions.
        **options
            Passed to ``from_predictions``: ``ax``, ``name``, ``confidence`` and the like.

        Returns
        -------
        Display
            Drawn.

        Raises
        ------
        ValueError
            If one column of several must be named, predictions and ``y`` have different columns, or X and ``y`` are about
            different clips.
        """
        several = np.ndim(y) == 2
        columns = list(getattr(y, "columns", range(np.shape(y)[1]))) if several else [target]
        if target is None and len(columns) == 1:
            target = columns[0]
        if target not in columns:
            raise ValueError(f"y has the columns {listed(columns)}: choose one with target=, got {target!r}")
        predicted = np.asarray(estimator.predict(X), dtype=float)
        predicted = predicted.reshape(len(predicted), -1)
        if predicted.shape[1] != len(columns):
            words = f"the estimator predicts {predicted.shape[1]} columns, y has shape {np.shape(y)}"
            advice = "give y with the columns that it was fitted on, and target= to choose one"
            raise ValueError(f"{words}: {advice}")
        predicted = predicted[:, columns.index(target)]
        truth = getattr(y, "iloc", np.asarray(y))[:, columns.index(target)] if several else y
        if isinstance(X, pd.DataFrame):
            predicted = in_order_of(clips_of(y=truth), pd.Series(predicted, index=X.index), "X")
        return cls.from_predictions(truth, np.asarray(predicted), systems=systems, **options)  # type: ignore[attr-defined]


def rated_clips(
    clips: pd.DataFrame, target: str, *, ratings: Any = None, by_system: bool = True
) -> pd.DataFrame:
    """Clips that have a score, and a system where ``by_system``; says so where there are none."""
    if ratings is not None:
        mos = aggregate_ratings(ratings, clips=clips, targets=[target])
        clips = clips.drop(columns=target, errors="ignore").join(mos[target])
    require_columns(clips, [target, *(["system"] if by_system else [])])
    rated = clips.assign(**{target: numbers(clips, target)}).dropna(subset=[target])
    if rated.empty:
        raise ClipsTableError(f"none of {len(clips)} clips has a score in column {target!r}: nothing to draw")
    if not by_system:
        return rated
    rated = rated.assign(system=id_texts(rated["system"]))
    nameless = rated["system"] == ""
    if nameless.all():
        raise ClipsTableError(f"none of {len(rated)} clips with a score names its system")
    if nameless.any():
        what = counted(nameless.sum(), "clip that names", "clips that name")
        warn_of_skipped(f"left out {what} no system", rated.index[nameless], stacklevel=3)
    return rated[~nameless]


def compared(y_true: Any, y_pred: Any, systems: Any, *, by_system: bool = True) -> pd.DataFrame:
    """Lay out one row a clip: ``truth``, ``prediction`` and, where given, ``system``, which ``by_system`` demands."""
    if by_system and systems is None:
        raise ValueError("give systems=, the system of each clip, such as clips['system']")
    truth, prediction = validate(y_true, y_pred)
    clips = clips_of(y_true=y_true, y_pred=y_pred, systems=systems)
    index = None if clips is None else clips.index
    table = pd.DataFrame({"truth": truth, "prediction": prediction}, index=index)
    if systems is not None:
        table["system"] = systems_in_order(clips, systems, len(table))
    return table


def name_of(y_true: Any, name: str | None) -> str:
    """Name what is scored: as given, else as a Series is called."""
    return name or getattr(y_true, "name", None) or "score"


def check_intervals(
    intervals: pd.DataFrame, index: pd.Index, columns: Sequence[str] = ("low", "high")
) -> pd.DataFrame:
    """Bring given intervals into the order of ``index``, or say what they lack."""
    require_columns(intervals, columns)
    unknown = index.difference(intervals.index)
    if len(unknown):
        raise ValueError(f"intervals say nothing about: {listed(unknown)}")
    return intervals.loc[index, list(columns)].astype(float)


def require_two_systems(what: str, systems: pd.Index) -> None:
    """Raise where there is nothing to compare."""
    if len(systems) < 2:
        raise ValueError(f"{what} needs at least 2 systems, got {len(systems)}: {listed(systems)}")


def draw_means(ax: Any, table: pd.DataFrame, places: Any, **style: Any) -> None:
    """Draw the ``mean`` of each row of systems as a diamond, or in another style, with its interval."""
    error = (table["mean"] - table["low"], table["high"] - table["mean"])
    style = DIAMONDS | {"linestyle": "none", "color": INK, "capsize": 2} | style
    ax.errorbar(table["mean"], places, xerr=error, **style)


def draw_diagonal(ax: Any, values: np.ndarray, bounds: Sequence[Any], label: str) -> None:
    """Draw where both axes agree, between limits of the values, and of bounds as far as they do not dwarf the values."""
    room = max(float(np.ptp(values)), 0.2) / 2
    ends = np.concatenate([values, *bounds])
    ends = ends[np.isfinite(ends)].clip(values.min() - room, values.max() + room)
    margin = 0.08 * max(float(np.ptp(ends)), 0.2)
    limits = (ends.min() - margin, ends.max() + margin)
    ax.plot(limits, limits, "--", color=GREY, linewidth=1, label=label)
    ax.set(xlim=limits, ylim=limits, aspect="equal")
    ax.set_xticks([tick for tick in ax.get_yticks() if limits[0] <= tick <= limits[1]])
    ax.set_yticks(ax.get_xticks())


def spread_out(count: int, half_width: float) -> Any:
    """Offsets that keep dots of one row apart without drawing a pattern: multiples of the golden ratio."""
    return (np.arange(count) * 0.6180339887 % 1 - 0.5) * 2 * half_width if count > 1 else np.zeros(count)
