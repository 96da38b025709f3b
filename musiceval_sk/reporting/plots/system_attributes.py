"""What kinds of systems there are (Figure 4 of the MusicEval paper)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._ids import id_texts
from musiceval_sk._text import listed
from musiceval_sk.datasets.readers import require_columns
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.reporting.plots.names import name_ticks
from musiceval_sk.reporting.plots.style import HATCHES, INK, LIGHT_FILLS, Display, brief, keep_labels_inside

_UNKNOWN = "not known"
_ROOM_BETWEEN = 0.3


class SystemAttributesDisplay(Display):
    """Number of systems by each value of their attributes, one block of bars an attribute.

    The paper draws pies; bars from one baseline can be compared by length, hold names of any length and need no colour.

    Parameters
    ----------
    systems : pandas.DataFrame
        One row a system, one column an attribute. An empty cell counts as "not known".
    most_values : int, default=8
        Bars an attribute may have. A column of numbers with more values is cut into ``most_values // 2`` ranges of equal
        width, of any other column the rarest values are put together as "others".

    Attributes
    ----------
    counts_ : pandas.Series
        Number of systems, indexed by ``attribute`` and ``value``.
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure around it.
    """

    def __init__(self, systems: pd.DataFrame, most_values: int = 8):
        self.systems = systems
        self.most_values = most_values

    @classmethod
    def from_systems(
        cls,
        systems: pd.DataFrame,
        attributes: Sequence[str] | None = None,
        *,
        most_values: int = 8,
        ax: Any = None,
    ) -> "SystemAttributesDisplay":
        """Draw a table of systems.

        Parameters
        ----------
        systems : pandas.DataFrame
            One row a system.
        attributes : sequence of str, default=None
            Columns to draw; by default all.
        most_values : int, default=8
            Bars an attribute may have.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        SystemAttributesDisplay
            Drawn.

        Raises
        ------
        ClipsTableError
            If a column is missing, or there is none or no system.
        """
        chosen = list(systems.columns if attributes is None else attributes)
        require_columns(systems, chosen)
        if not chosen or systems.empty:
            raise ClipsTableError(
                f"nothing to draw: {len(systems)} systems with {len(chosen)} attribute columns"
            )
        return cls(systems[chosen], most_values).plot(ax=ax)

    @classmethod
    def from_clips(
        cls, clips: pd.DataFrame, attributes: Sequence[str], *, most_values: int = 8, ax: Any = None
    ) -> "SystemAttributesDisplay":
        """Draw columns of a clips table that say something of the systems.

        Parameters
        ----------
        clips : pandas.DataFrame
            With ``system`` and the attributes.
        attributes : sequence of str
            Columns that hold one value for all clips of a system.
        most_values : int, default=8
            Bars an attribute may have.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        SystemAttributesDisplay
            Drawn.

        Raises
        ------
        ClipsTableError
            If a column is missing, or an attribute differs between clips of a system.
        """
        require_columns(clips, ["system", *attributes])
        clips = clips.assign(system=id_texts(clips["system"])).query("system != ''")
        varied = clips.groupby("system")[list(attributes)].nunique(dropna=False) > 1
        if varied.to_numpy().any():
            offenders = [
                f"{name!r} within {system!r}" for name in varied for system in varied.index[varied[name]]
            ]
            raise ClipsTableError(
                f"an attribute must be the same for all clips of a system, but these differ: {listed(offenders)}"
            )
        systems = clips.drop_duplicates("system").set_index("system")[list(attributes)]
        return cls.from_systems(systems, most_values=most_values, ax=ax)

    def plot(self, ax: Any = None) -> "SystemAttributesDisplay":
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure, as large as the bars and their names ask for.

        Returns
        -------
        SystemAttributesDisplay
            Itself.
        """
        counted = {
            str(attribute): _count(self.systems[attribute], self.most_values) for attribute in self.systems
        }
        self.counts_ = pd.concat(counted, names=["attribute", "value"]).rename("systems")
        names: list[str] = []
        headings: list[bool] = []
        positions: list[float] = []
        longest = max(len(text) for pair in self.counts_.index for text in pair)
        rows = len(self.counts_) + (1 + _ROOM_BETWEEN) * len(counted)
        ax = self._start(ax, (4.5 + 0.06 * longest, 0.9 + 0.24 * rows))
        for i, (attribute, counts) in enumerate(counted.items()):
            # The attribute's name is a line of its own, above its values.
            top = positions[-1] + 1 + _ROOM_BETWEEN if positions else 0.0
            places = list(top + 1 + np.arange(len(counts)))
            style = {"color": LIGHT_FILLS[i % len(LIGHT_FILLS)], "hatch": HATCHES[i % len(HATCHES)]}
            bars = ax.barh(places, counts, height=0.75, edgecolor=INK, linewidth=0.5, **style)
            ax.bar_label(bars, padding=3, fontsize=8)
            names += [attribute, *counts.index]
            positions += [top, *places]
            headings += [True] + [False] * len(counts)
        ax.set_ylim(positions[-1] + 0.6, -0.6)
        ax.set_xlim(0, 1.2 * self.counts_.max())
        ax.set_xlabel(f"number of systems, of {len(self.systems)}")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.tick_params(axis="y", length=0)
        name_ticks(ax, names, axis="y", positions=positions)
        for label, is_heading in zip(ax.get_yticklabels(), headings, strict=True):
            label.set_fontweight("bold" if is_heading else "normal")
        keep_labels_inside(ax)
        return self


def _count(values: pd.Series, most_values: int) -> pd.Series:
    """Systems by value: numbers ascending, text by frequency, what is not known last."""
    values = values.where(values.astype(str).str.strip() != "")
    known = values.dropna()
    if pd.api.types.is_bool_dtype(known) or not pd.api.types.is_numeric_dtype(known):
        counts = known.astype(str).value_counts()
        if len(counts) > most_values:
            rest = counts.iloc[most_values - 1 :]
            counts = pd.concat(
                [counts.iloc[: most_values - 1], pd.Series({f"{len(rest)} others": rest.sum()})]
            )
    elif known.nunique() > most_values:
        edges = np.linspace(known.min(), known.max(), max(2, most_values // 2) + 1)
        found = pd.cut(known, edges, include_lowest=True, labels=False)
        labels = [f"{brief(low)} to {brief(high)}" for low, high in zip(edges[:-1], edges[1:], strict=True)]
        counts = pd.Series(np.bincount(found.astype(int), minlength=len(labels)), index=labels)
    else:
        counts = known.value_counts().sort_index()
        counts.index = [f"{value:g}" for value in counts.index]
    if len(known) < len(values):
        counts = pd.concat([counts, pd.Series({_UNKNOWN: len(values) - len(known)})])
    return counts
