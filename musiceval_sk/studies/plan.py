"""A study as a plan: where clips and scores lie, which features, models and splits to compare; from a file or from Python."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.estimators.lookup import default_models, look_ups
from musiceval_sk.ratings.scored import load_scored_clips, single_ratings
from musiceval_sk.studies.features import embed_features, read_features
from musiceval_sk.studies.file import (
    mapping_of,
    read_study_file,
    refuse_unknown,
    resolved,
    scale_of,
)
from musiceval_sk.studies.inputs import check_run, targets_of
from musiceval_sk.studies.models import make_model
from musiceval_sk.studies.result import StudyResult
from musiceval_sk.studies.run import run_study
from musiceval_sk.studies.splits import make_split

_PATHS = ("clips", "ratings", "prompts", "cache", "memory")
_FEATURE_PATHS = ("table", "checkpoint", "tokenizer")
_WHOLE_NUMBERS = {"n_splits", "n_resamples"}


@dataclass(frozen=True)
class StudyPlan:
    """All that a study needs, by name.

    Attributes
    ----------
    clips : str or Path
        Clips table, folder of sounds, or MusicEval (folder or Parquet).
    features : mapping of str to mapping, default={"spectral": {"encoder": "spectral"}}
        By name, an ``encoder`` with ``pooling`` (or a list of them, each then a row of features of its own), ``modality``, and the
        encoder's options such as ``checkpoint``, ``tokenizer`` and ``device``; or a ``table`` of vectors, one row a clip, with a column
        ``clip_id``.
    models : sequence of str, or mapping of str to mapping, default=None
        Names of `default_models`; or by name an ``estimator``, a class of scikit-learn's regressors or MOSRegressor, with its
        parameters and, optionally, ``scaled = false``. By default all of `default_models`. Look-ups are always there.
    cv : str or sequence of str, default="system"
        Names of splits, see `make_split`.
    targets : str or sequence of str, default=None
        Score columns; by default those of impression and alignment that are there.
    ratings : str or Path, default=None
        Single ratings: scores are their means, and the human ceiling comes from them. MusicEval brings its own.
    pattern, prompts
        As of `load_clips`.
    scale : (float, float), default=(1, 5)
        Lowest and highest score that raters could give.
    n_splits, random_state, n_resamples, memory, n_jobs
        As of `run_study`.
    cache : str or Path, default=None
        Embedding store; by default `default_store_path`.

    Examples
    --------
    >>> plan = StudyPlan("clips.csv", features={"clap": {"encoder": "laion-clap", "pooling": ["mean", "max"]}})
    >>> list(plan.feature_sets())
    ['clap, mean', 'clap, max']
    """

    clips: str | Path
    features: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {"spectral": {"encoder": "spectral"}}
    )
    models: Sequence[str] | Mapping[str, Mapping[str, Any]] | None = None
    cv: str | Sequence[str] = "system"
    targets: str | Sequence[str] | None = None
    ratings: str | Path | None = None
    pattern: str | None = None
    prompts: str | Path | None = None
    scale: tuple[float, float] = (1, 5)
    n_splits: int | None = None
    random_state: int | None = 0
    n_resamples: int = 1000
    memory: str | Path | None = None
    n_jobs: int | None = None
    cache: str | Path | None = None

    @classmethod
    def from_file(cls, path: str | Path) -> "StudyPlan":
        """Read a plan from TOML or YAML; paths in it are relative to the file.

        Parameters
        ----------
        path : str or Path
            The file, ``.toml``, ``.yaml`` or ``.yml``. Its keys are the attributes of `StudyPlan`.

        Returns
        -------
        StudyPlan
            The plan.

        Raises
        ------
        ValueError
            If the file is neither, cannot be read, or has keys that mean nothing.
        """
        path = Path(path)
        content = read_study_file(path)
        names = [one.name for one in fields(cls)]
        refuse_unknown(content, names, f"{path}:")
        if "clips" not in content:
            raise ValueError(
                f'{path}: names no clips; give clips = "clips.csv", a folder, or MusicEval\'s folder'
            )
        content = {
            key: resolved(value, path.parent) if key in _PATHS else value for key, value in content.items()
        }
        if "features" in content:
            content["features"] = {
                name: {
                    key: resolved(value, path.parent) if key in _FEATURE_PATHS else value
                    for key, value in given.items()
                }
                for name, given in mapping_of(content["features"], f"{path}: features").items()
            }
        for key in _WHOLE_NUMBERS & content.keys():
            if not isinstance(content[key], int):
                raise ValueError(f"{path}: {key} = {content[key]!r} must be a whole number")
        if "scale" in content:
            content["scale"] = scale_of(content["scale"], f"{path}:")
        return cls(**content)

    def feature_sets(self) -> dict[str, dict[str, Any]]:
        """List the features one by one, poolings apart.

        Returns
        -------
        dict of str to dict
            By name, with one pooling each.

        Raises
        ------
        ValueError
            If features name no encoder and no table, or both.
        """
        sets: dict[str, dict[str, Any]] = {}
        for name, given in self.features.items():
            given = dict(mapping_of(given, f"features {name!r}"))
            if ("encoder" in given) == ("table" in given):
                raise ValueError(
                    f"features {name!r} must name either an encoder or a table; it has {listed(given) or 'nothing'}"
                )
            poolings = given.pop("pooling", "mean")
            several = not isinstance(poolings, str)
            for pooling in poolings if several else [poolings]:
                sets[f"{name}, {pooling}" if several else name] = given | {"pooling": pooling}
        return sets

    def run(self, *, progress: bool | None = None) -> StudyResult:
        """Read, embed what the cache lacks, and run the study.

        Parameters
        ----------
        progress : bool, default=None
            Whether to show bars on stderr; by default only on a terminal.

        Returns
        -------
        StudyResult
            As `run_study` gives it.

        Raises
        ------
        ValueError
            If a name is unknown, or as `run_study` raises it.

        Warns
        -----
        SkippedWarning
            If clips cannot be read, or have no scores.
        """
        check_run(self.n_resamples, self.random_state, self.memory)
        clips = load_scored_clips(
            self.clips,
            ratings=self.ratings,
            targets=self.targets,
            pattern=self.pattern,
            prompts=self.prompts,
            scale=self.scale,
        )
        targets = targets_of(clips, self.targets)
        models = self.models_for(clips)
        splits = [self.cv] if isinstance(self.cv, str) else list(self.cv)
        for name in splits:
            make_split(name, clips, n_splits=self.n_splits, random_state=self.random_state)
        tables, described = {}, {}
        for name, given in self.feature_sets().items():
            tables[name], described[name] = self._features(given, clips)
        return run_study(
            clips,
            tables,
            models,
            splits,
            targets=targets,
            n_splits=self.n_splits,
            random_state=self.random_state,
            features=described,
            ratings=single_ratings(self.clips, self.ratings),
            scale=self.scale,
            n_resamples=self.n_resamples,
            memory=self.memory,
            n_jobs=self.n_jobs,
            progress=progress,
        )

    def models_for(self, clips: pd.DataFrame) -> dict[str, Any]:
        """Make the models, look-ups first.

        Parameters
        ----------
        clips : pandas.DataFrame
            Clips table, for the look-ups.

        Returns
        -------
        dict of str to estimator
            By name.

        Raises
        ------
        ValueError
            If a name, estimator or parameter is unknown.
        """
        known = default_models(clips, random_state=self.random_state)
        models = look_ups(clips)
        if self.models is None:
            return known
        if isinstance(self.models, Mapping):
            return models | {
                name: make_model(name, given, self.random_state) for name, given in self.models.items()
            }
        hearing = [name for name in known if name not in models]
        for name in [self.models] if isinstance(self.models, str) else self.models:
            if name not in known:
                raise ValueError(
                    f"unknown model {name!r}; choose from {', '.join(hearing)}, or describe it by its estimator"
                )
            models[name] = known[name]
        return models

    def _features(self, given: dict[str, Any], clips: pd.DataFrame) -> tuple[pd.DataFrame, str]:
        """Read or compute one table of features, and say what it is; clips whose sound cannot be read are not in it."""
        if "table" in given:
            return read_features(given["table"])
        return embed_features(clips, given, cache=self.cache, n_jobs=self.n_jobs)
