"""The human ceiling: how well raters agree, in the terms in which predictors are judged."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._ids import systems_if_named
from musiceval_sk._text import Shown, Table, listed
from musiceval_sk.exceptions import RatingDesignError
from musiceval_sk.ratings.bias import rater_table
from musiceval_sk.ratings.read import RESAMPLED, checked_ratings, columns_of, of_known_clips, with_systems
from musiceval_sk.ratings.reliability import (
    Figure,
    intraclass_correlation,
    krippendorff_alpha,
    leave_one_rater_out,
    spearman_brown,
    split_half,
)
from musiceval_sk.statistics.align import require_confidence

ANOTHER_PANEL = "another panel"
PERFECT = "perfect predictor"
_METRICS = {
    "U_LCC": ("clip", "pearson"),
    "U_SRCC": ("clip", "spearman"),
    "S_LCC": ("system", "pearson"),
    "S_SRCC": ("system", "spearman"),
}
_BOUNDS = ["value", "low", "high"]
_COLUMNS = ["target", "figure", *_BOUNDS, "n", "note", "lowest", "highest"]


@dataclass(frozen=True, eq=False, repr=False)
class HumanCeiling(Shown):
    """Reliability of ratings, and what it lets a predictor reach.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a target and figure: ``target``, ``figure``, ``value``, ``low``, ``high``, ``n`` (items, systems or
        raters), ``lowest`` and ``highest`` (range over random splits, where there are any) and ``note``, which holds
        the reason where a figure that the ratings cannot carry, or its interval, is nan.
    raters : dict of str to pandas.DataFrame
        By target, the table that `rater_table` makes; empty where raters are unknown.
    confidence : float
        Nominal coverage of the intervals.
    panels : dict of str to float
        By target, how many ratings an item has, mean over the items with two or more: the length of the panel whose
        reliability split halves are stepped up to.
    """

    table: pd.DataFrame
    raters: dict[str, pd.DataFrame] = field(repr=False)
    confidence: float = 0.95
    panels: dict[str, float] = field(default_factory=dict)

    def _headline(self) -> str:
        targets = ", ".join(map(str, self.table["target"].unique()))
        return f"how far raters of {targets} agree; intervals at {self.confidence:.0%}"

    def metrics(self) -> pd.DataFrame:
        """Lay the ceiling out as scores of predictors are laid out.

        Returns
        -------
        pandas.DataFrame
            Indexed by target and by who would reach it, "another panel" (as large as this one) and "perfect predictor"
            (of what endlessly many raters would say); columns U_LCC, U_SRCC, S_LCC, S_SRCC. nan where refused.
        """
        rows = self._by_metric()
        wide = rows.pivot(index=["target", "who"], columns="metric", values="value")
        order = pd.MultiIndex.from_product([rows["target"].unique(), [ANOTHER_PANEL, PERFECT]])
        return wide.reindex(index=order.set_names(["target", "who"]), columns=list(_METRICS))

    def by_ratings(self, n_ratings: Sequence[float] = (1, 2, 3, 5, 10, 20)) -> pd.DataFrame:
        """Work out what the ceiling would be if every item had another number of ratings.

        Parameters
        ----------
        n_ratings : sequence of float, default=(1, 2, 3, 5, 10, 20)
            Ratings an item, above 0; also more than there are.

        Returns
        -------
        pandas.DataFrame
            One row a target, metric (U_LCC, U_SRCC, S_LCC, S_SRCC), ``who`` as in `metrics`, and number of ``ratings``: ``value``,
            ``low`` and ``high``; nan where the figure was refused.

        Raises
        ------
        ValueError
            If a number of ratings is not above 0.

        Notes
        -----
        The reliability of the panel, and the ends of its interval, are stepped up or down by Spearman and Brown. Items and
        systems stay the same, as does the kind of rater. For Spearman's correlation, and for items with unequal numbers of
        ratings, that is an approximation.
        """
        wrong = [number for number in n_ratings if not number > 0]
        if wrong:
            raise ValueError(f"a number of ratings must be above 0; got {listed(wrong)}")
        panels = self._by_metric()[["target", "metric", "who", *_BOUNDS]]
        panels = panels[(panels["who"] == ANOTHER_PANEL) & panels["target"].isin(list(self.panels))]
        table = panels.merge(pd.DataFrame({"ratings": list(n_ratings)}), how="cross")
        factor = table["ratings"] / table["target"].map(self.panels).astype(float)
        for bound in _BOUNDS:
            stepped = [spearman_brown(r, times) for r, times in zip(table[bound], factor, strict=True)]
            table[bound] = np.array(stepped, dtype=float)
        perfect = table.assign(who=PERFECT, **np.sqrt(table[_BOUNDS].clip(lower=0)))
        columns = ["target", "metric", "who", "ratings", *_BOUNDS]
        return pd.concat([table, perfect], ignore_index=True)[columns]

    def _by_metric(self) -> pd.DataFrame:
        """Rows of the table that are levels of a metric, with ``metric`` and ``who``."""
        parts = self.table["figure"].str.extract(r"^(?P<metric>\w+), (?P<who>.*)$")
        return self.table.join(parts)[parts["who"].isin([ANOTHER_PANEL, PERFECT])]

    def _parts(self) -> list[str]:
        """Figures with intervals, and the reason for each that is missing."""
        parts = [f"Human ceiling; intervals at {self.confidence:.0%}"]
        for target, rows in self.table.groupby("target", sort=False):
            refused = rows["value"].isna()
            shown = rows[~refused].drop(columns="target").set_index("figure").rename_axis(None)
            parts.append(f"\n{target}")
            if len(shown):
                parts.append(Table(shown, float_format="{:.3f}".format, na_rep=""))
            metrics = rows["figure"].str.split(", ").str[0]
            in_part = metrics.isin(metrics[~refused])  # halves stand, and nothing can be made of them
            for reason, missing in rows[refused].groupby("note", sort=False):
                names = missing["figure"].where(in_part, metrics).unique()
                parts.append(f"no {'; '.join(names)}: {reason}")
        return parts


def human_ceiling(
    ratings: str | Path | pd.DataFrame,
    *,
    clips: pd.DataFrame | None = None,
    targets: Sequence[str] | None = None,
    scale: tuple[float, float] | None = (1, 5),
    rater: str | None = "rater",
    items: Sequence[str] = ("clip_id",),
    by: str = "rating",
    model: str = "bias",
    n_splits: int = 100,
    confidence: float = 0.95,
    n_bootstrap: int = 1000,
    random_state: int | None = 0,
) -> HumanCeiling:
    """Work out how reliable ratings are, all figures in one table.

    Parameters
    ----------
    ratings : str, Path or pandas.DataFrame
        Long table, one row a rating; a file is CSV, TSV or JSON Lines.
    clips : pandas.DataFrame, default=None
        Clips table: ratings of other clips are left aside, and its ``system`` is used. Without it, a column
        ``system`` of the ratings.
    targets : sequence of str, default=None
        Score columns; by default those of ``impression`` and ``alignment`` that are there.
    scale : (float, float) or None, default=(1, 5)
        Lowest and highest score that a rater could give; None accepts any number.
    rater : str or None, default="rater"
        Column of raters; None where nobody knows who gave a rating.
    items : sequence of str, default=("clip_id",)
        Columns that together name what was rated.
    by : {"rating", "rater"}, default="rating"
        How `split_half` makes halves.
    model : {"bias", "random_effects", "mle"}, default="bias"
        Model that tells the raters' biases, see `aggregate_ratings`.
    n_splits : int, default=100
        Number of random splits.
    confidence : float in (0, 1), default=0.95
        Nominal coverage of the intervals.
    n_bootstrap : int, default=1000
        Number of bootstrap draws, where systems are unknown; 0 gives no intervals.
    random_state : int or None, default=0
        Seed.

    Returns
    -------
    HumanCeiling
        A table of figures with intervals, and the rater tables. A figure that the design cannot carry is nan, with the
        reason beside it.

    Raises
    ------
    ClipsTableError
        If the table cannot be read, or no rating is left.

    Warns
    -----
    UserWarning
        If some clips have no system, which are named: intervals then resample clips as if they were independent, and there are no
        S figures.

    Notes
    -----
    Two ceilings are shown, and they are not the same. *Another panel* of as many raters would correlate with these scores by
    their reliability, the split halves stepped up. A *perfect predictor* of what endlessly many raters would say correlates
    by the square root of that: the scores' noise remains, its own is gone. A predictor may therefore pass another panel
    honestly, and above the second figure something is wrong. For Spearman's correlation both are approximations.

    Examples
    --------
    >>> ratings = pd.DataFrame({"rater": list("ABABAB"), "clip_id": list("xxyyzz"), "impression": [1, 2, 3, 3, 5, 4]})
    >>> ceiling = human_ceiling(ratings, n_bootstrap=0)
    >>> print(ceiling.table.loc[0, ["figure", "value", "n"]].tolist())
    ["Krippendorff's alpha", 0.8333333333333334, 3]
    """
    require_confidence(confidence)
    items = columns_of(items)
    table, chosen = checked_ratings(ratings, targets, scale, rater=rater, items=items)
    table = with_systems(of_known_clips(table, clips, quiet=True), clips)
    if systems_if_named(table.drop_duplicates(items).set_index(items), RESAMPLED) is None:
        table = table.drop(columns="system", errors="ignore")  # warned of once, and not by each figure
    options: dict[str, Any] = {"items": items, "confidence": confidence}
    drawing = {"n_bootstrap": n_bootstrap, "random_state": random_state}
    halving = {"by": by, "n_splits": n_splits}
    rows, raters, panels = [], {}, {}
    for target in chosen:
        figures = _figures(table, target, rater, options | drawing, halving)
        rows += [(target, name, *figure, *spread) for name, figure, *spread in figures]
        with contextlib.suppress(RatingDesignError):
            raters[target] = rater_table(table, target, rater=rater, model=model, **options)
        counts = table[table[target].notna()].groupby(items).size()
        if (counts > 1).any():
            panels[target] = float(counts[counts > 1].mean())
    figures = pd.DataFrame(rows, columns=_COLUMNS)
    return HumanCeiling(figures[[*_COLUMNS[:6], "lowest", "highest", "note"]], raters, confidence, panels)


def _figures(
    table: pd.DataFrame, target: str, rater: str | None, options: dict[str, Any], halving: dict[str, Any]
) -> Iterator[tuple[str, Figure, float, float]]:
    """Names of figures, the figures, and the ends of their range over splits."""
    for name, figure in (
        ("Krippendorff's alpha", krippendorff_alpha),
        ("ICC(1,1)", intraclass_correlation),
        ("ICC(1,k)", functools.partial(intraclass_correlation, k=None)),
        ("leave one rater out", functools.partial(leave_one_rater_out, rater=rater)),
    ):
        yield name, _or_reason(figure, table, target, **options), np.nan, np.nan
    for metric, (level, correlation) in _METRICS.items():
        halve = functools.partial(split_half, level=level, correlation=correlation, rater=rater, **halving)
        found = _or_reason(halve, table, target, **options)
        halves, lowest, highest, panel, _ = (
            (found, np.nan, np.nan, found, np.nan) if isinstance(found, Figure) else found
        )
        yield f"{metric}, halves", halves, lowest, highest
        yield f"{metric}, {ANOTHER_PANEL}", panel, np.nan, np.nan
        yield f"{metric}, {PERFECT}", Figure(*np.sqrt(panel[:3]).tolist(), *panel[3:]), np.nan, np.nan


def _or_reason(figure: Callable[..., Any], *ratings: Any, **options: Any) -> Any:
    """Work out a figure; without one, give the reason in its note."""
    try:
        return figure(*ratings, **options)
    except RatingDesignError as refusal:
        return Figure(np.nan, np.nan, np.nan, 0, str(refusal))
