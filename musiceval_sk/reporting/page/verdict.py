"""The verdict in words that need no statistics, and the figures that it rests on."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from musiceval_sk.reporting.page.sections import Section
from musiceval_sk.studies.result import FEW_SYSTEMS, MEAN_OF_FOLDS

_MOST_PAIRED = 3000
_LEVEL = 0.05


class Verdict(NamedTuple):
    """What a study says of one target under one split.

    Attributes
    ----------
    outcome : {"ahead", "open", "behind", "unknown"}
        Whether a predictor that hears is ahead of what hears nothing by more than chance, perhaps, or not, or cannot be told.
    sentence : str
        The verdict.
    evidence : str
        The figures behind it.
    """

    outcome: str
    sentence: str
    evidence: str


def verdict(section: Section) -> Verdict:
    """Judge the best predictor that hears against the best that does not.

    Parameters
    ----------
    section : Section
        What was predicted, and how well.

    Returns
    -------
    Verdict
        Cautious where there are few systems, or where a paired test does not tell the two apart; where nothing that does not
        hear can be ranked, where the interval reaches down to 0.
    """
    if section.best is None:
        notes = section.tables[section.kind]["note"]
        evidence = ". ".join(f"{name}: {note}" for name, note in notes.items() if note)
        evidence = evidence or "The study holds no finite score of a predictor that hears."
        return Verdict("unknown", "No predictor that hears the clips could be judged.", evidence)
    return Verdict(*_judge(section, section.best), _evidence(section, section.best))


def pair_agreement(section: Section, predictor: str) -> float:
    """Share of pairs of systems that a predictor puts in the raters' order; pairs of clips where none is named.

    Pairs that raters hold equal are left out, pairs that the predictor holds equal count half. Under mean of folds, pairs are
    those within a fold. So guessing comes to 0.5, as it does not in `pairwise_accuracy`, which counts ties in both. Of more
    than 3,000 clips, every second, third and so on is taken.

    Parameters
    ----------
    section : Section
        What was predicted.
    predictor : str
        A column of its predictions.

    Returns
    -------
    float in [0, 1]
        nan where there is no pair.
    """
    table = section.answers.assign(prediction=section.predictions[predictor]).dropna()
    right = total = 0.0
    for _, part in table.groupby(table["fold"] if section.kind == MEAN_OF_FOLDS else np.zeros(len(table))):
        values = part[["truth", "prediction"]]
        if section.systems is not None:
            values = values.groupby(section.systems.loc[part.index].to_numpy()).mean()
        values = values.iloc[:: max(1, -(-len(values) // _MOST_PAIRED))]
        truth, predicted = (np.sign(np.subtract.outer(v, v)) for v in values.to_numpy().T)
        right += float((1 + truth * predicted)[truth != 0].sum() / 2)
        total += float(np.count_nonzero(truth))
    return right / total if total else np.nan


def _judge(section: Section, best: pd.Series) -> tuple[str, str]:
    """Outcome and sentence."""
    lookup, test, systems = section.lookup, section.test, section.counts["systems"]
    score, level = best[section.metric], 0.0 if lookup is None else lookup[section.metric]
    agreement = pair_agreement(section, best.name)
    share = f"{100 * agreement:.0f} % of pairs" if np.isfinite(agreement) else "no pair"
    if section.metric == "S_SRCC" and systems < FEW_SYSTEMS:
        make = "system makes" if systems == 1 else "systems make"
        pairs = f"{systems} {make} only {systems * (systems - 1) // 2} pairs"
        return "unknown", (
            f"Too few systems to tell: {best.name} puts {share} in the raters' order, but {pairs}."
        )
    if score <= 0:
        # Under splits by system a look-up scores far below 0: to be ahead of it says nothing.
        best_does = f"the best, {best.name}, puts {share} in the raters' order"
        return "behind", f"No predictor does better than guessing: {best_does}."
    things = "systems" if section.metric == "S_SRCC" else "clips"
    if lookup is not None and score <= level:
        closeness, than = ("comes as close", "as") if score == level else ("still comes closer", "than")
        return "behind", (
            f"No predictor beats the look-up: {lookup.name} hears nothing and {closeness} to the raters' order of "
            f"{things} {than} {best.name}, the best that listens."
        )
    if things == "systems":
        things += " it knows from other clips" if section.shares_systems else " it has never heard"
    beside, chance = "guessing", 0.5
    if lookup is not None:
        beside = f"the look-up {lookup.name}, which hears nothing,"
        chance = pair_agreement(section, lookup.name)
    sentence = (
        f"Of two {things}, {best.name} picks the one that raters scored higher {_times(agreement)} times in 100, "
        f"{beside} {_times(chance)}"
    )
    if test is None and (lookup is not None or not np.isfinite(best["low"])):
        untested = "whether that is more than chance" if lookup is None else "which of both is better"
        return "open", f"{sentence}; {untested} was not tested."
    if best["low"] <= 0 or (test is not None and test["p_holm"] >= _LEVEL):
        than = "guessing" if lookup is None or best["low"] <= 0 else lookup.name
        return "open", f"{sentence}; with {systems} systems that may be no better than {than}."
    return "ahead", f"{sentence}."


def _times(agreement: float) -> str:
    return f"{100 * agreement:.0f}" if np.isfinite(agreement) else "an unknown number of"


def _evidence(section: Section, best: pd.Series) -> str:
    metric, lookup, test, counts = section.metric, section.lookup, section.test, section.counts
    bounds = ", no interval"
    if metric == "S_SRCC" and np.isfinite(best["low"]):
        bounds = f", 95 % interval {best['low']:.2f} to {best['high']:.2f}"
    unranked = "no look-up can rank anything here"
    beside = unranked if lookup is None else f"{lookup.name} {lookup[metric]:.2f}"
    if test is not None:
        beside += (
            f"; ahead by {test['difference']:.2f}, 95 % interval {test['low']:.2f} to {test['high']:.2f}, "
            f"p = {test['p_holm']:.3f} by swapping the two"
        )
    systems = f" of {counts['systems']} systems" if counts["systems"] else ""
    return (
        f"{metric}, {section.kind}: {best.name} {best[metric]:.2f}{bounds}; {beside}. {counts['clips']} clips{systems}. "
        "The best was picked on these same clips, which flatters it a little."
    )
