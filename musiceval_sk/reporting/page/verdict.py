"""The verdict in words that need no statistics, and the figures that it rests on."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from musiceval_sk.reporting.page.data import PairedTest, Question, ReportData, ScoreRow
from musiceval_sk.studies.result import MEAN_OF_FOLDS
from musiceval_sk.studies.text import FEW_SYSTEMS

_SUBJECTS = {"impression": "Musical impression", "alignment": "Textual alignment"}
_MOST_PAIRED = 3000
_LEVEL = 0.05
# Share of pairs in the raters' order, of the best that hears and of the best that does not.
Agreements = tuple[float, ...]


@dataclass(frozen=True)
class Verdict:
    """What a study says of one question.

    Attributes
    ----------
    subject : str
        What was predicted, in words.
    outcome : {"ahead", "open", "behind", "unknown"}
        Whether a predictor that hears is ahead of what hears nothing by more than chance, perhaps, or not, or cannot be told.
    sentence : str
        The verdict.
    evidence : str
        The figures behind it.
    """

    subject: str
    outcome: str
    sentence: str
    evidence: str


def verdict(question: Question, data: ReportData) -> Verdict:
    """Judge the best predictor that hears against the best that does not.

    Parameters
    ----------
    question : Question
        What was asked.
    data : ReportData
        Where the systems of its clips are.

    Returns
    -------
    Verdict
        Cautious where there are few systems, or where a paired test does not tell the two apart; where nothing that does not
        hear can be ranked, where the interval reaches down to 0.
    """
    subject = _SUBJECTS.get(question.target, question.target)
    if data.several_splits:
        subject = f"{subject}, split {question.split!r}"
    best, rival = question.best(hears=True), question.best(hears=False)
    if best is None:
        return Verdict(
            subject, "unknown", "No predictor that hears the clips could be judged.", _why_not(question)
        )
    outcome = _outcome(question, best, rival)
    systems = data.systems_of(question)
    told = tuple(pair_agreement(question, row.predictor, systems) if row else np.nan for row in (best, rival))
    sentence = _SENTENCES[outcome](question, best, rival, told)
    return Verdict(subject, outcome.split()[0], sentence, _evidence(question, best, rival))


def pair_agreement(question: Question, predictor: str, systems: pd.Series) -> float:
    """Share of pairs of systems that a predictor puts in the raters' order; pairs of clips where none is named.

    Pairs that raters hold equal are left out, pairs that the predictor holds equal count half. Under mean of folds, pairs are
    those within a fold. So guessing comes to 0.5, as it does not in `pairwise_accuracy`, which counts ties in both. Of more
    than 3,000 clips, every second, third and so on is taken.

    Parameters
    ----------
    question : Question
        What was asked.
    predictor : str
        A column of its predictions.
    systems : pandas.Series
        System of each clip; empty where unknown.

    Returns
    -------
    float in [0, 1]
        nan where there is no pair.
    """
    table = question.answers.assign(prediction=question.predictions[predictor]).dropna()
    by_fold = question.kind == MEAN_OF_FOLDS
    right = total = 0.0
    for _, part in table.groupby(table["fold"] if by_fold else np.zeros(len(table))):
        values = part[["truth", "prediction"]]
        if len(systems):
            values = values.groupby(systems.loc[part.index].to_numpy()).mean()
        values = values.iloc[:: max(1, -(-len(values) // _MOST_PAIRED))]
        truth, predicted = (np.sign(np.subtract.outer(v, v)) for v in values.to_numpy().T)
        told = truth != 0
        right += float((1 + truth * predicted)[told].sum() / 2)
        total += float(told.sum())
    return right / total if total else np.nan


def _outcome(question: Question, best: ScoreRow, rival: ScoreRow | None) -> str:
    metric = question.ranked_by
    level = rival.scores[metric] if rival else 0.0
    if metric == "S_SRCC" and question.facts["systems"] < FEW_SYSTEMS:
        return "unknown few"
    if best.scores[metric] <= 0:
        # Under splits by system a look-up scores far below 0: to be ahead of it says nothing.
        return "behind guessing"
    if best.scores[metric] <= level:
        return "behind"
    test = None if rival is None else _test_between(question, best, rival)
    untested = not np.isfinite(best.low) if rival is None else test is None or not np.isfinite(test.p_value)
    if untested:
        return "open untested"
    if best.low <= 0 or (test is not None and test.p_value >= _LEVEL):
        return "open chance"
    return "ahead"


def _test_between(question: Question, best: ScoreRow, rival: ScoreRow) -> PairedTest | None:
    pairs = {(test.ahead, test.behind): test for test in question.tests}
    return pairs.get((best.predictor, rival.predictor))


def _ahead(question: Question, best: ScoreRow, rival: ScoreRow | None, told: Agreements) -> str:
    return f"{_pairs(question, best, rival, told)}."


def _chance(question: Question, best: ScoreRow, rival: ScoreRow | None, told: Agreements) -> str:
    than = "guessing" if rival is None or best.low <= 0 else rival.predictor
    pairs = _pairs(question, best, rival, told)
    return f"{pairs}; with {question.facts['systems']} systems that may be no better than {than}."


def _untested(question: Question, best: ScoreRow, rival: ScoreRow | None, told: Agreements) -> str:
    untested = "which of both is better" if rival else "whether that is more than chance"
    return f"{_pairs(question, best, rival, told)}; {untested} was not tested."


def _behind(question: Question, best: ScoreRow, rival: ScoreRow | None, told: Agreements) -> str:
    assert rival is not None  # else "behind guessing"
    level = best.scores[question.ranked_by] == rival.scores[question.ranked_by]
    closeness, than = ("comes as close", "as") if level else ("still comes closer", "than")
    return (
        f"No predictor beats the look-up: {rival.predictor} hears nothing and {closeness} to the raters' order of "
        f"{_things(question)} {than} {best.predictor}, the best that listens."
    )


def _behind_guessing(question: Question, best: ScoreRow, rival: ScoreRow | None, told: Agreements) -> str:
    return f"No predictor does better than guessing: the best, {best.predictor}, puts {_share(told[0])} in the raters' order."


def _few(question: Question, best: ScoreRow, rival: ScoreRow | None, told: Agreements) -> str:
    count = question.facts["systems"]
    return (
        f"Too few systems to tell: {best.predictor} puts {_share(told[0])} in the raters' order, but {count} "
        f"{'system makes' if count == 1 else 'systems make'} only {count * (count - 1) // 2} pairs."
    )


_SENTENCES = {
    "ahead": _ahead,
    "open chance": _chance,
    "open untested": _untested,
    "behind": _behind,
    "behind guessing": _behind_guessing,
    "unknown few": _few,
}


def _pairs(question: Question, best: ScoreRow, rival: ScoreRow | None, told: Agreements) -> str:
    if question.ranked_by == "U_SRCC":
        which = "clips"
    elif question.shares_systems:
        which = "systems it knows from other clips"
    else:
        which = "systems it has never heard"
    beside = "guessing" if rival is None else f"the look-up {rival.predictor}, which hears nothing,"
    return (
        f"Of two {which}, {best.predictor} picks the one that raters scored higher {_times(told[0])} times in 100, "
        f"{beside} {_times(0.5 if rival is None else told[1])}"
    )


def _times(agreement: float) -> str:
    return f"{100 * agreement:.0f}" if np.isfinite(agreement) else "an unknown number of"


def _share(agreement: float) -> str:
    return f"{agreement:.0%} of pairs".replace("%", " %") if np.isfinite(agreement) else "no pair"


def _things(question: Question) -> str:
    return "systems" if question.ranked_by == "S_SRCC" else "clips"


def _evidence(question: Question, best: ScoreRow, rival: ScoreRow | None) -> str:
    metric = question.ranked_by
    bounds = (
        f", 95 % interval {best.low:.2f} to {best.high:.2f}" if np.isfinite(best.low) else ", no interval"
    )
    bounds = bounds if metric == "S_SRCC" else ", no interval"
    look_up = (
        f"{rival.predictor} {rival.scores[metric]:.2f}" if rival else "no look-up can rank anything here"
    )
    test = None if rival is None else _test_between(question, best, rival)
    if test is not None and np.isfinite(test.p_value):
        look_up += (
            f"; ahead by {test.difference:.2f}, 95 % interval {test.low:.2f} to {test.high:.2f}, "
            f"p = {test.p_value:.3f} by swapping the two"
        )
    counts = f"{question.facts['clips']} clips"
    if question.facts["systems"]:
        counts += f" of {question.facts['systems']} systems"
    return (
        f"{metric}, {question.kind}: {best.predictor} {best.scores[metric]:.2f}{bounds}; {look_up}. {counts}. "
        "The best was picked on these same clips, which flatters it a little."
    )


def _why_not(question: Question) -> str:
    notes = [f"{row.predictor}: {row.note}" for row in question.tables[question.kind] if row.note]
    return ". ".join(notes) or "The study holds no finite score of a predictor that hears."
