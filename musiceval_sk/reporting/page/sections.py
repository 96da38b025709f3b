"""What a report shows of a study: its clips, a section for each target under each split, and its verdict in words that need no statistics."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from musiceval_sk._ids import id_texts, near_misses, under_ids_of, warn_of_skipped
from musiceval_sk._text import counted, listed
from musiceval_sk.datasets.clips import TIMES
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.ratings.aggregate import aggregate_ratings
from musiceval_sk.statistics.metrics import METRICS
from musiceval_sk.studies.result import FEW_SYSTEMS, KINDS, MEAN_OF_FOLDS, NO_FEATURES, StudyResult

_SUBJECTS = {"impression": "Musical impression", "alignment": "Textual alignment"}


class Section:
    """How well one target is predicted under one split.

    Attributes
    ----------
    target, split, title, heading : str
        What was predicted: its name, the split's, both where there are several splits, and in words.
    kind : str
        The kind of score that the split makes worth reading: pooled, or mean of folds.
    metric : str
        The metric that decides: S_SRCC, or U_SRCC where clips do not name their systems.
    tables : dict of str to pandas.DataFrame
        By kind of score one row a predictor: its ``features``, the metrics, ``low`` and ``high`` (the interval of S_SRCC) and ``note``.
    best, lookup, shown : pandas.Series or None
        The highest row by the deciding metric of those with features, of those without, and that of which pictures are drawn, on the raters' scale.
    answers : pandas.DataFrame
        One row a clip: ``fold`` and ``truth``.
    predictions : pandas.DataFrame
        The same rows, one column a predictor; the mean where a clip was tested in several folds.
    systems : pandas.Series or None
        The same rows, where every clip names its system.
    tests : pandas.DataFrame
        Paired tests between the best predictor and those next to it, named in ``ahead`` and ``behind``: ``difference``, ``low``,
        ``high`` and ``p_holm`` as in ``StudyResult.comparisons``.
    test : pandas.Series or None
        The one between ``best`` and ``lookup``, where there is one.
    counts : dict
        Number of clips and systems.
    shares_systems : bool
        Whether training held other clips of the tested systems.
    cautions : list of str
        What the table cannot show.
    ceiling : dict of str to dict of str to float
        The human ceiling: metrics by who would reach them; empty where ratings are unknown.
    """

    def __init__(self, study: StudyResult, target: str, split: str, systems: pd.Series):
        described = study.about["splits"][split]
        several = len(study.splits) > 1
        self.target, self.split = target, split
        self.title = f"{target}, split {split}" if several else target
        self.heading = _SUBJECTS.get(target, target) + (f", split {split!r}" if several else "")
        self.kind = study.reading_kind(split)
        self.counts = described["targets"][target]
        self.metric = "S_SRCC" if self.counts["systems"] else "U_SRCC"
        self.shares_systems = described["shared_with_training"].get("system", 0) > 0
        self.cautions = study.cautions(target, split)
        self.ceiling = study.about["human_ceiling"].get(target, {})
        tables = ("predictions", "notes", "comparisons")
        found, notes, tests = (study.part(table, target, split) for table in tables)
        predictors = pd.Series(study.predictor_names(found["features"], found["model"]), found.index)
        self.answers = found.drop_duplicates("clip_id").set_index("clip_id")[["fold", "truth"]]
        means = found["prediction"].groupby([found["clip_id"], predictors]).mean()
        self.predictions = means.unstack().loc[self.answers.index]
        systems = systems.loc[self.answers.index]
        self.systems = systems if systems.ne("").all() else None

        noted = study.predictor_names(notes["features"], notes["model"])
        note_of = dict(zip(noted, notes["note"], strict=True))
        bounds = {"S_SRCC_low": "low", "S_SRCC_high": "high"}
        self.tables = {}
        for kind in KINDS:
            table = study.rows(target, kind, split=split)
            figures = table.reindex(columns=[*METRICS, *bounds]).astype(float).rename(columns=bounds)
            note = [note_of.get(name, "") for name in table.index]
            self.tables[kind] = figures.assign(features=table["features"], note=note)
        ahead, behind = (study.predictor_names(tests[f"features_{i}"], tests[f"model_{i}"]) for i in "ab")
        figures = tests[["difference", "low", "high", "p_holm"]].astype(float)
        self.tests = figures.assign(ahead=ahead, behind=behind)

        table = self.tables[self.kind]
        without = table["features"] == NO_FEATURES
        self.best, self.lookup = self._highest(table[~without]), self._highest(table[without])
        self.shown = self._highest(table[~without & table["U_MSE"].notna()])
        self.shown = self.lookup if self.shown is None else self.shown
        self.test = None
        if self.best is not None and self.lookup is not None:
            pair = (self.tests["ahead"] == self.best.name) & (self.tests["behind"] == self.lookup.name)
            self.test = next((test for _, test in self.tests[pair].dropna(subset="p_holm").iterrows()), None)

    def _highest(self, rows: pd.DataFrame) -> pd.Series | None:
        scores = rows[self.metric].dropna()
        return None if scores.empty else rows.loc[scores.idxmax()]


def described(ids: pd.Index, clips: pd.DataFrame | None) -> pd.DataFrame:
    """Say of each clip what a page shows of it: ``system`` and ``prompt``, empty where unknown, ``path`` and times, missing where unknown."""
    unknown = {"system": "", "prompt": "", "path": None, **dict.fromkeys(TIMES, np.nan)}
    table = pd.DataFrame(unknown, index=ids)
    if clips is not None:
        for name in table.columns.intersection(clips.columns):
            table[name] = clips[name].reindex(ids)
    return table.assign(system=id_texts(table["system"]), prompt=id_texts(table["prompt"]))


def gather(
    study: StudyResult, clips: pd.DataFrame | None = None, ratings: Any = None
) -> tuple[list[Section], pd.DataFrame]:
    """Lay out a study for a report.

    Parameters
    ----------
    study : StudyResult
        With at least one prediction.
    clips : pandas.DataFrame, default=None
        Clips table; without it there are no systems, prompts and sounds.
    ratings : str, Path or pandas.DataFrame, default=None
        See `aggregate_ratings`; without it, columns ``<target>_se`` and ``<target>_count`` of ``clips`` are used if there.

    Returns
    -------
    sections : list of Section
        In the order of the study.
    clips : pandas.DataFrame
        The study's clips by id: ``system`` and ``prompt`` (empty where unknown), ``path`` (missing where unknown), and for
        each target, where known, ``<target>_spread`` and ``<target>_count``: standard deviation and number of raters.

    Raises
    ------
    ClipsTableError
        If the study predicts nothing, or none of its clips is in the clips table.

    Warns
    -----
    SkippedWarning
        If the clips table lacks some of the study's clips.
    """
    if study.predictions.empty:
        raise ClipsTableError("the study holds no predictions: nothing to report")
    ids = pd.Index(study.predictions["clip_id"].unique(), name="clip_id")
    if clips is not None:
        clips = under_ids_of(ids, clips)
        missing = ids.difference(clips.index, sort=False)
        if len(missing) == len(ids):
            there = f"the study has {listed(ids)}; the table has {listed(clips.index)}"
            words = f"none of the study's {len(ids)} clips is in the clips table: {there}"
            raise ClipsTableError(f"{words}{near_misses(ids, clips.index)}")
        if len(missing):
            words = f"the clips table lacks {len(missing)} of the study's {len(ids)} clips"
            warn_of_skipped(words, missing, stacklevel=3)
    table = described(ids, clips)
    if ratings is not None:
        of_clips: dict[str, Any] = {"clips": table if clips is None else clips, "scale": None}
        clips = aggregate_ratings(ratings, targets=study.targets, **of_clips)
    for target in study.targets:
        columns = [f"{target}_count", f"{target}_se"]
        if clips is not None and set(columns) <= set(clips.columns):
            count, error = (clips[name].reindex(ids).astype(float) for name in columns)
            table[f"{target}_count"], table[f"{target}_spread"] = count, error * np.sqrt(count)
    pairs = study.scores[["target", "split"]].drop_duplicates().itertuples(index=False)
    return [Section(study, target, split, table["system"]) for target, split in pairs], table


_MOST_PAIRED = 3000
_LEVEL = 0.05


class Verdict(NamedTuple):
    """What a study says of one target under one split.

    Attributes
    ----------
    outcome : {"ahead", "open", "behind", "unknown"}
        Whether a predictor that uses audio is ahead of baselines without it by more than chance, perhaps, or not, or cannot be told.
    sentence : str
        The verdict.
    evidence : str
        The figures behind it.
    """

    outcome: str
    sentence: str
    evidence: str


def verdict(section: Section) -> Verdict:
    """Judge the best predictor that uses audio against the best baseline without it.

    Parameters
    ----------
    section : Section
        What was predicted, and how well.

    Returns
    -------
    Verdict
        Cautious where there are few systems, or where a paired test does not tell the two apart; where no baseline can
        be ranked, where the interval reaches down to 0.
    """
    if section.best is None:
        notes = section.tables[section.kind]["note"]
        evidence = ". ".join(f"{name}: {note}" for name, note in notes.items() if note)
        evidence = evidence or "The study holds no finite score of a predictor that uses audio."
        return Verdict("unknown", "No predictor that uses audio could be judged.", evidence)
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
    puts = f"puts {share} in the raters' order"
    if section.metric == "S_SRCC" and systems < FEW_SYSTEMS:
        make = counted(systems, "system makes", "systems make")
        pairs = f"{make} only {systems * (systems - 1) // 2} pairs"
        return "unknown", f"Too few systems to tell: {best.name} {puts}, but {pairs}."
    if score <= 0:
        # Under splits by system a look-up scores far below 0: to be ahead of it says nothing.
        return "behind", f"No predictor does better than guessing: the best, {best.name}, {puts}."
    things = "systems" if section.metric == "S_SRCC" else "clips"
    if lookup is not None and score <= level:
        closeness, than = ("comes as close", "as") if score == level else ("still comes closer", "than")
        return "behind", (
            f"No predictor beats the baseline without audio: {lookup.name} {closeness} to the raters' order of "
            f"{things} {than} {best.name}, the best that uses audio."
        )
    if things == "systems":
        things += " it knows from other clips" if section.shares_systems else " it has never heard"
    beside, chance = "guessing", 0.5
    if lookup is not None:
        beside = f"the baseline {lookup.name}, which uses no audio,"
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
    unranked = "baselines without audio rank nothing here"
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
