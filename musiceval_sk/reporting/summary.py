"""What commands print: of a study who is best, of a learning curve what still improved scores, of ratings the evidence."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import Table, counted, listed, parts_of
from musiceval_sk.reporting.page.sections import Section, gather
from musiceval_sk.statistics.metrics import METRICS
from musiceval_sk.studies.curve_result import GROWS, ScoreLearningCurve
from musiceval_sk.studies.result import FEW_SYSTEMS, NO_FEATURES, StudyResult

_MOST_ROWS = 6
_CHANGES = {"raised": "improved", "lowered": "worsened"}
_OPEN = "Improved, worsened: the interval of the gain lies above 0, below 0. Open does not show that more would not help."


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
        first = of_split[0]
        title = _title(study.about["splits"][name], first.counts, first.kind)
        parts += [*blank, title, *figures, *map(_sentence, of_split)]
    return parts


def curve_parts(curve: ScoreLearningCurve) -> list[str]:
    """Summarize a learning curve in about a dozen lines.

    Parameters
    ----------
    curve : ScoreLearningCurve
        What `score_learning_curve` found.

    Returns
    -------
    list of str
        A title, a table (`Table`) of what the last step of everything that grows gained the best model that uses audio, and for each
        target a sentence that says which of these steps improved a score. ``print(curve)`` has the rest.
    """
    about = curve.about
    metrics = [name for name in ("S_SRCC", "U_SRCC") if name in about["metrics"]] or about["metrics"][:2]
    title = _title(about, next(iter(about["targets"].values())), curve.kind)
    steps = curve.last_steps()
    steps = steps[steps["metric"].isin(metrics) & ~steps["model"].isin(about["look_ups"])]
    if steps.empty:
        return [title, "What to collect next: no model that uses audio has two sizes that could be judged."]
    table = curve.table[curve.table["kind"] == curve.kind]
    reached = table.groupby(["target", "model", "metric"])["score"].last().unstack("metric")[metrics]
    reached = reached.sort_values(metrics[0], ascending=not METRICS[metrics[0]].greater_is_better)
    shown, sentences = [], []
    for target, of_target in steps.groupby("target", sort=False):
        ranked = reached.loc[target]
        model = ranked.index[ranked.index.isin(of_target["model"])][0]
        shown.append(of_target[of_target["model"] == model])
        few = _few_systems(about["targets"][target]["systems"], "what helps")
        sentences.append(f"{target}, {_scored(model, ranked.loc[model])}: {few or _advice(shown[-1])}.")
    heading = f"Gain of the last step, [{about['confidence']:.0%} interval]"
    return [title, "", heading, _gains(pd.concat(shown)), "", *sentences, _OPEN]


def _scored(model: str, scores: pd.Series) -> str:
    return f"{model} ({', '.join(f'{metric} {value:.3f}' for metric, value in scores.items())})"


def _gains(steps: pd.DataFrame) -> Table:
    ends = steps[["size_from", "size_to"]].map(lambda size: f"{round(size, None if size >= 10 else 1):g}")
    cells = [f"{row.gain:.3f} [{row.low:+.2f}, {row.high:+.2f}]" for row in steps.itertuples()]
    rows = steps.assign(cell=cells, step=ends["size_from"] + " to " + ends["size_to"])
    table = rows.pivot_table("cell", ["target", "grows", "step"], "metric", aggfunc="first", sort=False)
    return Table(table.rename_axis(index=[None] * 3, columns=None), strip=True, na_rep="-")


def _advice(steps: pd.DataFrame) -> str:
    """Say what the last step of everything that grows did to the scores."""
    did: dict[str, list[str]] = {}
    for grows, of_growth in steps.groupby("grows", sort=False):
        verdicts = of_growth[of_growth["verdict"] != "open"].groupby("verdict", sort=False)["metric"]
        told = [f"{_CHANGES[str(verdict)]} {' and '.join(names)}" for verdict, names in verdicts]
        did.setdefault(" and ".join(told), []).append(GROWS[str(grows)])
    return "; ".join(
        f"more {' and '.join(of)} {change}" if change else f"whether more {' or '.join(of)} help is open"
        for change, of in did.items()
    )


def _few_systems(systems: int, what: str) -> str:
    few = 0 < systems < FEW_SYSTEMS
    return f"{counted(systems, 'system is', 'systems are')} too few to tell {what}" if few else ""


def _title(described: dict[str, Any], counts: dict[str, int], kind: str) -> str:
    of = f" of {counted(counts['systems'], 'system')}" if counts["systems"] else ""
    tested = f"{counted(counts['clips'], 'clip')}{of}, {counted(described['folds'], 'fold')}"
    meaning = described["meaning"]
    return f"{meaning[:1].upper()}{meaning[1:]}: {tested}, {kind}"


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
    if few := _few_systems(systems, "which predictor is best"):
        return f"{section.target}: {few}."
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


MOST_LINES = 25
_MOST_RATERS = 30
_FIGURES = ["Krippendorff's alpha", "ICC(1,k)", "leave one rater out"]
_FIGURES += [
    f"{metric}, {who}" for metric in ("U_SRCC", "S_SRCC") for who in ("another panel", "perfect predictor")
]


def detail_ratings(screening: Any, ceiling: Any, last: str) -> list[str]:
    """Lay out everything that is known.

    Parameters
    ----------
    screening : Screening or None
        Whose ratings were left out.
    ceiling : HumanCeiling
        How far raters agree.
    last : str
        The line to close with.

    Returns
    -------
    list of str
        Lines, and tables as `Table`.
    """
    parts = [] if screening is None else [*parts_of(screening), ""]
    parts += parts_of(ceiling)
    for name, raters in ceiling.raters.items():
        parts += ["", *_raters_of(name, raters)]
    return [*parts, "", last]


def summarize_ratings(screening: Any, ceiling: Any, last: str) -> list[str]:
    """Lay out what fits into `MOST_LINES` lines: the evidence as far as there is room, the most telling figures, and the raters in brief.

    Parameters
    ----------
    screening : Screening or None
        Whose ratings were left out.
    ceiling : HumanCeiling
        How far raters agree.
    last : str
        The line to close with.

    Returns
    -------
    list of str
        The lines, and tables as `Table`.
    """
    table = ceiling.table[ceiling.table["figure"].isin(_FIGURES)]
    words = table.assign(text=[_with_range(row) for row in table.itertuples()])
    wide = words.pivot(index="figure", columns="target", values="text")[list(dict.fromkeys(table["target"]))]
    told = table.loc[table["value"].notna(), "figure"]
    shown = wide.reindex([name for name in _FIGURES if name in set(told)]).fillna("-")
    tail = ["", f"Agreement of raters; intervals at {ceiling.confidence:.0%}"]
    tail += [Table(shown.rename_axis(index=None, columns=None))] if len(shown) else []
    tail += dict.fromkeys(part for part in parts_of(ceiling) if part.startswith("no "))
    tail += [_least_agreeing(name, raters) for name, raters in ceiling.raters.items()]
    head = [] if screening is None else parts_of(screening)
    if screening is not None and len(screening.left_out):
        rest = [*head[:-1], *tail]
        head = [*head[:-1], *_evidence(screening.left_out, MOST_LINES - 2 - _height(rest))]
    parts = kept = [*head, *tail]
    while _height(kept) > MOST_LINES - 2 - (kept is not parts):
        kept = kept[:-1]
    if kept is not parts:
        kept = [*kept, f"(+{_height(parts) - _height(kept)} more lines)"]
    return [*kept, last, "all figures, raters and evidence: --details"]


def _height(parts: Iterable[str]) -> int:
    return sum(part.count("\n") + 1 for part in parts)


def _evidence(left_out: pd.DataFrame, room: int) -> list[str]:
    """Lay out who was left out and why, in as many lines as there is room for."""
    if len(left_out) < room:
        return [Table(left_out, index=False)]
    shown = left_out.head(max(room - 2, 0))
    more = f"(+{len(left_out) - len(shown)} more lines of evidence)"
    return [Table(shown, index=False), more] if len(shown) else [more]


def _with_range(row: Any) -> str:
    return f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})" if row.low == row.low else f"{row.value:.3f}"


def _least_agreeing(target: str, raters: pd.DataFrame) -> str:
    order = raters["agreement"].dropna().sort_values()
    least = listed((f"{name} ({value:.2f})" for name, value in order.items()), most=3)
    return (
        f"{target}: {counted(len(raters), 'rater')}; agreement with the others, least first: {least or '-'}"
    )


def _raters_of(target: str, raters: Any) -> list[str]:
    """Lay out the raters, those who agree least first; of many only these."""
    shown = raters.sort_values("agreement").head(_MOST_RATERS)
    which = f", the {len(shown)} who agree least" if len(shown) < len(raters) else ""
    lines = [f"{target}: {counted(len(raters), 'rater')}{which}", Table(shown.round(2), na_rep="-")]
    if "bias_refused" in raters.attrs:
        lines.append(f"no bias: {raters.attrs['bias_refused']}")
    return lines
