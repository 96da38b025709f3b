"""Who rates what: groups of clips dealt to raters' batches, so that every batch is a small image of the whole test."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from musiceval_sk._text import counted
from musiceval_sk.exceptions import RatingDesignError

# How much even batches weigh beside even systems: at 1, prompts of few clips of one system would all fill up the smaller batches.
_WEIGHT_OF_SIZE = 0.2


def group_clips(clips: pd.DataFrame, most: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Part clips into groups that a rater hears one after another: one prompt, each system once at most.

    Parameters
    ----------
    clips : pandas.DataFrame
        Columns ``prompt`` and ``system``; clips without a prompt stand alone.
    most : int
        Most clips of a group; larger ones are halved, or cut into as many parts as it takes.
    rng : numpy.random.Generator
        Says which clips of a system meet which of another, where a prompt has several.

    Returns
    -------
    list of np.ndarray of int
        Positions of each group's clips.
    """
    mixed = clips.reset_index(drop=True).sample(frac=1, random_state=rng)
    turn = mixed.groupby(["prompt", "system"]).cumcount().where(mixed["system"] != "", 0)
    keys = [mixed["prompt"], np.where(mixed["prompt"] == "", mixed.index, turn)]
    groups = [group.index.to_numpy() for _, group in mixed.groupby(keys)]
    return [
        part
        for group in groups
        for part in np.array_split(
            group[np.argsort(clips.system.to_numpy()[group], kind="stable")], -(-len(group) // most)
        )
    ]


def deal_evenly(
    groups: Sequence[np.ndarray],
    kinds: np.ndarray,
    copies: int,
    per_trial: int,
    rng: np.random.Generator,
    *,
    n_raters: int,
    batch_size: int,
    n_batches: int | None,
) -> tuple[np.ndarray, int]:
    """Deal groups as `deal` does, to as few batches as will do, and let these exchange some.

    Parameters
    ----------
    groups, kinds, copies, n_raters, rng
        As `deal` takes them.
    per_trial : int
        Clips of a trial: 1, or 2 of pairs.
    batch_size : int
        Most trials in a batch.
    n_batches : int or None
        Batches of each rater; None for as many as it takes.

    Returns
    -------
    dealt : np.ndarray of int [shape=(n_groups, copies)]
        Batches of each group.
    n_batches : int
        Batches of each rater.

    Raises
    ------
    RatingDesignError
        If they do not fit, with the numbers that will do.
    """
    trials = sum(map(len, groups)) * copies // per_trial
    # Nobody hears a clip twice, so that each of its groups goes to raters of their own.
    least_raters = copies * int(np.bincount(np.concatenate(groups)).max())
    size = {"n_raters": n_raters, "batch_size": batch_size, "n_batches": n_batches or 1}

    def fit(n_raters: int, batch_size: int, n_batches: int) -> np.ndarray | None:
        return deal(groups, kinds, copies, n_raters, n_batches, batch_size * per_trial, rng)

    def enough(name: str) -> int | None:
        """Find the least number that will do in the place of one."""
        if name != "n_raters" and n_raters < least_raters:
            return None
        least = -(-trials * size[name] // math.prod(size.values()))
        least = max(least, least_raters if name == "n_raters" else 1)
        numbers = range(least, 2 * least + 2)
        return next((number for number in numbers if fit(**size | {name: number}) is not None), None)

    if n_batches is None:
        size["n_batches"] = enough("n_batches") or 1
    dealt = fit(**size)
    if dealt is None:
        names = [name for name in size if name != "n_batches" or n_batches]
        found = [f"{name}={number}" for name in names if (number := enough(name))]
        room = f"{counted(n_raters, 'rater')} of {counted(size['n_batches'], 'batch', 'batches')} of {batch_size}"
        product = (
            f"{trials // copies} clips x {copies} ratings = {trials}"
            if per_trial == 1
            else f"{trials} comparisons"
        )
        raise RatingDesignError(
            f"{product} do not fit {room}, where nobody hears a clip twice and prompts stay whole; "
            f"give {' or '.join(found) or 'more raters, larger or more batches, or fewer clips'}"
        )
    exchange(dealt, groups, kinds, size["n_batches"], batch_size * per_trial, rng)
    mix(dealt, groups, kinds, size["n_batches"], rng)
    return dealt, size["n_batches"]


def deal(
    groups: Sequence[np.ndarray],
    kinds: np.ndarray,
    copies: int,
    n_raters: int,
    n_batches: int,
    most: int,
    rng: np.random.Generator,
) -> np.ndarray | None:
    """Deal groups to batches, each to ``copies`` raters, none of whom gets a clip twice.

    The largest are dealt first, each to where there is least of its kinds yet: greedy descent on the sum of squares of the
    counts of kinds and of the sizes of batches. Of equals, raters who share fewer groups so far come first, so that any two
    raters have about as much in common.

    Parameters
    ----------
    groups : sequence of np.ndarray of int
        Clips of each group.
    kinds : np.ndarray of int [shape=(n_groups, n_kinds)]
        How often each group has what is to be balanced: its systems, its prompt.
    copies, n_raters, n_batches : int
        Raters a group; raters; batches of each.
    most : int
        Most clips in a batch.
    rng : numpy.random.Generator
        Decides between equals.

    Returns
    -------
    np.ndarray of int [shape=(n_groups, copies)] or None
        Batches of each group, numbered through: those of rater 0 first. None if there is no room left for one.
    """
    sizes = np.array(list(map(len, groups)))
    counts = np.zeros((n_raters * n_batches, kinds.shape[1]))
    load = np.zeros(n_raters * n_batches)
    heard = np.zeros((n_raters, 1 + max(group.max() for group in groups)), bool)
    shared = np.zeros((n_raters, n_raters))
    dealt = np.full((len(groups), copies), -1)
    # Groups alike are dealt one after another: a round of them leaves no batch behind.
    order = np.lexsort([rng.random(len(groups)), *kinds.T, -sizes])
    for group in order:
        held = np.flatnonzero(kinds[group])
        cost = (
            counts[:, held] @ kinds[group, held]
            + _WEIGHT_OF_SIZE * sizes[group] * load
            + rng.random(len(load)) / 1e3
        )
        cost[load + sizes[group] > most] = np.inf
        costs = cost.reshape(n_raters, n_batches)
        costs[heard[:, groups[group]].any(axis=1)] = np.inf
        place, least = costs.argmin(axis=1), costs.min(axis=1)
        for copy in range(copies):
            rater = least.argmin()
            if np.isinf(least[rater]):
                return None
            dealt[group, copy] = rater * n_batches + place[rater]
            least += shared[rater] / (1 + shared.max()) / 1e2
            least[rater] = np.inf
        raters = dealt[group] // n_batches
        shared[np.ix_(raters, raters)] += 1
        heard[np.ix_(raters, groups[group])] = True
        counts[dealt[group]] += kinds[group]
        load[dealt[group]] += sizes[group]
    return dealt


def exchange(
    dealt: np.ndarray,
    groups: Sequence[np.ndarray],
    kinds: np.ndarray,
    n_batches: int,
    most: int,
    rng: np.random.Generator,
    tries: int = 2000,
) -> None:
    """Let batches exchange groups, in place, while that evens out their kinds: where groups differ, dealing is not enough.

    The group that is furthest off in its batch goes where that lowers the sum of squares most.

    Parameters
    ----------
    dealt, groups, kinds, n_batches, most, rng
        As `deal` returns and takes them.
    tries : int, default=2000
        Most exchanges to look for, each among 500 others.
    """
    counted = np.column_stack([kinds, [len(group) for group in groups]])
    group, batch = np.repeat(np.arange(len(groups)), dealt.shape[1]), dealt.ravel()
    counts = np.zeros((batch.max() + 1, counted.shape[1]), int)
    np.add.at(counts, batch, counted[group])
    heard, taken = _heard(dealt, groups, n_batches)
    off = _off(counts, counted, group, batch)
    for _ in range(tries):
        one = off.argmax()
        if off[one] < 1:
            break
        others = rng.integers(len(group), size=500)
        own, their = batch[one], batch[others]
        change = counted[group[others]] - counted[group[one]]
        gain = (change * (counts[own] - counts[their] + change)).sum(axis=1)
        growth = change[:, -1]
        barred = (counts[own, -1] + growth > most) | (counts[their, -1] - growth > most)
        rater, theirs = own // n_batches, their // n_batches
        barred |= (theirs != rater) & (taken[theirs, group[one]] | taken[rater, group[others]])
        best = np.where(barred, 0, gain).argmin()
        if barred[best] or gain[best] >= 0:
            off[one] = 0
            continue
        other = others[best]
        counts[own] += change[best]
        counts[their[best]] -= change[best]
        _swap(heard, taken, groups, (rater, theirs[best]), (group[one], group[other]))
        batch[one], batch[other] = batch[other], batch[one]
        moved = np.isin(batch, batch[[one, other]])
        off[moved] = _off(counts, counted, group[moved], batch[moved])
    dealt[:] = batch.reshape(dealt.shape)


def mix(
    dealt: np.ndarray,
    groups: Sequence[np.ndarray],
    kinds: np.ndarray,
    n_batches: int,
    rng: np.random.Generator,
) -> None:
    """Let raters swap groups of the same kinds, in place, for any two of them to share about as many clips.

    So no part of the panel stands apart from the rest, as a model of raters' bias needs it.

    Parameters
    ----------
    dealt, groups, kinds, n_batches, rng
        As `deal` returns and takes them.
    """
    group, batch = np.repeat(np.arange(len(groups)), dealt.shape[1]), dealt.ravel()
    heard, taken = _heard(dealt, groups, n_batches)
    shared = heard.astype(int) @ heard.T
    alike = np.unique(np.column_stack([kinds, list(map(len, groups))]), axis=0, return_inverse=True)[
        1
    ].ravel()
    for one, other in rng.integers(len(group), size=(min(20 * len(group), 20_000), 2)):
        ours, theirs = group[one], group[other]
        rater, mate = batch[one] // n_batches, batch[other] // n_batches
        if rater == mate or alike[ours] != alike[theirs] or taken[mate, ours] or taken[rater, theirs]:
            continue
        change = heard[:, groups[theirs]].sum(axis=1) - heard[:, groups[ours]].sum(axis=1)
        change[[rater, mate]] = 0
        # Of the sum of squares of what two raters share.
        if (change * (shared[rater] - shared[mate] + change)).sum() < 0:
            for who, sign in ((rater, 1), (mate, -1)):
                shared[who] += sign * change
                shared[:, who] += sign * change
            _swap(heard, taken, groups, (rater, mate), (ours, theirs))
            batch[one], batch[other] = batch[other], batch[one]
    dealt[:] = batch.reshape(dealt.shape)


def _heard(dealt: np.ndarray, groups: Sequence[np.ndarray], n_batches: int) -> tuple[np.ndarray, np.ndarray]:
    """Say which clips each rater gets, and of which groups they get any."""
    heard = np.zeros((dealt.max() // n_batches + 1, 1 + max(group.max() for group in groups)), bool)
    for group, batches in zip(groups, dealt, strict=True):
        heard[np.ix_(batches // n_batches, group)] = True
    return heard, np.array([_taken(row, groups) for row in heard])


def _taken(heard: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    starts = np.cumsum([0, *map(len, groups[:-1])])
    return np.logical_or.reduceat(heard[np.concatenate(groups)], starts)


def _swap(
    heard: np.ndarray,
    taken: np.ndarray,
    groups: Sequence[np.ndarray],
    raters: tuple[int, int],
    swapped: tuple[int, int],
) -> None:
    """Take note that two raters swap a group each."""
    for rater, gone, come in ((*raters[:1], *swapped), (*raters[1:], *swapped[::-1])):
        heard[rater, groups[gone]] = False
        heard[rater, groups[come]] = True
    for rater in raters:
        taken[rater] = _taken(heard[rater], groups)


def _off(counts: np.ndarray, counted: np.ndarray, group: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """How far each group's batch is from the mean of all in what the group holds, at most."""
    return (np.abs(counts - counts.mean(axis=0))[batch] * (counted[group] > 0)).max(axis=1)
