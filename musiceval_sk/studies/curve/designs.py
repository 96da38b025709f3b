"""What is cut from the training part of a fold: clips, systems, ratings a clip, or clips and ratings for one sum of ratings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import listed

GROWS = ("clips", "systems", "ratings", "budget")
_HALVINGS = (1.0, 0.5, 0.25, 0.125)
# Smaller parts are not tried unless somebody asks for them.
_LEAST = {"clips": 10, "systems": 2, "ratings": 1}


@dataclass(frozen=True)
class Amounts:
    """How much there is to cut from.

    Attributes
    ----------
    clips, systems : int
        Clips and systems in the smallest training part; no systems where clips do not name them.
    ratings : float
        Ratings a clip, mean; nan without a ratings table.
    most_ratings : int
        The largest number of ratings that a clip has; 0 without a ratings table.
    """

    clips: int
    systems: int
    ratings: float
    most_ratings: int


@dataclass(frozen=True)
class Design:
    """One size of the training data.

    Attributes
    ----------
    grows : {"clips", "systems", "ratings", "budget"}
        What a line of such designs is about.
    clips, systems : int, float or None
        A number, or a share of each fold's training part; None is all.
    ratings : int or None
        Most ratings a clip; None is all.
    budget : int or None
        Sum of ratings that clips and ratings were chosen for.
    """

    grows: str
    clips: int | float | None = None
    systems: int | float | None = None
    ratings: int | None = None
    budget: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out, so that repeats would all be the same."""
        return self.clips is None and self.systems is None and self.ratings is None

    def rows(self, train: np.ndarray, systems: np.ndarray | None, seed: Sequence[int]) -> np.ndarray:
        """Choose the training rows of a fold.

        Parameters
        ----------
        train : np.ndarray of int
            All training rows.
        systems : np.ndarray [shape=(n,)] or None
            The system of every row of the table.
        seed : sequence of int
            Seed of this repeat and fold; sizes share it, so that a smaller part lies within a larger one.

        Returns
        -------
        np.ndarray of int
            The rows kept, in the order of `train`.
        """
        kept = np.ones(len(train), dtype=bool)
        rng = np.random.default_rng(seed)
        clips_in_order = rng.permutation(len(train))
        if self.clips is not None:
            kept[:] = False
            kept[clips_in_order[: _amount(self.clips, len(train))]] = True
        if self.systems is not None and systems is not None:
            names = rng.permutation(np.unique(systems[train].astype(str)))
            kept &= np.isin(systems[train].astype(str), names[: _amount(self.systems, len(names))])
        return train[kept]


def make_designs(grows: Sequence[str], sizes: Any, amounts: Amounts) -> list[Design]:
    """List the sizes of each line, smallest first.

    Parameters
    ----------
    grows : sequence of str
        Names out of `GROWS`.
    sizes : sequence of int or float, mapping of str to such, or None
        Numbers (int) or shares of what there is (float up to 1), of everything or by name.
    amounts : Amounts
        What there is.

    Returns
    -------
    list of Design
        Line by line; of a budget, by the sum and then by ratings a clip.

    Raises
    ------
    ValueError
        If a size is not above 0, or more than there is.
    """
    designs = []
    for name in grows:
        asked = sizes.get(name) if isinstance(sizes, Mapping) else sizes
        make = _of_budget if name == "budget" else _of_one
        designs += make(name, asked, amounts)
    return designs


def nested_ratings(clip_ids: pd.Series, seed: Sequence[int]) -> np.ndarray:
    """Count each clip's ratings from 0 in random order [shape=(n_ratings,)]: those below r are r of its ratings."""
    order = np.random.default_rng(seed).permutation(len(clip_ids))
    numbers = np.empty(len(order), dtype=int)
    numbers[order] = clip_ids.iloc[order].groupby(clip_ids.iloc[order], sort=False).cumcount()
    return numbers


def _of_one(name: str, asked: Any, amounts: Amounts) -> list[Design]:
    total = {"clips": amounts.clips, "systems": amounts.systems, "ratings": amounts.ratings}[name]
    if asked is None and name == "ratings":
        asked = _ratings_to_try(amounts)
    elif asked is None:
        asked = [share for share in _HALVINGS if share == 1 or share * total >= _LEAST[name]]
    most = amounts.most_ratings if name == "ratings" else total
    _check_sizes(name, asked, most)
    if name == "ratings":
        numbers = {amounts.most_ratings if _is_all(size) else _amount(size, total) for size in asked}
        return [Design(name, ratings=_ratings_or_all(number, amounts)) for number in sorted(numbers)]
    ordered = sorted(asked, key=lambda size: (_amount(size, total), _is_all(size)))
    distinct = {_amount(size, total): size for size in ordered}.values()
    parts = [None if _is_all(size) else size for size in distinct]
    if name == "clips":
        return [Design(name, clips=part) for part in parts]
    return [Design(name, systems=part) for part in parts]


def _of_budget(name: str, asked: Any, amounts: Amounts) -> list[Design]:
    """For each sum of ratings, every number of ratings a clip that it and the clips allow."""
    tried = _ratings_to_try(amounts)
    total = round(amounts.clips * amounts.ratings)
    if asked is None:
        asked = [amounts.clips * number for number in tried[:-1]]
    _check_sizes(name, asked, total)
    designs = []
    for budget in sorted({_amount(size, total) for size in asked}):
        for number in tried:
            clips = budget // number
            if 2 <= clips <= amounts.clips:
                ratings = _ratings_or_all(number, amounts)
                designs.append(Design(name, clips=clips, ratings=ratings, budget=budget))
    return designs


def _ratings_or_all(number: int, amounts: Amounts) -> int | None:
    return None if number >= amounts.most_ratings else number


def _ratings_to_try(amounts: Amounts) -> list[int]:
    """Halve the largest number of ratings a clip, rounded up, down to one."""
    numbers = [amounts.most_ratings]
    while numbers[0] > 1:
        numbers.insert(0, -(-numbers[0] // 2))
    return numbers


def _check_sizes(name: str, asked: Any, most: float) -> None:
    if isinstance(asked, str) or not isinstance(asked, Sequence | np.ndarray) or not len(asked):
        raise ValueError(f"sizes of {name} must be a list of numbers or of shares up to 1.0; got {asked!r}")
    wrong = [size for size in asked if not 0 < size <= (1 if _is_share(size) else most)]
    if wrong:
        what = {"ratings": "ratings a clip", "budget": "ratings in all"}.get(name, f"training {name}")
        raise ValueError(
            f"sizes of {name}: {listed(wrong)}; give shares above 0 and up to 1.0, or whole numbers from 1 to {most:g}, the number "
            f"of {what} that every fold can give"
        )


def _is_all(size: Any) -> bool:
    return _is_share(size) and size == 1


def _is_share(size: Any) -> bool:
    return isinstance(size, float | np.floating)


def _amount(size: int | float, total: float) -> int:
    """Turn a share into a number, at least 1."""
    return max(1, round(size * total)) if _is_share(size) else int(size)
