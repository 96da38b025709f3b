"""How even a design is, beside what is possible, in figures and in words."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse.csgraph import connected_components

from musiceval_sk._text import counted

Trials = list[tuple[str, int, int, dict[str, Any]]]


def measure(
    trials: Trials, probes: set[str], dealt: np.ndarray, kinds: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Measure who was dealt what.

    Parameters
    ----------
    trials : list of (rater, batch, position, trial)
        All that raters are asked.
    probes : set of str
        Clips that are no part of what is tested.
    dealt : np.ndarray of int [shape=(n_groups, copies)]
        Batches of each group of clips.
    kinds : dict of np.ndarray of int [shape=(n_groups, n_kinds)]
        How often each group has each system, each prompt.

    Returns
    -------
    dict
        Plain numbers, as JSON holds them; pairs of numbers are the least and the most.
    """
    unit = ["rater", "batch"]
    rows = [
        (rater, batch, position, tuple(sorted(clips_of(trial))), "repeat" in trial)
        for rater, batch, position, trial in trials
    ]
    table = pd.DataFrame(rows, columns=[*unit, "position", "clips", "again"])
    apart = table["position"] - table.groupby([*unit, "clips"])["position"].transform("min")
    apart = apart[table["again"]]
    once = table[~table["again"]]
    once = once.assign(hidden=[probes.issuperset(clips) for clips in once["clips"]])
    tested = once[~once["hidden"]]
    sizes = tested.groupby(unit).size()
    heard = tested.explode("clips").groupby(["rater", "clips"]).size().unstack(fill_value=0)
    shared = (heard @ heard.T).to_numpy()
    found: dict[str, Any] = {
        "trials": len(table),
        "batches_of_a_rater": _ends(sizes.groupby("rater").size()),
        "clips_in_a_batch": _ends(sizes),
        "raters_of_a_clip": _ends(heard.sum()),
        "clips_two_raters_share": _ends(shared[np.triu_indices(len(shared), 1)]),
        "panels": connected_components(shared)[0],
        "probes_in_a_batch": _ends(once.groupby(unit)["hidden"].sum()[sizes.index]),
        "repeats": len(apart),
        "least_distance_of_a_repeat": int(apart.min()) if len(apart) else None,
    }
    return found | {f"{name}_in_a_batch": _spread(dealt, held) for name, held in kinds.items() if held.size}


def clips_of(trial: dict[str, Any]) -> list[str]:
    """List the clips of a trial.

    Parameters
    ----------
    trial : dict
        As in a design: with ``clip_id``, or ``clip_a`` and ``clip_b``.

    Returns
    -------
    list of str
        One clip, or the two of a pair.
    """
    return [trial[name] for name in ("clip_id", "clip_a", "clip_b") if name in trial]


def _spread(dealt: np.ndarray, held: np.ndarray) -> dict[str, int]:
    """How much batches differ in what they hold of one kind: the most of all kinds, and the least there can be."""
    batches, places = np.unique(dealt, return_inverse=True)
    counts = np.zeros((len(batches), held.shape[1]), int)
    np.add.at(counts, places.ravel(), np.repeat(held, dealt.shape[1], axis=0))
    return {
        "kinds": held.shape[1],
        "largest_difference": int(np.ptp(counts, axis=0).max()),
        "least_possible": int((counts.sum(axis=0) % len(counts) > 0).any()),
    }


def _ends(numbers: Iterable[int]) -> list[int]:
    held = [int(number) for number in numbers] or [0]
    return [min(held), max(held)]


def in_words(balance: dict[str, Any], trial: str) -> str:
    """Put what `measure` found into a few lines.

    Parameters
    ----------
    balance : dict
        Of `measure`.
    trial : str
        What a batch is made of: "clip", or "comparison".

    Returns
    -------
    str
        The lines.
    """

    def ends(name: str, noun: str, several: str = "") -> str:
        least, most = balance[name]
        return counted(most, noun, several) if least == most else f"{least} to {counted(most, noun, several)}"

    lines = [
        f"{ends('raters_of_a_clip', 'rater')} a clip; {ends('batches_of_a_rater', 'batch', 'batches')} a rater, of "
        f"{ends('clips_in_a_batch', trial)} and {ends('probes_in_a_batch', 'probe')}; {balance['trials']} trials in all",
        f"any two raters share {ends('clips_two_raters_share', 'clip')}",
    ]
    if balance["panels"] > 1:
        lines[-1] += (
            f"; they are {balance['panels']} panels that share none, so that nothing tells raters' bias from their clips"
        )
    for name, unit in (("systems", trial), ("prompts", "group")):
        if spread := balance.get(f"{name}_in_a_batch"):
            lines.append(
                f"{counted(spread['kinds'], name[:-1])}: two batches differ by {counted(spread['largest_difference'], unit)} of a "
                f"{name[:-1]} at most; the least possible is {spread['least_possible']}"
            )
    if balance["repeats"]:
        lines.append(
            f"{counted(balance['repeats'], f'{trial} comes', f'{trial}s come')} again, "
            f"{counted(balance['least_distance_of_a_repeat'], 'place')} later or more"
        )
    return "\n".join(lines)
