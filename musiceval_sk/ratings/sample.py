"""The ratings of one target as numbered items and raters, and a figure with its interval."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from musiceval_sk.exceptions import RatingDesignError
from musiceval_sk.ratings.read import codes_of, columns_of, name_raters, read_ratings, warn_of_slots
from musiceval_sk.statistics.unit_bootstrap import interval_of


class Figure(NamedTuple):
    """A figure with its interval, and a note on what of them there is not."""

    value: float
    low: float
    high: float
    n: int
    note: str = ""


class RatingSample(NamedTuple):
    """The ratings of one target, items and raters numbered."""

    items: np.ndarray
    scores: np.ndarray
    raters: np.ndarray
    rater_names: pd.Index
    table: pd.DataFrame


def figure_of_sums(
    summands: np.ndarray,
    figure: Callable[[np.ndarray], np.ndarray],
    confidence: float,
    n_bootstrap: int,
    random_state: int | None,
    systems: np.ndarray | None = None,
    units: str = "items",
) -> Figure:
    """Work out a figure from sums over units, one row a unit, with its interval over units, or over their systems."""
    n_units = len(summands)

    def of_counts(counts: np.ndarray) -> np.ndarray:
        return figure(counts @ summands)

    low, high, note = interval_of(n_units, of_counts, confidence, n_bootstrap, random_state, systems, units)
    return Figure(float(figure(summands.sum(0)[None])[0]), low, high, n_units, note)


def sample_of(
    ratings: pd.DataFrame, target: str, items: Sequence[str], rater: str | None, purpose: str = ""
) -> RatingSample:
    """Take the ratings of one target, items and raters numbered; raters are looked at only where they have a ``purpose``."""
    columns = columns_of(items)
    table, _ = read_ratings(ratings, [target], None, rater=rater if purpose else None, items=columns)
    names = name_raters(table, rater, purpose) if purpose else None
    given = table[target].notna()
    table = table[given]
    if table.empty:
        raise RatingDesignError(f"{target}: there are no ratings")
    codes, _ = codes_of(table, columns)
    if names is not None:
        warn_of_slots(names[given], codes)
    raters, rater_names = pd.factorize(table.index * 0 if names is None else names[given])
    return RatingSample(codes, table[target].to_numpy(), raters, pd.Index(rater_names), table)


def moments(sample: RatingSample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, sum and sum of squares of each item's ratings, around the mean of all so that no digits are lost."""
    centred = sample.scores - sample.scores.mean()
    total, squares = (np.bincount(sample.items, weights) for weights in (centred, centred**2))
    return np.bincount(sample.items), total, squares


def require_pairs(paired: np.ndarray, target: str, purpose: str) -> None:
    """Refuse a design in which no item has two ratings."""
    if not paired.any():
        raise RatingDesignError(
            f"{target}: each of the {len(paired)} items has one rating, so nothing tells noise from quality; {purpose} needs "
            "items rated at least twice"
        )
