"""Reading and checking ratings tables: what every room that works on raw ratings begins with."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from musiceval_sk._ids import id_texts, match_ids, near_misses, systems_if_named, warn_of_skipped
from musiceval_sk._text import counted, listed
from musiceval_sk.datasets import readers
from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.exceptions import ClipsTableError, RatingDesignError
from musiceval_sk.ratings import formats

RESAMPLED = "clips are resampled as if they were independent, and intervals say nothing of other systems"


def checked_ratings(
    ratings: str | Path | pd.DataFrame,
    targets: Sequence[str] | None,
    scale: tuple[float, float] | None,
    *,
    rater: str | None = "rater",
    items: Sequence[str] = ("clip_id",),
    others: Sequence[str] = (),
) -> tuple[pd.DataFrame, list[str]]:
    """Read ratings into a table of its own, scores as checked floats, items as text; and name its targets.

    ``others`` are columns with a meaning of their own, which are no scores.
    """
    if isinstance(ratings, pd.DataFrame):
        table = readers.with_known_names(ratings.copy(), targets)
    else:
        own = {name: name for name in (rater, *items) if name not in (None, *readers.KNOWN)}
        table = formats.read_ratings(ratings, targets=targets, columns=own)
    if rater is not None and rater not in table and "slot" in table:
        raise ClipsTableError(
            f"{readers.source_of(table)}there is no column {rater!r}, and 'slot' numbers the ratings of a clip, not "
            "persons; give rater=None where nobody knows who gave a rating"
        )
    readers.require_columns(table, [*([] if rater is None else [rater]), *items])
    if table.empty:
        raise ClipsTableError("the ratings table is empty")
    chosen = list(targets or [name for name in TARGETS if name in table])
    if not chosen:
        raise ClipsTableError(
            f"{readers.source_of(table)}no target columns; looked for {listed(TARGETS)}{readers.how_to_name(readers.unused_scores(table, []))}"
        )
    readers.require_columns(table, chosen)
    if not targets:
        readers.warn_of_unused_scores(
            table.drop(columns=[*others, rater or "", *items], errors="ignore"), chosen, scale
        )
    readers.take_scores(table, chosen, scale)
    for item in items:
        table[item] = id_texts(table[item])
    if "clip_id" in items:
        readers.require_filled(table, "clip_id")
        readers.require_unique(table[["clip_id"]].drop_duplicates(), "clip_id")
    return table, chosen


def of_known_clips(
    table: pd.DataFrame,
    clips: pd.DataFrame | None,
    columns: Sequence[str] = ("clip_id",),
    what: str = "rating",
    *,
    quiet: bool = False,
) -> pd.DataFrame:
    """Give ratings, or pairs, the clip ids of the clips table, and leave out those of other clips with a warning."""
    if clips is None:
        return table
    readers.require_columns(table, columns)
    places = {name: match_ids(table[name], clips.index) for name in columns}
    known = np.logical_and.reduce([place >= 0 for place in places.values()])
    strangers = pd.unique(np.concatenate([table[name][place < 0] for name, place in places.items()]))
    near = near_misses(strangers, clips.index)
    if not known.any():
        raise ClipsTableError(
            f"{readers.source_of(table)}no {what} belongs to a clip of the clips table; {what}s name {listed(strangers)}, clips are "
            f"{listed(clips.index)}{near}"
        )
    if len(strangers) and not quiet:
        count = f"{counted((~known).sum(), what)} of {counted(len(strangers), 'unknown clip')}"
        warn_of_skipped(f"{readers.source_of(table)}left out {count}", strangers, near, stacklevel=3)
    return table[known].assign(**{name: clips.index[place[known]] for name, place in places.items()})


def columns_of(items: str | Sequence[str]) -> list[str]:
    """List the columns that make an item; one may be given as text."""
    return [items] if isinstance(items, str) else list(items)


def name_raters(table: pd.DataFrame, rater: str | None, purpose: str) -> pd.Series:
    """Raters as text; a design without raters, or with nameless ones, is refused."""
    if rater is None:
        raise RatingDesignError(
            f"{readers.source_of(table)}{purpose} needs to know who gave each rating, and rater=None says that nobody does: "
            "slots of a clip are not raters, the first slot of two clips being two persons"
        )
    readers.require_filled(
        table,
        rater,
        ". Name the raters, leave these ratings out, or give rater=None where nobody knows who gave a rating",
    )
    return pd.Series(id_texts(table[rater]), index=table.index)


def warn_of_slots(names: pd.Series, items: np.ndarray) -> None:
    """Say so if raters look like positions: numbered without gaps, and every one of them at every item."""
    raters = pd.unique(names)
    n_raters, n_items = len(raters), items.max() + 1
    numbered = {str(n) for n in range(n_raters)}, {str(n) for n in range(1, n_raters + 1)}
    if n_raters > 1 and n_items > n_raters and set(raters) in numbered and len(names) == n_raters * n_items:
        warnings.warn(
            f"raters are numbered {min(raters, key=int)} to {max(raters, key=int)} and each rated all {n_items} items: if these are "
            "slots of an item and not persons, give rater=None, since figures of raters mean nothing then",
            stacklevel=4,
        )


def codes_of(table: pd.DataFrame, columns: Sequence[str]) -> tuple[np.ndarray, pd.Index]:
    """Assign numbers to the distinct values of one or several columns in order of appearance."""
    if len(columns) == 1:
        codes, names = pd.factorize(table[columns[0]])
        return codes, pd.Index(names, name=columns[0])
    groups = table.groupby(list(columns), sort=False, dropna=False)
    return groups.ngroup().to_numpy(), groups.size().index


def with_systems(table: pd.DataFrame, clips: pd.DataFrame | None) -> pd.DataFrame:
    """Give ratings the systems of a clips table, where it names any, in the place of their own."""
    if clips is None or "system" not in clips or "clip_id" not in table:
        return table
    places = match_ids(table["clip_id"], clips.index)
    return table.assign(system=clips["system"].iloc[places].where(places >= 0).to_numpy())


class RatingSample(NamedTuple):
    """The ratings of one target, items and raters numbered in order of appearance; ``rated`` has one row an item."""

    items: np.ndarray
    scores: np.ndarray
    raters: np.ndarray
    rater_names: pd.Index
    rated: pd.DataFrame

    def systems(self) -> np.ndarray | None:
        """Find the number of each item's system; None where one is unnamed, which is warned of, or all are the same."""
        named = systems_if_named(self.rated, RESAMPLED)
        numbers = np.zeros(1, dtype=int) if named is None else pd.factorize(named)[0]
        return numbers if numbers.any() else None


def sample_of(
    ratings: pd.DataFrame,
    target: str,
    items: str | Sequence[str],
    clips: pd.DataFrame | None = None,
    *,
    rater: str | None = None,
    purpose: str = "",
) -> RatingSample:
    """Take the ratings of one target; raters are looked at only where they have a ``purpose``."""
    columns = columns_of(items)
    table, _ = checked_ratings(ratings, [target], None, rater=rater if purpose else None, items=columns)
    names = name_raters(table, rater, purpose) if purpose else pd.Series("", index=table.index)
    given = table[target].notna()
    table, names = with_systems(table[given], clips), names[given]
    if table.empty:
        raise RatingDesignError(f"{target}: there are no ratings")
    numbers, _ = codes_of(table, columns)
    warn_of_slots(names, numbers)
    raters, rater_names = pd.factorize(names)
    rated = table.drop_duplicates(columns).set_index(columns)
    return RatingSample(numbers, table[target].to_numpy(), raters, pd.Index(rater_names), rated)
