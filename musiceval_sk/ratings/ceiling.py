"""The human ceiling: how well raters agree, in the terms in which predictors are judged."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._ids import systems_if_named
from musiceval_sk._text import listed
from musiceval_sk.exceptions import RatingDesignError
from musiceval_sk.ratings.read import (
    RESAMPLED,
    columns_of,
    of_known_clips,
    read_ratings,
    with_systems,
)
from musiceval_sk.ratings.reliability import (
    Figure,
    intraclass_correlation,
    krippendorff_alpha,
    leave_one_rater_out,
    rater_table,
)
from musiceval_sk.ratings.split_half import SplitHalf, spearman_brown, split_half
from musiceval_sk.statistics.align import require_confidence

ANOTHER_PANEL = "another panel"
PERFECT = "perfect predictor"
_METRICS: dict[str, dict[str, Any]] = {
    "U_LCC": {"level": "clip", "correlation": "pearson"},
    "U_SRCC": {"level": "clip", "correlation": "spearman"},
    "S_LCC": {"level": "system", "correlation": "pearson"},
    "S_SRCC": {"level": "system", "correlation": "spearman"},
}
_BOUNDS = ("value", "low", "high")
_COLUMNS = ["target", "figure", "value", "low", "high", "n", "lowest", "highest", "note"]
_NOTHING = Figure(float("nan"), float("nan"), float("nan"), 0)


@dataclass(frozen=True, eq=False)
class HumanCeiling:
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

    def metrics(self) -> pd.DataFrame:
        """Lay the ceiling out as scores of predictors are laid out.

        Returns
        -------
        pandas.DataFrame
            Indexed by target and by who would reach it, "another panel" (as large as this one) and "perfect predictor"
            (of what endlessly many raters would say); columns U_LCC, U_SRCC, S_LCC, S_SRCC. nan where refused.
        """
        parts = self.table["figure"].str.extract(r"^(?P<metric>\w+), (?P<who>.*)$")
        chosen = parts["who"].isin([ANOTHER_PANEL, PERFECT])
        rows = self.table[["target", "value"]].join(parts)[chosen]
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
        rows = []
        for found in self.table.itertuples():
            metric, _, who = found.figure.partition(", ")
            if who == ANOTHER_PANEL and found.target in self.panels:
                for number in n_ratings:
                    factor = number / self.panels[found.target]
                    bounds = np.array(
                        [spearman_brown(r, factor) for r in (found.value, found.low, found.high)]
                    )
                    named = {"target": found.target, "metric": metric, "ratings": number}
                    for name, values in ((who, bounds), (PERFECT, np.sqrt(np.maximum(0, bounds)))):
                        rows.append(named | {"who": name} | dict(zip(_BOUNDS, values, strict=True)))
        columns = ["target", "metric", "who", "ratings", *_BOUNDS]
        table = pd.DataFrame(rows, columns=columns)
        return table.sort_values(["who"], kind="stable", ignore_index=True)

    def __str__(self) -> str:
        """Figures with intervals, and the reason for each that is missing."""
        lines = [f"Human ceiling; intervals at {self.confidence:.0%}"]
        for target, rows in self.table.groupby("target", sort=False):
            lines.append(f"\n{target}")
            refused = rows["value"].isna()
            width = rows["figure"].str.len().max()
            lines += [f"  {row.figure:<{width}}  {_words(row)}" for row in rows[~refused].itertuples()]
            metrics = rows["figure"].str.split(", ").str[0]
            in_part = metrics.isin(metrics[~refused])  # halves stand, and nothing can be made of them
            for reason, missing in rows[refused].groupby("note", sort=False):
                names = dict.fromkeys(missing["figure"].where(in_part, metrics))
                lines.append(f"  no {'; '.join(names)}: {reason}")
        return "\n".join(lines)


def human_ceiling(
    ratings: str | Path | pd.DataFrame,
    *,
    clips: pd.DataFrame | None = None,
    targets: Sequence[str] | None = None,
    scale: tuple[float, float] | None = (1, 5),
    rater: str | None = "rater",
    items: Sequence[str] = ("clip_id",),
    by: str = "rating",
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
    >>> print(str(ceiling).splitlines()[3])
      Krippendorff's alpha       0.833  n = 3
    """
    require_confidence(confidence)
    items = columns_of(items)
    table, chosen = read_ratings(ratings, targets, scale, rater=rater, items=items)
    table = with_systems(of_known_clips(table, clips, quiet=True), clips)
    if systems_if_named(table.drop_duplicates(items).set_index(items), RESAMPLED) is None:
        table = table.drop(columns="system", errors="ignore")  # warned of once, and not by each figure
    options = {
        "items": items,
        "confidence": confidence,
        "n_bootstrap": n_bootstrap,
        "random_state": random_state,
    }
    halving = {"by": by, "rater": rater, "n_splits": n_splits}
    rows, raters, panels = [], {}, {}
    for target in chosen:
        rows += [{"target": target, **row} for row in _figures(table, target, rater, options, halving)]
        listing, _ = _or_reason(
            functools.partial(rater_table, table, target, rater=rater, items=items, confidence=confidence)
        )
        if listing is not None:
            raters[target] = listing
        counts = table[table[target].notna()].groupby(items).size()
        if (counts > 1).any():
            panels[target] = float(counts[counts > 1].mean())
    return HumanCeiling(pd.DataFrame(rows, columns=_COLUMNS), raters, confidence, panels)


def _figures(
    table: pd.DataFrame,
    target: str,
    rater: str | None,
    options: dict[str, Any],
    halving: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    for name, figure in (
        ("Krippendorff's alpha", lambda: krippendorff_alpha(table, target, **options)),
        ("ICC(1,1)", lambda: intraclass_correlation(table, target, **options)),
        ("ICC(1,k)", lambda: intraclass_correlation(table, target, k=None, **options)),
        ("leave one rater out", lambda: leave_one_rater_out(table, target, rater=rater, **options)),
    ):
        found, note = _or_reason(figure)
        if found:
            k = f"k = {_ratings_an_item(table, target, options['items']):.2f}" if name == "ICC(1,k)" else ""
            note = "; ".join(filter(None, [k, found.note]))
        yield {"figure": name, **(found or _NOTHING)._asdict(), "note": note}
    for metric, level in _METRICS.items():
        halves, note = _or_reason(functools.partial(split_half, table, target, **level, **halving, **options))
        yield from _ceiling_rows(metric, halves, note)


def _ceiling_rows(metric: str, halves: SplitHalf | None, note: str) -> Iterator[dict[str, Any]]:
    """Halves, a whole panel, and the root of its reliability."""
    if halves is None:
        for who in ("halves", ANOTHER_PANEL, PERFECT):
            yield {"figure": f"{metric}, {who}", **_NOTHING._replace(note=note)._asdict()}
        return
    spread = {"lowest": halves.lowest, "highest": halves.highest}
    yield {"figure": f"{metric}, halves", **halves.halves._asdict(), **spread}
    value, low, high = (float(np.sqrt(bound)) for bound in halves.panel[:3])
    perfect = halves.panel._replace(value=value, low=low, high=high)
    for who, figure in ((ANOTHER_PANEL, halves.panel), (PERFECT, perfect)):
        yield {"figure": f"{metric}, {who}", **figure._asdict()}


def _or_reason(figure: Callable[[], Any]) -> tuple[Any, str]:
    try:
        return figure(), ""
    except RatingDesignError as refusal:
        return None, str(refusal)


def _ratings_an_item(table: pd.DataFrame, target: str, items: Sequence[str]) -> float:
    """k0 of the one-way analysis of variance."""
    counts = table[table[target].notna()].groupby(list(items)).size().to_numpy()
    return float((counts.sum() - (counts**2).sum() / counts.sum()) / (len(counts) - 1))


def _words(row: Any) -> str:
    words = f"{row.value:.3f}"
    if not np.isnan(row.low):
        words += f"  {row.low:.3f} to {row.high:.3f}"
    words += f"  n = {row.n}"
    if not np.isnan(row.lowest):
        words += f"; splits {row.lowest:.3f} to {row.highest:.3f}"
    return words + (f"; {row.note}" if row.note else "")
