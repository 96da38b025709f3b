"""A study in words: headers, tables, tests and cautions."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from musiceval_sk._text import counted
from musiceval_sk.statistics.metrics import METRICS
from musiceval_sk.statistics.resampling import LEAST_SYSTEMS_TO_RANK
from musiceval_sk.studies.result import KINDS, POOLED

if TYPE_CHECKING:
    from musiceval_sk.studies.result import StudyResult

FEW_SYSTEMS = 10


def study_text(study: "StudyResult") -> str:
    """Lay out a whole study.

    Parameters
    ----------
    study : StudyResult
        What to lay out.

    Returns
    -------
    str
        Many lines.
    """
    lines = [_features(study.about["features"])]
    for split in study.splits:
        lines += ["", _header(split, study.about["splits"][split])]
        for target in study.targets:
            lines += _section(study, split, target)
    return "\n".join(lines)


def cautions(split: dict[str, Any], facts: dict[str, int]) -> list[str]:
    """Say what the S metrics of a table cannot show.

    Parameters
    ----------
    split : dict
        The split's account in ``StudyResult.about``.
    facts : dict
        Number of clips and systems of the target.

    Returns
    -------
    list of str
        Sentences.
    """
    if not facts["systems"]:
        return ["S metrics: not every clip names its system, so there are none."]
    found = []
    if facts["systems"] < FEW_SYSTEMS:
        found.append(f"S metrics rest on {facts['systems']} systems: too few to tell predictors apart.")
    if split["folds"] == 1:
        return found
    if split["shared_with_training"].get("system", 0) > 0:
        found.append(
            "S metrics, pooled: over the folds all clips of a system have been in training, so a look-up of the "
            "system mean scores 1 by construction. Read the mean of folds, or split by system."
        )
    else:
        found.append(
            "Correlations, pooled: a predictor that hears nothing scores below 0, not at 0 (S_SRCC about -0.9 at 5 "
            "systems, -0.4 at 12, -0.2 at 31 in simulation), because the mean of the training scores is low where "
            "the test systems are good; intervals leave that out."
        )
    if facts["least_systems_in_a_fold"] < FEW_SYSTEMS:
        found.append(
            f"S metrics, mean of folds: as few as {facts['least_systems_in_a_fold']} systems in a fold; folds with "
            f"fewer than {LEAST_SYSTEMS_TO_RANK} are left out of correlations."
        )
    return found


def _features(features: dict[str, str]) -> str:
    if len(features) == 1:
        return f"Features: {next(iter(features.values()))}"
    return "\n".join(["Features:", *(f"  {name}: {text}" for name, text in features.items())])


def _header(name: str, split: dict[str, Any]) -> str:
    shared = ", ".join(f"{share:.0%} by {label}" for label, share in split["shared_with_training"].items())
    return (
        f"Split {name!r}: {split['meaning']}; {split['folds']} fold(s)\n"
        f"Test clips that share a label with their training clips: {shared or 'unknown'}"
    )


def _section(study: "StudyResult", split: str, target: str) -> list[str]:
    facts = study.about["splits"][split]["targets"][target]
    inputs = " or ".join(dict.fromkeys(str(count) for count in study.about["inputs"][target].values()))
    return [
        "",
        f"{target}: {counted(facts['clips'], 'clip')} of {counted(facts['systems'], 'system')}; {inputs} columns as input",
        *_table(study, split, target),
        *_notes(study, split, target),
        *_tests(study, split, target),
        *(f"  {caution}" for caution in study.cautions(target, split)),
    ]


def _table(study: "StudyResult", split: str, target: str) -> list[str]:
    """Predictors in both kinds, and under them the raters themselves."""
    by_kind = {kind: study.rows(target, kind, split=split) for kind in KINDS}
    rows = {
        (name, kind): {**rows.loc[name, list(METRICS)], "S_SRCC 95 %": _bounds(rows.loc[name])}
        for name in by_kind[POOLED].index
        for kind, rows in by_kind.items()
    }
    for who, figures in study.about["human_ceiling"].get(target, {}).items():
        rows["human ceiling", who] = figures
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=[*METRICS, "S_SRCC 95 %"])
    table["S_SRCC 95 %"] = table["S_SRCC 95 %"].fillna("")
    text = table.to_string(float_format="{:.3f}".format, na_rep="-", col_space=7)
    return [line.rstrip() for line in text.splitlines()]


def _bounds(row: pd.Series) -> str:
    if row[list(METRICS)].isna().all():
        return "cannot be judged"
    low, high = row.get("S_SRCC_low", np.nan), row.get("S_SRCC_high", np.nan)
    if np.isfinite(low):
        return f"[{low:+.2f}, {high:+.2f}]"
    return (
        "no interval" if np.isfinite(row["S_SRCC"]) else ""
    )  # of a perfect ranking, or one that no system changes


def _notes(study: "StudyResult", split: str, target: str) -> list[str]:
    notes = study.notes[(study.notes["split"] == split) & (study.notes["target"] == target)]
    names = study.predictor_names(notes["features"], notes["model"])
    return [f"  {name}: {note}" for name, note in zip(names, notes["note"], strict=True)]


def _tests(study: "StudyResult", split: str, target: str) -> list[str]:
    """Tell how far the best row is ahead of those next to it."""
    found = study.comparisons
    found = found[(found["split"] == split) & (found["target"] == target)]
    if found.empty:
        return []
    first = found.iloc[0]
    best = study.predictor_names(found["features_a"], found["model_a"])[0]
    lines = [
        f"  Best by {first['metric']}, {first['kind']}: {best}. Ahead by, 95 % interval, p (swaps, Holm):"
    ]
    for name, (_, row) in zip(
        study.predictor_names(found["features_b"], found["model_b"]), found.iterrows(), strict=True
    ):
        p_value = f"p = {row['p_holm']:.3f}" if np.isfinite(row["p_holm"]) else "no p"
        lines.append(
            f"    {name}: {row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}], {p_value}"
        )
    return lines
