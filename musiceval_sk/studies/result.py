"""What a study found: tables, CSV and JSON."""

import json
import platform
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from musiceval_sk._text import listed, off_scale
from musiceval_sk.statistics.metrics import METRICS

POOLED, MEAN_OF_FOLDS = KINDS = ("pooled", "mean of folds")
NO_FEATURES = "none"
NOTED = ["split", "target", "features", "model", "note"]
COMPARED = ["split", "target", "kind", "metric", "features_a", "model_a", "features_b", "model_b"]
COMPARED += ["value_a", "value_b", "difference", "low", "high", "p_value", "p_holm", "n", "note"]
_PACKAGES = ("musiceval_sk", "scikit-learn", "torch", "numpy", "scipy", "pandas")
_TABLES = ("scores", "predictions", "notes", "comparisons")


@dataclass(frozen=True)
class StudyResult:
    """What `run_study` found.

    Attributes
    ----------
    scores : pandas.DataFrame
        One row per split, target, features, model and kind ("pooled" or "mean of folds"): the eight metrics, and
        ``<metric>_low`` and ``<metric>_high``, 95 % intervals as those of `bootstrap_metrics`. Models that hear
        nothing have the features "none".
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
        split = self.split_named(split)
        if target not in self.targets:
            raise ValueError(f"unknown target {target!r}; the study has {listed(self.targets)}")
        found = self.scores
        chosen = found[(found["split"] == split) & (found["target"] == target) & (found["kind"] == kind)]
        names = pd.Index(self.predictor_names(chosen["features"], chosen["model"]), name="model")
        return chosen.drop(columns=["split", "target", "kind"]).set_axis(names)

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
        return float(row.get(f"{metric}_low", float("nan"))), float(row.get(f"{metric}_high", float("nan")))

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
        if split not in self.splits:
            asked = "name one: " if split is None else f"unknown split {split!r}; "
            raise ValueError(f"{asked}the study has the splits {listed(self.splits)}")
        return split

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
        self.scores.merge(self.notes, how="left", on=NOTED[:-1]).to_csv(path, index=False)

    def to_json(self, path: str | Path) -> None:
        """Write everything, so that `StudyResult.from_json` gives it back.

        Parameters
        ----------
        path : str or Path
            The file; nan is written as null.
        """
        tables = {
            name: json.loads(getattr(self, name).to_json(orient="records", double_precision=15))
            for name in _TABLES
        }
        Path(path).write_text(json.dumps({"about": self.about, **tables}, indent=1, ensure_ascii=False))

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
        """
        content = json.loads(Path(path).read_text())
        scores = pd.DataFrame(content["scores"])
        scores = scores.astype({name: float for name in scores if str(name).startswith(tuple(METRICS))})
        return cls(
            scores,
            pd.DataFrame(content["predictions"]),
            pd.DataFrame(content["notes"], columns=NOTED),
            pd.DataFrame(content["comparisons"], columns=COMPARED),
            content["about"],
        )

    def __str__(self) -> str:
        """All tables as text, each split with what it shares between training and test."""
        from musiceval_sk.studies.text import study_text

        return study_text(self)

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
        from musiceval_sk.studies.text import cautions

        split = self.split_named(split)
        described = self.about["splits"][split]
        made = self.predictions[(self.predictions["target"] == target) & (self.predictions["split"] == split)]
        names = pd.Index(self.predictor_names(made["features"], made["model"]))
        found = (
            made.set_index("clip_id")["prediction"]
            .groupby(names, sort=False)
            .apply(off_scale, self.about.get("scale"))
        )
        sentences = [f"{name}: {words}." for name, words in found.items() if words]
        return [*sentences, *cautions(described, described["targets"][target])]


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


def provenance(*more: str) -> dict[str, Any]:
    """Versions of Python and of the packages in use, those in ``more`` too, and the time of day in UTC."""
    packages = {name: _version(name) for name in (*_PACKAGES, *more)}
    made = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"versions": {"python": platform.python_version()} | packages, "made": made}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
