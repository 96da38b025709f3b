"""A study on one screen: for each split, who is best by the metric that decides, how sure that is, and the figures of the best."""

import numpy as np
import pandas as pd

from musiceval_sk._text import Table, counted
from musiceval_sk.reporting.page.sections import Section, gather
from musiceval_sk.studies.result import FEW_SYSTEMS, NO_FEATURES, StudyResult

_MOST_ROWS = 6


def summary_parts(study: StudyResult, *, tables: bool = True) -> list[str]:
    """Summarize a study in about a dozen lines a split.

    Parameters
    ----------
    study : StudyResult
        With at least one prediction.
    tables : bool, default=True
        Whether to show figures beside the sentences.

    Returns
    -------
    list of str
        For each split a title, a table (`Table`) of the best predictors and the best baseline without audio, and for each target a sentence
        that says whether the first is ahead by more than chance. ``print(study)`` has the rest.
    """
    sections, _ = gather(study)
    parts: list[str] = []
    for name in study.splits:
        of_split = [section for section in sections if section.split == name]
        figures = [_table(of_split)] if tables else []
        blank = [""] if parts else []
        parts += [*blank, _title(study, name, of_split[0]), *figures, *map(_sentence, of_split)]
    return parts


def _title(study: StudyResult, split: str, section: Section) -> str:
    described, counts = study.about["splits"][split], section.counts
    of = f" of {counted(counts['systems'], 'system')}" if counts["systems"] else ""
    tested = f"{counted(counts['clips'], 'clip')}{of}, {counted(described['folds'], 'fold')}"
    meaning = described["meaning"]
    return f"{meaning[:1].upper()}{meaning[1:]}: {tested}, {section.kind}"


def _table(sections: list[Section]) -> Table:
    shown = dict.fromkeys(name for section in sections for name in _shown(section))
    ceilings = dict.fromkeys(f"human ceiling, {who}" for section in sections for who in section.ceiling)
    figures = {section.target: _figures(section) for section in sections}
    table = pd.concat(figures, axis=1).reindex([*shown, *ceilings])
    return Table(table.rename_axis(None), strip=True, na_rep="-", col_space=6)


def _shown(section: Section) -> list[str]:
    """Name the best predictors by the metric that decides, and the best baseline without audio."""
    ranked = section.tables[section.kind].sort_values(section.metric, ascending=False, na_position="last")
    without_audio = ranked["features"] == NO_FEATURES
    baselines = ranked[without_audio].sort_values("U_MSE")
    return [*ranked.index[~without_audio][: _MOST_ROWS - 1], *baselines.index[:1]]


def _figures(section: Section) -> pd.DataFrame:
    table = section.tables[section.kind]
    bounds = [
        f"[{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""
        for low, high in zip(table["low"], table["high"], strict=True)
    ]
    ceiling = pd.DataFrame(section.ceiling).T.add_prefix("human ceiling, ", axis=0)
    shown = ["U_MSE", "S_SRCC", "95 %"] if section.metric == "S_SRCC" else ["U_MSE", section.metric]
    figures = pd.concat([table.assign(**{"95 %": bounds}), ceiling])[shown]
    return figures.map(
        lambda value: f"{value:.3f}" if isinstance(value, float) else value, na_action="ignore"
    )


def _sentence(section: Section) -> str:
    if section.best is None:
        return f"{section.target}: no predictor could be judged."
    best, systems = section.best, section.counts["systems"]
    if 0 < systems < FEW_SYSTEMS:
        return f"{section.target}: {counted(systems, 'system is', 'systems are')} too few to tell which predictor is best."
    words = f"{section.target}: {best.name} is best by {section.metric}"
    tests = section.tests[(section.tests["ahead"] == best.name) & section.tests["p_holm"].notna()]
    features = section.tables[section.kind]["features"]
    unclear = [
        row.behind for row in tests.itertuples() if row.p_holm >= 0.05 and features[row.behind] != NO_FEATURES
    ]
    beaten = section.lookup is not None and best[section.metric] <= section.lookup[section.metric]
    if section.lookup is None:
        words += "; baselines without audio rank nothing here"
    elif beaten:
        words += f" of those that use audio, and NOT ahead of {section.lookup.name}, which uses none"
    elif section.test is not None:
        sure = "ahead" if section.test["p_holm"] < 0.05 else "not clearly ahead"
        words += f", {sure} of {section.lookup.name} (no audio; p = {section.test['p_holm']:.3f})"
    if tests.empty and not beaten:
        words += "; differences were not tested"
    elif unclear:
        words += f"; not told apart from {', '.join(unclear)}"
    return words + "."
