"""From a study, a clips table and ratings to what a report shows: this room alone knows how they are laid out."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._ids import id_texts, near_misses, under_ids_of
from musiceval_sk._text import listed
from musiceval_sk.datasets.clips import TIMES
from musiceval_sk.exceptions import ClipsTableError, SkippedWarning
from musiceval_sk.ratings.aggregate import aggregate_ratings
from musiceval_sk.statistics.metrics import METRICS
from musiceval_sk.studies.result import KINDS, NO_FEATURES, StudyResult


@dataclass(frozen=True)
class ScoreRow:
    """One predictor's line in a table of scores.

    Attributes
    ----------
    predictor : str
        Name of the model and of whatever else tells it from others, such as its encoder.
    hears : bool
        False for look-ups and constants, which know labels and no sound.
    scores : dict of str to float
        The eight metrics, nan where undefined.
    low, high : float
        Bounds of the 95 % interval of S_SRCC, nan where there is none.
    note : str
        What could not be judged.
    """

    predictor: str
    hears: bool
    scores: dict[str, float]
    low: float
    high: float
    note: str


@dataclass(frozen=True)
class PairedTest:
    """A paired test between two predictors of one table.

    Attributes
    ----------
    ahead, behind : str
        The best predictor of the table, and the other.
    difference, low, high : float
        How far the first is ahead by the deciding metric, with its 95 % interval.
    p_value : float in (0, 1]
        By swapping predictors, after Holm's correction.
    """

    ahead: str
    behind: str
    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Question:
    """What a study asks: how well one target is predicted under one split.

    Attributes
    ----------
    target, split : str
        What was predicted, and how training was kept from testing.
    kind : str
        The kind of score that this split makes worth reading: pooled, or mean of folds.
    tables : dict of str to list of ScoreRow
        By kind of score.
    answers : pandas.DataFrame
        One row a clip: ``fold`` and ``truth``, by clip id.
    predictions : pandas.DataFrame
        The same rows, one column a predictor; the mean where a clip was tested in several folds.
    facts : dict
        Number of clips and systems, and the least number of systems in a fold.
    shares_systems : bool
        Whether training held other clips of the tested systems.
    cautions : list of str
        What the table cannot show.
    tests : list of PairedTest
        Between the best predictor and those next to it.
    ceiling : dict of str to dict of str to float
        The human ceiling: metrics by who would reach them; empty where ratings are unknown.
    """

    target: str
    split: str
    kind: str
    tables: dict[str, list[ScoreRow]]
    answers: pd.DataFrame
    predictions: pd.DataFrame
    facts: dict[str, int]
    shares_systems: bool
    cautions: list[str]
    tests: list[PairedTest]
    ceiling: dict[str, dict[str, float]]

    @property
    def predictors(self) -> list[str]:
        """Names of all predictors, in the order of the table."""
        return [row.predictor for row in self.tables[self.kind]]

    @property
    def ranked_by(self) -> str:
        """The metric that decides: S_SRCC, or U_SRCC where clips do not name their systems."""
        return "S_SRCC" if self.facts["systems"] else "U_SRCC"

    def best(self, *, hears: bool) -> ScoreRow | None:
        """Highest row of those that hear, or of those that do not; None where none could be judged."""
        rows = [row for row in self.tables[self.kind] if row.hears == hears]
        judged = [row for row in rows if np.isfinite(row.scores[self.ranked_by])]
        return max(judged, key=lambda row: row.scores[self.ranked_by], default=None)


@dataclass(frozen=True)
class ReportData:
    """All that a report shows.

    Attributes
    ----------
    questions : list of Question
        In the order of the study.
    clips : pandas.DataFrame
        The study's clips by id: ``system`` and ``prompt`` (empty where unknown), ``path`` (missing where unknown), and for
        each target, where known, ``<target>_spread`` and ``<target>_count``: standard deviation and number of raters.
    about : dict
        The study's own account of itself.
    several_splits : bool
        Whether questions must name their split.
    """

    questions: list[Question]
    clips: pd.DataFrame
    about: dict[str, Any]
    several_splits: bool

    def systems_of(self, question: Question) -> pd.Series:
        """System of each clip of a question, where all clips name one; else an empty series."""
        systems = self.clips["system"].loc[question.predictions.index]
        return systems if systems.ne("").all() else systems[:0]


def gather(study: StudyResult, clips: pd.DataFrame | None = None, ratings: Any = None) -> ReportData:
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
    ReportData
        Questions, clips and facts.

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
    pairs = study.scores[["target", "split"]].drop_duplicates().itertuples(index=False)
    questions = [_question(study, *pair) for pair in pairs]
    ids = pd.Index(study.predictions["clip_id"].unique(), name="clip_id")
    clips = None if clips is None else under_ids_of(ids, clips)
    table = _clips_of(ids, clips).join(_spreads(ids, study, clips, ratings))
    return ReportData(questions, table, study.about, len(study.splits) > 1)


def _question(study: StudyResult, target: str, split: str) -> Question:
    found = _of(study.predictions, target, split)
    found = found.assign(predictor=study.predictor_names(found["features"], found["model"]))
    answers = found.drop_duplicates("clip_id").set_index("clip_id")[["fold", "truth"]]
    wide = found.groupby(["clip_id", "predictor"])["prediction"].mean().unstack()
    described = study.about["splits"][split]
    return Question(
        target=target,
        split=split,
        kind=study.reading_kind(split),
        tables={kind: _rows(study, target, split, kind) for kind in KINDS},
        answers=answers,
        predictions=wide.loc[answers.index],
        facts=described["targets"][target],
        shares_systems=described["shared_with_training"].get("system", 0) > 0,
        cautions=study.cautions(target, split),
        tests=_tests(study, target, split),
        ceiling=study.about["human_ceiling"].get(target, {}),
    )


def _of(table: pd.DataFrame, target: str, split: str) -> pd.DataFrame:
    return table[(table["target"] == target) & (table["split"] == split)]


def _rows(study: StudyResult, target: str, split: str, kind: str) -> list[ScoreRow]:
    notes = _of(study.notes, target, split)
    return [
        ScoreRow(
            predictor=predictor,
            hears=row["features"] != NO_FEATURES,
            scores={name: float(row[name]) for name in METRICS},
            low=float(row.get("S_SRCC_low", np.nan)),
            high=float(row.get("S_SRCC_high", np.nan)),
            note="; ".join(
                notes["note"][(notes["features"] == row["features"]) & (notes["model"] == row["model"])]
            ),
        )
        for predictor, row in study.rows(target, kind, split=split).iterrows()
    ]


def _tests(study: StudyResult, target: str, split: str) -> list[PairedTest]:
    found = _of(study.comparisons, target, split)
    sides = [study.predictor_names(found[f"features_{side}"], found[f"model_{side}"]) for side in "ab"]
    figures = found[["difference", "low", "high", "p_holm"]].astype(float).to_numpy()
    return [PairedTest(ahead, behind, *row) for ahead, behind, row in zip(*sides, figures, strict=True)]


def _clips_of(ids: pd.Index, clips: pd.DataFrame | None) -> pd.DataFrame:
    table = pd.DataFrame(
        {"system": "", "prompt": "", "path": None, **dict.fromkeys(TIMES, np.nan)}, index=ids
    )
    if clips is None:
        return table
    missing = ids.difference(clips.index, sort=False)
    if len(missing) == len(ids):
        raise ClipsTableError(
            f"none of the study's {len(ids)} clips is in the clips table: the study has {listed(ids)}; "
            f"the table has {listed(clips.index)}{near_misses(ids, clips.index)}"
        )
    if len(missing):
        warnings.warn(
            f"the clips table lacks {len(missing)} of the study's {len(ids)} clips: {listed(missing)}",
            SkippedWarning,
            stacklevel=4,
        )
    for column in table.columns.intersection(clips.columns):
        table[column] = clips[column].reindex(ids)
    for column in ("system", "prompt"):
        table[column] = id_texts(table[column])
    return table


def _spreads(ids: pd.Index, study: StudyResult, clips: pd.DataFrame | None, ratings: Any) -> pd.DataFrame:
    targets = study.targets
    source = clips
    if ratings is not None:
        kept = pd.DataFrame(index=ids) if clips is None else clips
        source = aggregate_ratings(ratings, clips=kept, targets=targets, scale=None)
    spreads = pd.DataFrame(index=ids)
    for target in targets:
        columns = [f"{target}_count", f"{target}_se"]
        if source is not None and set(columns) <= set(source.columns):
            count, error = (source[name].reindex(ids).astype(float) for name in columns)
            spreads[f"{target}_count"], spreads[f"{target}_spread"] = count, error * np.sqrt(count)
    return spreads
