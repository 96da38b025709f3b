"""What a study found: tables, CSV and JSON, and all of it in words."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._files import parse_json, refused_as, write_csv
from musiceval_sk._text import Shown, Table, counted, off_scale, require_known
from musiceval_sk.statistics.metrics import METRICS
from musiceval_sk.statistics.resampling import LEAST_SYSTEMS_TO_RANK

POOLED, MEAN_OF_FOLDS = KINDS = ("pooled", "mean of folds")
NO_FEATURES = "none"
FEW_SYSTEMS = 10
NOTED = ["split", "target", "features", "model", "note"]
COMPARED = ["split", "target", "kind", "metric", "features_a", "model_a", "features_b", "model_b"]
COMPARED += ["value_a", "value_b", "difference", "low", "high", "p_value", "p_holm", "n", "note"]
PREDICTED = ["split", "target", "features", "model", "fold", "clip_id", "truth", "prediction"]
_TABLES = {"scores": [*NOTED[:-1], "kind", *METRICS], "predictions": PREDICTED, "notes": NOTED}
_TABLES |= {"comparisons": COMPARED}
_PACKAGES = ("musiceval_sk", "scikit-learn", "torch", "numpy", "scipy", "pandas")


@dataclass(frozen=True, repr=False)
class StudyResult(Shown):
    """What `run_study` found.

    Attributes
    ----------
    scores : pandas.DataFrame
        One row per split, target, features, model and kind ("pooled" or "mean of folds"): the eight metrics, and
        ``<metric>_low`` and ``<metric>_high``, 95 % intervals as those of `bootstrap_metrics`. Models without
        audio have the features "none".
    predictions : pandas.DataFrame
        One row per split, target, features, model and tested clip: ``fold``, ``truth``, ``prediction``.
    notes : pandas.DataFrame
        One row per split, target, features and model with something to say: what could not be judged, and why.
    comparisons : pandas.DataFrame
        Tests of `compare_predictors` between the best row of each table (``a``) and those next to it (``b``).
    about : dict
        Splits with leakage and counts, features, models, human ceiling, seeds and versions.
    """

    scores: pd.DataFrame
    predictions: pd.DataFrame
    notes: pd.DataFrame
    comparisons: pd.DataFrame
    about: dict[str, Any]

    @property
    def splits(self) -> list[str]:
        """Names of the splits, in the order in which they were asked for."""
        return list(self.about["splits"])

    @property
    def targets(self) -> list[str]:
        """Names of the targets."""
        return list(self.about["inputs"])

    def to_frame(self) -> pd.DataFrame:
        """Give what was found as a tidy table.

        Returns
        -------
        pandas.DataFrame
            One row a split, target, features, model, ``kind`` of score and ``metric``: ``value``, and its interval ``low`` to ``high``, nan
            where there is none.
        """
        keys, tables = [*NOTED[:-1], "kind"], []
        for metric in METRICS:
            bounds = {end: self.scores.get(f"{metric}_{end}", np.nan) for end in ("low", "high")}
            tables.append(self.scores[keys].assign(metric=metric, value=self.scores[metric], **bounds))
        return pd.concat(tables).sort_index(kind="stable").reset_index(drop=True)

    def _headline(self) -> str:
        number = counted(len(self.scores[["features", "model"]].drop_duplicates()), "predictor")
        return f"{number} of {', '.join(self.targets)}; split by {', '.join(self.splits)}"

    def _table_to_show(self) -> pd.DataFrame:
        kinds = {name: self.reading_kind(name) for name in self.splits}
        rows = self.scores[self.scores["kind"] == self.scores["split"].map(kinds)]
        return rows[["split", "target", "features", "model", *METRICS]].reset_index(drop=True)

    def _remarks(self) -> list[str]:
        return [
            f"{split}, {target}: {caution}"
            for split in self.splits
            for target in self.about["splits"][split]["targets"]
            for caution in self.cautions(target, split)
        ]

    def table(self, target: str, kind: str = POOLED, *, split: str | None = None) -> pd.DataFrame:
        """Scores of one target under one split, one row a predictor.

        Parameters
        ----------
        target : str
            Name of the target.
        kind : {"pooled", "mean of folds"}, default="pooled"
            Which scores.
        split : str, default=None
            Name of the split; needed where there are several.

        Returns
        -------
        pandas.DataFrame
            Indexed by model, with its features where there are several; the eight metrics as columns.

        Raises
        ------
        ValueError
            If the target or split is unknown, or no split is named where there are several.
        """
        return self.rows(target, kind, split=split)[list(METRICS)]

    def rows(self, target: str, kind: str = POOLED, *, split: str | None = None) -> pd.DataFrame:
        """Like `table`, with the bounds of all intervals, and ``features`` and ``model`` as columns.

        Parameters
        ----------
        target : str
            Name of the target.
        kind : {"pooled", "mean of folds"}, default="pooled"
            Which scores.
        split : str, default=None
            Name of the split; needed where there are several.

        Returns
        -------
        pandas.DataFrame
            Indexed as `table`.

        Raises
        ------
        ValueError
            As of `table`.
        """
        require_known("target", target, self.targets)
        found = self.part("scores", target, split)
        chosen = found[found["kind"] == kind]
        names = pd.Index(self.predictor_names(chosen["features"], chosen["model"]), name="model")
        return chosen.drop(columns=["split", "target", "kind"]).set_axis(names)

    def part(self, table: str, target: str, split: str | None = None) -> pd.DataFrame:
        """Rows of one of the tables about a target under a split.

        Parameters
        ----------
        table : {"scores", "predictions", "notes", "comparisons"}
            Name of the table.
        target : str
            Name of the target.
        split : str, default=None
            Name of the split; needed where there are several.

        Returns
        -------
        pandas.DataFrame
            With all columns.

        Raises
        ------
        ValueError
            If the split is unknown, or none is named where there are several.
        """
        found, split = getattr(self, table), self.split_named(split)
        return found[(found["split"] == split) & (found["target"] == target)]

    def interval(
        self,
        target: str,
        predictor: str,
        metric: str = "S_SRCC",
        kind: str = POOLED,
        *,
        split: str | None = None,
    ) -> tuple[float, float]:
        """95 % interval of a score.

        Parameters
        ----------
        target : str
            Name of the target.
        predictor : str
            The row.
        metric : str, default="S_SRCC"
            One of `METRICS`.
        kind : {"pooled", "mean of folds"}, default="pooled"
            Which scores.
        split : str, default=None
            Name of the split; needed where there are several.

        Returns
        -------
        tuple of float
            Bounds, as those of `bootstrap_metrics`; nan where the score is undefined or perfect, or nothing was resampled.
        """
        row = self.rows(target, kind, split=split).loc[predictor]
        return float(row.get(f"{metric}_low", np.nan)), float(row.get(f"{metric}_high", np.nan))

    def predictor_names(self, features: pd.Series, models: pd.Series) -> list[str]:
        """Name predictors: by model, and by features where the study has several and the model hears them.

        Parameters
        ----------
        features, models : pandas.Series
            Columns of one of the tables.

        Returns
        -------
        list of str
            Names, such as "ridge" or "ridge (clap)".
        """
        several = len(self.about["features"]) > 1
        return [
            f"{model} ({heard})" if several and heard != NO_FEATURES else str(model)
            for heard, model in zip(features, models, strict=True)
        ]

    def split_named(self, split: str | None) -> str:
        """Check the name of a split.

        Parameters
        ----------
        split : str or None
            The name; None for the only one.

        Returns
        -------
        str
            The name.

        Raises
        ------
        ValueError
            If it is unknown, or None where there are several.
        """
        if split is None and len(self.splits) == 1:
            return self.splits[0]
        require_known("split", split, self.splits)
        return str(split)

    def reading_kind(self, split: str | None = None) -> str:
        """Say which kind of score a split makes worth reading.

        Parameters
        ----------
        split : str, default=None
            Name of the split; needed where there are several.

        Returns
        -------
        {"pooled", "mean of folds"}
            See `reading_kind` for the reason.
        """
        return reading_kind(self.about["splits"][self.split_named(split)])

    def to_csv(self, path: str | Path) -> None:
        """Write the scores, one row per split, target, features, model and kind.

        Parameters
        ----------
        path : str or Path
            The file.
        """
        write_csv(self.scores.merge(self.notes, how="left", on=NOTED[:-1]), path)

    def to_json(self, path: str | Path) -> None:
        """Write everything, so that `StudyResult.from_json` gives it back.

        Parameters
        ----------
        path : str or Path
            The file; nan is written as null.
        """
        write_result(path, {"about": self.about} | {name: getattr(self, name) for name in _TABLES})

    @classmethod
    def from_json(cls, path: str | Path) -> "StudyResult":
        """Read what `to_json` wrote.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        StudyResult
            As it was.

        Raises
        ------
        ValueError
            If the file is no JSON, or lacks a part of a study.
        """
        wanted = "study", "the study.json that musiceval study --out, or StudyResult.to_json, wrote"
        content = read_result(path, {**_TABLES, "about": ["splits", "inputs", "features"]}, *wanted)
        numbers = [name for name in content["scores"] if str(name).startswith(tuple(METRICS))]
        content["scores"] = content["scores"].astype(dict.fromkeys(numbers, float))
        return cls(**{name: content[name] for name in (*_TABLES, "about")})

    def cautions(self, target: str, split: str | None = None) -> list[str]:
        """Say what the S metrics of a table cannot show, and which predictors leave the raters' scale.

        Parameters
        ----------
        target : str
            Name of the target.
        split : str, default=None
            Name of the split; needed where there are several.

        Returns
        -------
        list of str
            Sentences; none where nothing stands in the way.
        """
        made = self.part("predictions", target, split)
        names = pd.Index(self.predictor_names(made["features"], made["model"]))
        predicted = made.set_index("clip_id")["prediction"].groupby(names, sort=False)
        errors = self.table(target, split=split)["U_MSE"]  # what has none is no score
        scale = self.about.get("scale")
        found = {name: off_scale(scores, scale) for name, scores in predicted if np.isfinite(errors[name])}
        described = self.about["splits"][self.split_named(split)]
        return [
            *(f"{name}: {words}." for name, words in found.items() if words),
            *_cautions(described, described["targets"][target]),
        ]

    def _parts(self) -> list[str]:
        """All tables as text, each split with what it shares between training and test."""
        features = self.about["features"]
        lines = ["Features:", *(f"  {name}: {text}" for name, text in features.items())]
        if len(features) == 1:
            lines = [f"Features: {next(iter(features.values()))}"]
        for name, split in self.about["splits"].items():
            shares = [f"{share:.0%} by {label}" for label, share in split["shared_with_training"].items()]
            lines += [
                f"\nSplit {name!r}: {split['meaning']}; {split['folds']} fold(s)",
                f"Test clips that share a label with their training clips: {', '.join(shares) or 'unknown'}",
            ]
            for target, counts in split["targets"].items():
                inputs = dict.fromkeys(map(str, self.about["inputs"][target].values()))
                tested = f"{counted(counts['clips'], 'clip')} of {counted(counts['systems'], 'system')}"
                lines += [f"\n{target}: {tested}; {' or '.join(inputs)} columns as input"]
                lines += [*_table(self, name, target), *_tests(self, name, target)]
                lines += [f"  {caution}" for caution in self.cautions(target, name)]
        return lines


def reading_kind(split: dict[str, Any]) -> str:
    """Say which kind of score a split makes worth reading.

    Parameters
    ----------
    split : dict
        A split's account in ``StudyResult.about``.

    Returns
    -------
    {"pooled", "mean of folds"}
        The mean of folds where training shares systems with test: pooled, all clips of a system have been in training of one
        fold or another, so that a look-up of the system mean comes to score 1. Else pooled, since few systems a fold bias the
        mean of folds low.
    """
    shares = split["shared_with_training"].get("system", 0) > 0
    return MEAN_OF_FOLDS if shares and split["folds"] > 1 else POOLED


def _cautions(split: dict[str, Any], counts: dict[str, int]) -> list[str]:
    if not counts["systems"]:
        return ["S metrics: not every clip names its system, so there are none."]
    found = []
    if counts["systems"] < FEW_SYSTEMS:
        found.append(f"S metrics rest on {counts['systems']} systems: too few to tell predictors apart.")
    if split["folds"] == 1:
        return found
    found.append(
        "S metrics, pooled: over the folds all clips of a system have been in training, so a look-up of the "
        "system mean scores 1 by construction. Read the mean of folds, or split by system."
        if reading_kind(split) == MEAN_OF_FOLDS
        else "Correlations, pooled: a predictor that uses no audio scores below 0, not at 0 (S_SRCC about -0.9 at 5 "
        "systems, -0.4 at 12, -0.2 at 31 in simulation), because the mean of the training scores is low where "
        "the test systems are good; intervals leave that out."
    )
    if counts["least_systems_in_a_fold"] < FEW_SYSTEMS:
        fewest = f"as few as {counted(counts['least_systems_in_a_fold'], 'system')} in a fold"
        left_out = f"folds with fewer than {LEAST_SYSTEMS_TO_RANK} are left out of correlations"
        found.append(f"S metrics, mean of folds: {fewest}; {left_out}.")
    return found


def _table(study: StudyResult, split: str, target: str) -> list[str]:
    """Predictors in both kinds, under them the raters themselves, and notes."""
    by_kind = {kind: study.rows(target, kind, split=split) for kind in KINDS}
    rows: dict[Any, Mapping[str, Any]] = {
        (name, kind): {**rows.loc[name, list(METRICS)], "S_SRCC 95 %": _bounds(rows.loc[name])}
        for name in by_kind[POOLED].index
        for kind, rows in by_kind.items()
    }
    for who, figures in study.about["human_ceiling"].get(target, {}).items():
        rows["human ceiling", who] = {**figures, "S_SRCC 95 %": ""}
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=[*METRICS, "S_SRCC 95 %"])
    shown = Table(table, strip=True, float_format="{:.3f}".format, na_rep="-", col_space=7)
    notes = study.part("notes", target, split)
    names = study.predictor_names(notes["features"], notes["model"])
    return [shown, *(f"  {name}: {note}" for name, note in zip(names, notes["note"], strict=True))]


def _bounds(row: pd.Series) -> str:
    if row[list(METRICS)].isna().all():
        return "cannot be judged"
    low, high = row.get("S_SRCC_low", np.nan), row.get("S_SRCC_high", np.nan)
    if np.isfinite(low):
        return f"[{low:+.2f}, {high:+.2f}]"
    # A perfect ranking has none, and one that no system changes.
    return "no interval" if np.isfinite(row["S_SRCC"]) else ""


def _tests(study: StudyResult, split: str, target: str) -> list[str]:
    """Tell how far the best row is ahead of those next to it."""
    found = study.part("comparisons", target, split)
    if found.empty:
        return []
    best, *_ = study.predictor_names(found["features_a"], found["model_a"])
    table = found[["difference", "low", "high", "p_holm"]].astype(float)
    table.index = study.predictor_names(found["features_b"], found["model_b"])
    shown = table.rename(columns={"p_holm": "p"})
    title = f"  Best by {found['metric'].iloc[0]}, {found['kind'].iloc[0]}: {best}. Ahead by, 95 % interval, p (swaps, Holm):"
    return [title, Table(shown, "    ", float_format="{:.3f}".format, na_rep="-")]


def write_result(path: str | Path, parts: Mapping[str, Any]) -> None:
    """Write a result as JSON.

    Parameters
    ----------
    path : str or Path
        The file.
    parts : mapping of str to pandas.DataFrame or JSON value
        What it is made of; a table becomes a list of its rows, and nan null.
    """
    rows = {"orient": "records", "double_precision": 15}
    content = {
        name: json.loads(part.to_json(**rows)) if isinstance(part, pd.DataFrame) else part
        for name, part in parts.items()
    }
    Path(path).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def read_result(
    path: str | Path, parts: Mapping[str, Sequence[str]], what: str, advice: str
) -> dict[str, Any]:
    """Read what `write_result` wrote.

    Parameters
    ----------
    path : str or Path
        The file.
    parts : mapping of str to sequence of str
        The columns of each table, or the keys of each dict, that must be there.
    what, advice : str
        What the file should hold, and what to give, for the error.

    Returns
    -------
    dict
        By name, tables as pandas.DataFrame.

    Raises
    ------
    ValueError
        If the file is no JSON, or a part of the result is missing.
    """
    with refused_as(ValueError, f"{path} holds no {what}", f"give {advice}"):
        content = parse_json(Path(path).read_text(encoding="utf-8"))
        for name, needed in parts.items():
            held = content[name]
            if needed and isinstance(held, list):
                content[name] = held = pd.DataFrame(held, columns=None if held else list(needed))
            for key in needed:
                held[key]
        return content


def made_with(*more: str) -> dict[str, Any]:
    """Versions of Python and of the packages in use, those in ``more`` too, and the time of day in UTC."""
    packages = {name: _version(name) for name in (*_PACKAGES, *more)}
    made = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"versions": {"python": platform.python_version()} | packages, "made": made}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
