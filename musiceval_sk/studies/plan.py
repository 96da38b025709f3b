"""A study as a plan: where clips and scores lie, which features, models and splits to compare; from a file or from Python."""

import difflib
import importlib
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.utils import all_estimators

from musiceval_sk._files import paths_as_text, refused_as
from musiceval_sk._ids import id_texts
from musiceval_sk._optional import import_optional
from musiceval_sk._text import listed
from musiceval_sk.datasets.readers import check_scale, read_table
from musiceval_sk.estimators.lookup import default_models, look_ups, scaled
from musiceval_sk.estimators.regressor import MOSRegressor
from musiceval_sk.exceptions import AudioError, ClipsTableError
from musiceval_sk.features.extract import prompts_for
from musiceval_sk.ratings.aggregate import load_scored_clips, single_ratings
from musiceval_sk.ratings.formats import read_ratings
from musiceval_sk.studies.cell import check_run, targets_of
from musiceval_sk.studies.result import StudyResult
from musiceval_sk.studies.run import clap_score_row, run_study
from musiceval_sk.studies.splits import make_split

STUDY_FILES = (".toml", ".yaml", ".yml")
_PATHS = ("clips", "ratings", "prompts", "cache", "memory")
_FEATURE_PATHS = ("table", "checkpoint", "tokenizer")
_OF_RATINGS = ("format", "columns", "listing", "salt")
_OWN = ("encoder", "modality", "pooling")
# Of a file in YAML: how often its length what it holds may be, with all that its aliases repeat.
_MOST_REPEATED = 10
_OF_RUN_STUDY = ("n_splits", "random_state", "scale", "n_resamples", "memory", "n_jobs")


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
        parameters and, optionally, ``scaled = false``. By default all of `default_models`. Look-ups are always there, and so is a
        CLAP score where features allow for it, see `run_study`.
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
    ratings_options : mapping, default=None
        How ratings are read, where their file does not tell: ``format``, ``columns``, ``listing`` and ``salt`` as of
        `musiceval_sk.ratings.formats.read_ratings`.

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
    ratings_options: Mapping[str, Any] | None = None

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
        content = _resolved(_read_toml_or_yaml(path), _PATHS, path.parent, f"{path}")
        _refuse_unknown(content, [one.name for one in fields(cls)], f"{path}:")
        if "clips" not in content:
            raise ValueError(f'{path}: names no clips; give clips = "clips.csv", or a folder')
        if "features" in content:
            content["features"] = {
                name: _resolved(given, _FEATURE_PATHS, path.parent, f"{path}: features {name!r}")
                for name, given in _mapping(content["features"], f"{path}: features").items()
            }
        if (given := content.get("ratings_options")) is not None:
            where = f"{path}: ratings_options"
            content["ratings_options"] = _resolved(given, ("listing",), path.parent, where)
        if not isinstance(content.get("n_splits", 1), int):
            raise ValueError(f"{path}: n_splits = {content['n_splits']!r} must be a whole number")
        if "scale" in content:
            content["scale"] = _scale(content["scale"], path)
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
            given = dict(_mapping(given, f"features {name!r}"))
            if ("encoder" in given) == ("table" in given):
                what = listed(given) or "nothing"
                raise ValueError(f"features {name!r} must name either an encoder or a table; it has {what}")
            poolings = given.pop("pooling", "mean")
            several = not isinstance(poolings, str)
            for pooling in _names(poolings, "pooling"):
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
        read, rated = ("targets", "pattern", "prompts", "scale"), self.read_ratings()
        clips = load_scored_clips(self.clips, ratings=rated, **{name: getattr(self, name) for name in read})
        targets = targets_of(clips, self.targets)
        models = self.models_for(clips)
        splits = _names(self.cv, "cv")
        for name in splits:
            make_split(name, clips, n_splits=self.n_splits, random_state=self.random_state)
        tables, described = {}, {}
        for name, given in self.feature_sets().items():
            if "table" in given:
                tables[name], described[name] = read_features(given["table"])
            else:
                where: dict[str, Any] = {"cache": self.cache, "n_jobs": self.n_jobs}
                tables[name], described[name] = embed_features(clips, given, targets, **where)
        how: dict[str, Any] = {name: getattr(self, name) for name in _OF_RUN_STUDY}
        how |= {"features": described, "ratings": single_ratings(self.clips, rated), "progress": progress}
        result = run_study(
            clips, tables, models | clap_score_row(tables.values()), splits, targets=targets, **how
        )
        if self.ratings is not None:
            told = {name: value for name, value in (self.ratings_options or {}).items() if name != "salt"}
            result.about["ratings"] = {"file": Path(self.ratings).name, "options": paths_as_text(told)}
        return result

    def read_ratings(self) -> pd.DataFrame | None:
        """Read the single ratings.

        Returns
        -------
        pandas.DataFrame or None
            As `musiceval_sk.ratings.formats.read_ratings` gives them; None where the plan names none.

        Raises
        ------
        ValueError
            If an option is unknown, or there are options and no ratings.
        ClipsTableError
            If the file cannot be read.
        """
        options = dict(_mapping(self.ratings_options or {}, "ratings_options"))
        _refuse_unknown(options, _OF_RATINGS, "ratings_options:")
        targets = None if self.targets is None else _names(self.targets, "targets")
        return read_if_given(self.ratings, targets, options)

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
        known, models = default_models(clips, random_state=self.random_state), look_ups(clips)
        if self.models is None:
            return known
        if isinstance(self.models, Mapping):
            made = {name: _model(name, given, self.random_state) for name, given in self.models.items()}
            return models | made
        in_any_case = {name.lower(): name for name in known}
        for given in _names(self.models, "models"):
            name = in_any_case.get(given.lower())
            if name is None:
                choice = ", ".join(one for one in known if one not in look_ups(clips))
                raise ValueError(f"unknown model {given!r}; choose from {choice}, or use a study file")
            models[name] = known[name]
        return models


def read_if_given(ratings: Any, targets: Sequence[str] | None, options: Mapping[str, Any]) -> Any:
    """Read ratings; None where there are none, which then need no options."""
    if ratings is not None:
        return read_ratings(ratings, targets=targets, **options)
    for name in options:
        words = f"{name}= says how ratings are read, and there are none"
        raise ValueError(f"{words}; give ratings= or leave it out")
    return None


def read_features(path: str | Path) -> tuple[pd.DataFrame, str]:
    """Read vectors from a table, and say what they are.

    Parameters
    ----------
    path : str or Path
        CSV, TSV or JSON Lines with a column ``clip_id``; all others are numbers.

    Returns
    -------
    (pandas.DataFrame, str)
        Vectors by clip id, and a description.

    Raises
    ------
    ClipsTableError
        If there is no such column, or a cell is no number.
    """
    table = read_table(path)
    if "clip_id" not in table:
        raise ClipsTableError(f"{path}: has no column 'clip_id'; found {listed(table.columns)}")
    cells = table.drop(columns="clip_id").apply(pd.to_numeric, errors="coerce")
    broken = cells.isna().any(axis=1)
    if broken.any():
        lines = listed(table.index[broken])
        raise ClipsTableError(f"{path}: lines without a number in every column: {lines}")
    return cells.set_axis(pd.Index(id_texts(table["clip_id"]), name="clip_id")).astype(float), f"table {path}"


def embed_features(
    clips: pd.DataFrame, given: Mapping[str, Any], targets: Iterable[str], *, cache: Any, n_jobs: int | None
) -> tuple[pd.DataFrame, str]:
    """Embed the clips that can be read, and say with what.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table.
    given : mapping
        ``encoder``, ``pooling``, ``modality`` and the encoder's options.
    targets : iterable of str
        What the vectors are for.
    cache : str, Path or None
        Embedding store.
    n_jobs : int or None
        Processes.

    Returns
    -------
    (pandas.DataFrame, str)
        Vectors by clip id, and encoder, fingerprint and pooling in words.

    Raises
    ------
    AudioError
        If no clip can be read.
    """
    from musiceval_sk.features.embedder import ClipEmbedder

    own = {key: value for key, value in given.items() if key in _OWN}
    options = paths_as_text({key: value for key, value in given.items() if key not in own})
    places: dict[str, Any] = {"cache": None if cache is None else str(cache), "n_jobs": n_jobs}
    embedder = ClipEmbedder(**own, **places, encoder_options=options or None).fit(clips)
    return embed_readable(embedder, clips, targets), describe_features(embedder)


def embed_readable(embedder: Any, clips: pd.DataFrame, targets: Iterable[str] = ()) -> pd.DataFrame:
    """Give the vectors of the clips that can be read, by a fitted `ClipEmbedder`; refuse none at all."""
    with prompts_for(targets):
        table, report = embedder.embed(clips)
    if table.empty:
        raise AudioError(f"none of the clips could be read: {listed(report.skipped['reason'])}")
    return table


def describe_features(embedder: Any) -> str:
    """Say in words what a fitted `ClipEmbedder` makes: encoder, fingerprint and pooling."""
    words = ", ".join(
        f"{modality} {description['name']} ({embedder.encoder_.fingerprint_of(modality)})"
        for modality, description in embedder.description_.items()
    )
    return f"{words}; pooling {embedder.pooling}"


def _model(name: str, given: Any, random_state: int | None) -> Any:
    """Make an estimator by the name of its class, with its parameters; the study's seed where none is given."""
    given = dict(_mapping(given, f"model {name!r}"))
    if "estimator" not in given:
        raise ValueError(f'model {name!r} names no estimator; give estimator = "Ridge", "MOSRegressor", ...')
    kind, is_scaled = given.pop("estimator"), given.pop("scaled", True)
    known = dict(all_estimators(type_filter="regressor")) | {"MOSRegressor": MOSRegressor}
    if kind not in known:
        close = difflib.get_close_matches(kind, known)
        hint = f"; did you mean {' or '.join(close)}?" if close else "; take one of scikit-learn's"
        raise ValueError(f"model {name!r}: unknown estimator {kind!r}{hint}")
    # A scale is said where scores must not leave it; the study may be of any.
    made = MOSRegressor(scale=None) if kind == "MOSRegressor" else known[kind]()
    parameters = made.get_params()
    _refuse_unknown(given, list(parameters), f"model {name!r}:")
    if "random_state" in parameters:
        given.setdefault("random_state", random_state)
    taken = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    made.set_params(**taken)._validate_params()
    return scaled(made) if is_scaled else made


def _read_toml_or_yaml(path: Path) -> Any:
    if path.suffix.lower() not in STUDY_FILES:
        raise ValueError(f"{path}: a study file is one of {', '.join(STUDY_FILES)}")
    if path.suffix.lower() == ".toml":
        parse = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads
    else:
        yaml = import_optional("yaml", extra="yaml", purpose="A study file in YAML")
        # The one in Python takes seconds of a few kilobytes of brackets.
        parse = partial(yaml.load, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    try:
        text = path.read_text(encoding="utf-8")
        content = parse(text)
        is_repeated = _size_of(content, {}) > _MOST_REPEATED * max(len(text), 1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # each parser has errors of its own
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    if is_repeated:
        raise ValueError(
            f"{path}: parts that aliases (*name) repeat would fill memory, or hold themselves; write them out"
        )
    return content


def _size_of(value: Any, known: dict[int, float]) -> float:
    """Count letters and parts of what a file holds, those that aliases of YAML repeat each time."""
    if not isinstance(value, dict | list):
        return len(str(value)) + 1
    if id(value) not in known:
        known[id(value)] = math.inf  # of a part that holds itself
        parts = chain(value, value.values()) if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size_of(part, known) for part in parts)
    return known[id(value)]


def _scale(value: Any, path: Path) -> tuple[float, float] | None:
    with refused_as(ValueError, f"{path}: scale = {value!r}", "it must be two numbers, such as [1, 5]"):
        return None if value is None else check_scale(value)


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must hold names and values, got {type(value).__name__}")
    return value


def _names(value: Any, what: str) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{what} = {value!r} must be a name or names")
    return [*names]


def _refuse_unknown(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f", did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{where} unknown key {key!r}{hint} Known are {', '.join(known)}")


def _resolved(given: Any, paths: Sequence[str], folder: Path, where: str) -> dict[str, Any]:
    """Take paths as relative to the study file; ``~`` is one's home."""
    given = dict(_mapping(given, where))
    found = {name: path for name, path in given.items() if name in paths and path is not None}
    with refused_as(ValueError, f"{where}: {', '.join(map(str, found))} must be paths"):
        return {**given, **{name: str(folder / os.path.expanduser(path)) for name, path in found.items()}}
