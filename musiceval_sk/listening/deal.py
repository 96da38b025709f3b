"""Who rates what, and in which order: groups of clips dealt to raters' batches, so that every batch is a small image of the whole test."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

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
    mixed = clips.set_axis(range(len(clips))).sample(frac=1, random_state=rng)
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
    """Deal groups to as few batches as will do, each to ``copies`` raters, none of whom gets a clip twice, and let these exchange some.

    Parameters
    ----------
    groups, kinds, copies
        As `deal` takes them.
    per_trial : int
        Clips of a trial: 1, or 2 of pairs.
    rng : numpy.random.Generator
        Source of chance.
    n_raters : int
        Raters, to be shared out over the batches.
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

    def fit(n_raters: int, batch_size: int, n_batches: int) -> "Deal | None":
        made = Deal(groups, kinds, copies, n_raters, n_batches, batch_size * per_trial, rng)
        return made if made.fill() else None

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
    dealt.exchange()
    dealt.mix()
    _leave_nobody_out(dealt.batches, n_raters, size["n_batches"])
    return dealt.batches, size["n_batches"]


def _leave_nobody_out(batches: np.ndarray, n_raters: int, n_batches: int) -> None:
    """Give a rater without trials the last batch of one who has most, as long as that one keeps another."""
    filled = np.isin(np.arange(n_raters * n_batches), batches).reshape(n_raters, n_batches)
    for idle in np.flatnonzero(~filled.any(axis=1)):
        giver = filled.sum(axis=1).argmax()
        *others, last = np.flatnonzero(filled[giver])
        if others:
            batches[batches == giver * n_batches + last] = idle * n_batches
            filled[giver, last] = False


class Deal:
    """Which batches have which groups, and what each rater hears in them.

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

    Attributes
    ----------
    batches : np.ndarray of int [shape=(n_groups, copies)]
        Batches of each group, numbered through: those of rater 0 first.
    """

    def __init__(
        self,
        groups: Sequence[np.ndarray],
        kinds: np.ndarray,
        copies: int,
        n_raters: int,
        n_batches: int,
        most: int,
        rng: np.random.Generator,
    ):
        self._groups, self._n_batches, self._most, self._rng = groups, n_batches, most, rng
        # What a group adds to a batch, and each batch has: of each kind, and clips in all.
        self._held = np.column_stack([kinds, [len(group) for group in groups]])
        self._counts = np.zeros((n_raters * n_batches, self._held.shape[1]))
        self._clips = np.concatenate(groups)
        self._heard = np.zeros((n_raters, 1 + self._clips.max()), bool)
        self.batches = np.empty((len(groups), copies), int)
        # By place, each group with each of its batches.
        self._group, self._batch = np.repeat(np.arange(len(groups)), copies), self.batches.ravel()
        self._starts = np.cumsum([0, *self._held[:-1, -1]])

    def fill(self) -> bool:
        """Deal the largest groups first, each to where there is least of its kinds yet, and say whether there was room.

        That is greedy descent on the sum of squares of the counts of kinds and of the sizes of batches. Of equals, raters who share
        fewer groups so far come first, so that any two raters have about as much in common.
        """
        n_raters = len(self._heard)
        shared = np.zeros((n_raters, n_raters))
        weights = np.append(np.ones(self._held.shape[1] - 1), _WEIGHT_OF_SIZE)
        sizes = self._held[:, -1]
        # Groups alike are dealt one after another: a round of them leaves no batch behind.
        order = np.lexsort([self._rng.random(len(sizes)), *self._held.T, -sizes])
        for group in order:
            clips, held = self._groups[group], np.flatnonzero(self._held[group])
            cost = self._counts[:, held] @ (weights * self._held[group])[held]
            cost += self._rng.random(len(cost)) / 1e3
            cost[self._counts[:, -1] + sizes[group] > self._most] = np.inf
            costs = cost.reshape(n_raters, self._n_batches)
            costs[self._heard[:, clips].any(axis=1)] = np.inf
            place, least = costs.argmin(axis=1), costs.min(axis=1)
            for copy in range(self.batches.shape[1]):
                rater = least.argmin()
                if np.isinf(least[rater]):
                    return False
                self.batches[group, copy] = rater * self._n_batches + place[rater]
                least += shared[rater] / (1 + shared.max()) / 1e2
                least[rater] = np.inf
            raters = self.batches[group] // self._n_batches
            shared[np.ix_(raters, raters)] += 1
            self._heard[np.ix_(raters, clips)] = True
            self._counts[self.batches[group]] += self._held[group]
        self._taken = np.array([self._groups_of(rater) for rater in range(n_raters)])
        return True

    def exchange(self, tries: int = 2000) -> None:
        """Let batches exchange groups while that evens out their kinds: where groups differ, dealing is not enough.

        The group that is furthest off in its batch goes where that lowers the sum of squares most, of 500 others.
        """
        group, batch, counts = self._group, self._batch, self._counts
        off = self._off(slice(None))
        for _ in range(tries):
            one = off.argmax()
            if off[one] < 1:
                break
            others = self._rng.integers(len(group), size=500)
            own, their = batch[one], batch[others]
            change = self._held[group[others]] - self._held[group[one]]
            gain, growth = (change * (counts[own] - counts[their] + change)).sum(axis=1), change[:, -1]
            barred = (counts[own, -1] + growth > self._most) | (counts[their, -1] - growth > self._most)
            rater, theirs = own // self._n_batches, their // self._n_batches
            twice = self._taken[theirs, group[one]] | self._taken[rater, group[others]]
            barred |= (theirs != rater) & twice
            gain[barred] = np.inf
            best = gain.argmin()
            if gain[best] >= 0:
                off[one] = 0
                continue
            counts[own] += change[best]
            counts[their[best]] -= change[best]
            self._swap(one, others[best])
            moved = np.isin(batch, [own, their[best]])
            off[moved] = self._off(moved)

    def mix(self) -> None:
        """Let raters swap groups of the same kinds, for any two of them to share about as many clips.

        So no part of the panel stands apart from the rest, as a model of raters' bias needs it.
        """
        group, batch, heard = self._group, self._batch, self._heard
        shared = heard.astype(int) @ heard.T
        alike = np.unique(self._held, axis=0, return_inverse=True)[1].ravel()
        for one, other in self._rng.integers(len(group), size=(min(20 * len(group), 20_000), 2)):
            ours, theirs = group[one], group[other]
            rater, mate = batch[one] // self._n_batches, batch[other] // self._n_batches
            if rater == mate or alike[ours] != alike[theirs]:
                continue
            if self._taken[mate, ours] or self._taken[rater, theirs]:
                continue
            change = heard[:, self._groups[theirs]].sum(axis=1) - heard[:, self._groups[ours]].sum(axis=1)
            change[[rater, mate]] = 0
            # Of the sum of squares of what two raters share.
            if (change * (shared[rater] - shared[mate] + change)).sum() < 0:
                for who, sign in ((rater, 1), (mate, -1)):
                    shared[who] += sign * change
                    shared[:, who] += sign * change
                self._swap(one, other)

    def _groups_of(self, rater: int) -> np.ndarray:
        """Tell of which groups a rater hears any clip."""
        return np.logical_or.reduceat(self._heard[rater, self._clips], self._starts)

    def _swap(self, one: Any, other: Any) -> None:
        """Let the groups of two places change their batches, and take note of what their raters hear then."""
        places = [one, other]
        groups, raters = self._group[places], self._batch[places] // self._n_batches
        self._batch[places] = self._batch[places[::-1]]
        if raters[0] == raters[1]:
            return
        for rater, gone, come in zip(raters, groups, groups[::-1], strict=True):
            self._heard[rater, self._groups[gone]] = False
            self._heard[rater, self._groups[come]] = True
            self._taken[rater] = self._groups_of(rater)

    def _off(self, places: Any) -> np.ndarray:
        """How far the batches of places are from the mean of all in what the group holds, at most."""
        far = np.abs(self._counts - self._counts[: self._batch.max() + 1].mean(axis=0))
        return (far[self._batch[places]] * (self._held[self._group[places]] > 0)).max(axis=1)


def order_batch(
    trials: list[dict[str, Any]],
    probes: list[dict[str, Any]],
    prompts: list[str],
    n_duplicates: int,
    doubled: Counter,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Put the trials of a batch in order.

    Parameters
    ----------
    trials, probes : list of dict
        Trials in any order; probes are not doubled.
    prompts : list of str
        The prompt of each trial, then of each probe; those without one stand alone.
    n_duplicates : int
        How many to double, each at least half the batch later, between two prompts.
    doubled : collections.Counter
        How often each trial was doubled so far; those least often are taken. It is counted on.
    rng : numpy.random.Generator
        Mixes prompts, and the trials of each.

    Returns
    -------
    list of dict
        Trials in order.

    Raises
    ------
    RatingDesignError
        If the batch is too short for its doubled trials.
    """
    everything = trials + probes
    blocks: dict[Any, list[int]] = {}
    for place in rng.permutation(len(everything)):
        blocks.setdefault(prompts[place] or int(place), []).append(int(place))
    order = [place for block in rng.permutation(len(blocks)) for place in list(blocks.values())[block]]
    # A prompt may be interrupted only where it is a batch of its own.
    ends = [end for end in range(1, len(order) + 1) if end == len(order) or _parted(prompts, order, end)]
    half = len(order) // 2
    free = [at for at, place in enumerate(order[: len(order) - half]) if place < len(trials)]
    if len(free) < n_duplicates or (n_duplicates and half == 0):
        raise RatingDesignError(
            f"a batch of {counted(len(order), 'trial')} has no room for {n_duplicates} that come again at least half of it "
            f"later; give n_duplicates={len(free) if half else 0}, or a larger batch"
        )
    names = [str(trial) for trial in trials]
    free.sort(key=lambda at: (doubled[names[order[at]]], rng.random()))
    again = defaultdict[int, list[dict[str, Any]]](list)
    for at in free[:n_duplicates]:
        doubled[names[order[at]]] += 1
        far = [end for end in ends if end - at >= half]
        again[far[rng.integers(len(far))]].append(_again(trials[order[at]]))
    ordered = [trial for end, place in enumerate(order) for trial in (*again[end], everything[place])]
    return ordered + again[len(order)]


def _parted(prompts: list[str], order: list[int], end: int) -> bool:
    one, other = prompts[order[end - 1]], prompts[order[end]]
    return one != other or not one


def _again(trial: dict[str, Any]) -> dict[str, Any]:
    """Repeat a trial; of a pair, the sides change."""
    if "clip_a" in trial:
        trial = {"clip_a": trial["clip_b"], "clip_b": trial["clip_a"]}
    return trial | {"repeat": True}
