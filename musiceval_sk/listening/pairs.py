"""Which clips are compared with which: within a prompt, as evenly over systems as can be, and on changing sides."""

from collections import Counter, defaultdict

import numpy as np
import pandas as pd

from musiceval_sk._text import counted, listed
from musiceval_sk.exceptions import RatingDesignError


def choose_pairs(clips: pd.DataFrame, per_clip: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Choose comparisons so that each clip is in ``per_clip`` of them, and all clips of a prompt are connected.

    Parameters
    ----------
    clips : pandas.DataFrame
        Columns ``prompt`` and ``system``; clips without a prompt are all compared with each other.
    per_clip : int
        Comparisons of each clip; where that cannot be for all clips of a prompt, one of them gets one more.
    rng : numpy.random.Generator
        Decides between equals.

    Returns
    -------
    list of np.ndarray of int [shape=(2,)]
        Positions of the clips on the left and on the right; of each clip and of each system as many on either side, or one more.

    Raises
    ------
    RatingDesignError
        If a prompt has one clip only, or too few comparisons to be connected, or systems share no prompt.
    """
    systems = clips["system"].to_numpy()
    prompts = [np.asarray(places) for places in clips.groupby("prompt").indices.values()]
    _refuse_unconnected(clips, prompts, per_clip)
    met: Counter[frozenset] = Counter()
    edges = [pair for places in prompts for pair in _pairs_of(places, systems, per_clip, met, rng)]
    return _take_sides(edges, systems)


def _refuse_unconnected(clips: pd.DataFrame, prompts: list[np.ndarray], per_clip: int) -> None:
    alone = [clips.index[places[0]] for places in prompts if len(places) == 1]
    if alone:
        raise RatingDesignError(
            f"method='pairs' compares clips of one prompt, and {counted(len(alone), 'clip is', 'clips are')} the only one of "
            f"a prompt: {listed(alone)}; leave them out, or add clips of other systems for these prompts"
        )
    if per_clip < 2 and any(len(places) > 2 for places in prompts):
        raise RatingDesignError("per_clip=1 leaves clips of a prompt unconnected; give per_clip=2 or more")
    # Systems that a chain of prompts connects get one label.
    label = {system: system for system in clips["system"]}
    for places in prompts:
        together = {label[system] for system in clips["system"].iloc[places]}
        label = {system: min(together) if its in together else its for system, its in label.items()}
    if len(parts := set(label.values())) > 1:
        words = [listed([s for s in label if label[s] == part]) for part in sorted(parts)]
        raise RatingDesignError(
            f"no chain of prompts connects the systems {listed(words, separator=' with ')}, and so no preference can; add "
            "clips for a common prompt, or make tests of their own"
        )


def _pairs_of(
    places: np.ndarray, systems: np.ndarray, per_clip: int, met: Counter, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Pair the clips of one prompt: a tree first, then whoever lacks most with whom it and its system met least."""
    degree = dict.fromkeys(map(int, places), 0)
    pairs: Counter[frozenset] = Counter()
    edges = []

    def join(one: int, others: list[int]) -> None:
        def cost(other: int) -> tuple:
            both = frozenset((systems[one], systems[other]))
            full = max(degree[other] - per_clip + 1, 0)
            return (
                full,
                len(both) == 1,
                pairs[frozenset((one, other))],
                met[both],
                degree[other],
                rng.random(),
            )

        other = min(others, key=cost)
        for clip in (one, other):
            degree[clip] += 1
        pairs[frozenset((one, other))] += 1
        met[frozenset((systems[one], systems[other]))] += 1
        edges.append((one, other))

    def met_in(order: list[int]) -> int:
        ring = zip(order, order[1:] + order[:1], strict=True)
        return sum(met[frozenset((systems[one], systems[other]))] ** 2 for one, other in ring)

    # With two comparisons each, the tree can only be a chain, and the rest is to close it.
    orders = [_systems_in_turn([int(clip) for clip in rng.permutation(places)], systems) for _ in range(20)]
    order = min(orders, key=met_in)
    for count in range(1, len(order)):
        join(order[count], order[:count][-1:] if per_clip == 2 else order[:count])
    while degree[one := min(degree, key=degree.__getitem__)] < per_clip:
        join(one, [clip for clip in degree if clip != one])
    return edges


def _systems_in_turn(clips: list[int], systems: np.ndarray) -> list[int]:
    """Order clips so that those of one system stand as far apart as their numbers allow."""
    turn: Counter = Counter()
    keys = {}
    for clip in clips:
        turn[systems[clip]] += 1
        keys[clip] = turn[systems[clip]], list(turn).index(systems[clip])
    return sorted(clips, key=keys.__getitem__)


def _take_sides(edges: list[tuple[int, int]], systems: np.ndarray) -> list[np.ndarray]:
    """Put one clip of each pair left: walks along all edges leave each clip as often as they enter it.

    Clips with an odd number of pairs are joined two by two, those of one system first, by edges that nobody hears, for a walk to
    go on where it would end. So the sides of each clip, and of each system, differ by one at most (Euler).
    """
    degree = Counter(clip for edge in edges for clip in edge)
    odd = sorted((clip for clip in degree if degree[clip] % 2), key=lambda clip: (systems[clip], clip))
    single: dict = {}
    joined = []
    for clip in odd:
        if systems[clip] in single:
            joined.append((single.pop(systems[clip]), clip))
        else:
            single[systems[clip]] = clip
    left = list(single.values())
    joined += zip(left[::2], left[1::2], strict=True)
    walk = [*edges, *joined]
    at = defaultdict(list)
    for number, edge in enumerate(walk):
        for clip in edge:
            at[clip].append(number)
    used, sides = [False] * len(walk), [np.empty(0, int)] * len(walk)
    for start in at:
        here = start
        while at[here]:
            number = at[here].pop()
            if not used[number]:
                used[number] = True
                one, other = walk[number]
                there = other if here == one else one
                sides[number] = np.array([here, there])
                here = there
    return sides[: len(edges)]
