"""Reading and checking ratings tables: what every room that works on raw ratings begins with."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.datasets._tables import (
    numbers,
    place_of,
    read_table,
    require_columns,
    require_scale,
    source_of,
)
from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.exceptions import ClipsTableError, RatingDesignError


def read_ratings(
    ratings: str | Path | pd.DataFrame,
    targets: Sequence[str] | None,
    scale: tuple[float, float] | None,
    *,
    rater: str | None = "rater",
    items: Sequence[str] = ("clip_id",),
) -> tuple[pd.DataFrame, list[str]]:
    """Read ratings into a table of its own, scores as checked floats, items as text; and name its targets."""
    table = ratings.copy() if isinstance(ratings, pd.DataFrame) else read_table(ratings)
    if rater is not None and rater not in table and "slot" in table:
        raise ClipsTableError(
            f"{source_of(table)}there is no column {rater!r}, and 'slot' numbers the ratings of a clip, not "
            "persons; give rater=None where nobody knows who gave a rating"
        )
    require_columns(table, [*([] if rater is None else [rater]), *items])
    if table.empty:
        raise ClipsTableError("the ratings table is empty")
    chosen = list(targets or [name for name in TARGETS if name in table])
    if not chosen:
        raise ClipsTableError(f"{source_of(table)}no target columns; looked for {listed(TARGETS)}")
    require_columns(table, chosen)
    for target in chosen:
        table[target] = numbers(table, target)
        require_scale(table, target, scale)
    for item in items:
        table[item] = table[item].fillna("").astype(str).str.strip()
    return table, chosen


def columns_of(items: str | Sequence[str]) -> list[str]:
    """List the columns that make an item; one may be given bare."""
    return [items] if isinstance(items, str) else list(items)


def name_raters(table: pd.DataFrame, rater: str | None, purpose: str) -> pd.Series:
    """Raters as text; a design without raters, or with nameless ones, is refused."""
    if rater is None:
        raise RatingDesignError(
            f"{source_of(table)}{purpose} needs to know who gave each rating, and rater=None says that nobody does: "
            "slots of a clip are not raters, the first slot of two clips being two persons"
        )
    names = table[rater].fillna("").astype(str).str.strip()
    nameless = names.index[names == ""]
    if len(nameless):
        places = listed(place_of(table, row) for row in nameless)
        raise ClipsTableError(
            f"{source_of(table)}{len(nameless)} ratings name no rater: {places}. Name them, leave them out, or "
            "give rater=None where nobody knows who gave a rating"
        )
    return names


def warn_of_slots(names: pd.Series, items: np.ndarray) -> None:
    """Say so if raters look like positions: numbered without gaps, and every one of them at every item."""
    raters = pd.unique(names)
    n_raters, n_items = len(raters), items.max() + 1
    numbered = {str(n) for n in range(n_raters)}, {str(n) for n in range(1, n_raters + 1)}
    if n_raters > 1 and n_items > n_raters and set(raters) in numbered and len(names) == n_raters * n_items:
        warnings.warn(
            f"raters are numbered {min(raters, key=int)} to {max(raters, key=int)} and each rated all {n_items} items: if these are "
            "slots of an item and not persons, give rater=None, since figures of raters mean nothing then",
            UserWarning,
            stacklevel=4,
        )


def codes_of(table: pd.DataFrame, columns: Sequence[str]) -> tuple[np.ndarray, pd.Index]:
    """Assign numbers to the distinct values of one or several columns in order of appearance."""
    if len(columns) == 1:
        codes, names = pd.factorize(table[columns[0]])
        return codes, pd.Index(names, name=columns[0])
    groups = table.groupby(list(columns), sort=False, dropna=False)
    return groups.ngroup().to_numpy(), groups.size().index


def systems_of_items(
    table: pd.DataFrame, clips: pd.DataFrame | None, items: Sequence[str], codes: np.ndarray
) -> np.ndarray | None:
    """Find the system of each numbered item, from the clips table or the ratings' own column; None where unnamed."""
    if clips is not None and "system" in clips and "clip_id" in items:
        system = table["clip_id"].map(clips["system"])
    elif "system" in table:
        system = table["system"]
    else:
        return None
    _, first = np.unique(codes, return_index=True)
    systems = system.iloc[first].fillna("").astype(str).to_numpy()
    return None if (systems == "").any() else systems


def several_systems(
    table: pd.DataFrame, clips: pd.DataFrame | None, items: Sequence[str], codes: np.ndarray
) -> np.ndarray | None:
    """Find the number of each item's system; None where one is unnamed, or all are the same."""
    systems = systems_of_items(table, clips, items, codes)
    numbers = np.zeros(1, dtype=int) if systems is None else pd.factorize(systems)[0]
    return numbers if numbers.any() else None
