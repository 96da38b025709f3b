"""In which order a batch is heard: prompts mixed, a prompt's clips together, doubled trials far apart."""

from collections import Counter
from typing import Any

import numpy as np

from musiceval_sk._text import counted
from musiceval_sk.exceptions import RatingDesignError


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
    again: dict[int, list[dict[str, Any]]] = {end: [] for end in range(len(order) + 1)}
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
