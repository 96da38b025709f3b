"""What a study or a learning curve is made of: targets, tables of features, the clips that have both, and cells.

In a cell a model meets the training part of a fold and is asked about the tested part. What was predicted can be kept on disk, each
cell under a digest of all that it depends on: so a study that was killed goes on where it was, and a study with one more model fits
that one only.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import sklearn
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from musiceval_sk import _progress
from musiceval_sk._files import MALFORMED, atomic_write, parse_json
from musiceval_sk._ids import near_misses, under_ids_of, warn_of_skipped
from musiceval_sk._text import counted, listed
from musiceval_sk.datasets.clips import TARGETS, check_clips
from musiceval_sk.datasets.readers import how_to_name, unused_scores
from musiceval_sk.estimators.preparation import default_columns
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.statistics.align import require_whole
from musiceval_sk.studies.result import NO_FEATURES, made_with

_COLUMNS = {"truth": float, "prediction": float, "known": bool, "training_mean": float, "on_scale": bool}


def check_run(n_resamples: int, random_state: int | None, memory: Any) -> None:
    """Refuse settings of a study that would fail only after all models were fitted."""
    require_whole(0, n_resamples=n_resamples, random_state=random_state or 0)
    if memory is not None and not isinstance(memory, str | Path):
        raise ValueError(f"memory={memory!r} must name a folder")
    if memory is not None and Path(memory).is_file():
        raise ValueError(f"{memory}: is a file; memory is a folder")


def targets_of(
    clips: pd.DataFrame,
    targets: str | Sequence[str] | None,
    advice: str = "Give ratings= or a table with their means",
) -> list[str]:
    """Name the score columns to predict: those asked for, else those of impression and alignment that are there."""
    targets = [targets] if isinstance(targets, str) else targets
    chosen = list(targets or [name for name in TARGETS if name in clips])
    check_clips(clips, columns=chosen)
    if not chosen:
        more = how_to_name(unused_scores(clips, []))
        raise ClipsTableError(f"the clips table has no scores; looked for {listed(TARGETS)}. {advice}{more}")
    return chosen


def take_models(models: Any) -> dict[str, Any]:
    """Name estimators: those of a dict, or a single one by its class."""
    models = {type(models).__name__: models} if hasattr(models, "fit") else models
    if not isinstance(models, Mapping) or not models:
        raise ValueError(f"models must be an estimator, or a dict of some; got {type(models).__name__}")
    for name, model in models.items():
        if not hasattr(model, "fit"):
            raise ValueError(f"model {name!r} is {model!r}, which is no estimator; give one, such as Ridge()")
    return dict(models)


def feature_tables(X: Any, clips: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Make tables by clip id of whatever features are given; the name is ``X`` where none is."""
    named = X if isinstance(X, Mapping) else {"X": X}
    if not named:
        raise ValueError("X is an empty mapping; give at least one table of features")
    if NO_FEATURES in named:
        raise ValueError(f"features cannot be called {NO_FEATURES!r}: it stands for models that use no audio")
    tables = {}
    for name, table in named.items():
        if not isinstance(table, pd.DataFrame):
            matrix = np.asarray(table)
            if matrix.ndim != 2 or len(matrix) != len(clips):
                expected = f"a DataFrame by clip id, or one row for each of {len(clips)} clips"
                raise ValueError(f"X has shape {matrix.shape}; expected {expected}")
            table = pd.DataFrame(matrix, index=clips.index)
        elif not table.index.is_unique:
            repeated = table.index[table.index.duplicated()].unique()
            which = f"X[{name!r}]" if isinstance(X, Mapping) else "X"
            raise ClipsTableError(f"{which} repeats clip ids: {listed(repeated)}")
        tables[str(name)] = under_ids_of(clips.index, table)
    return tables


def usable_clips(clips: pd.DataFrame, tables: dict[str, pd.DataFrame], target: str) -> pd.DataFrame:
    """Keep the clips that have a score and stand in every table of features, with a warning if that leaves some out."""
    usable = clips[target].notna()
    for table in tables.values():
        usable &= clips.index.isin(table.index)
    if not usable.any():
        near = "".join(near_misses(clips.index, table.index) for table in tables.values())
        raise ClipsTableError(f"no clip has both features and a score of {target!r}{near}")
    if not usable.all():
        left_out = clips.index[~usable]
        words = f"{target}: left out {counted(len(left_out), 'clip')} without features or score"
        warn_of_skipped(words, left_out, stacklevel=3)
    return clips[usable]


def columns_for(target: str, X: pd.DataFrame) -> list[str]:
    """List the columns that a target may use, see `default_columns`."""
    return list(X.columns[default_columns(target, X.columns)])


@dataclass(frozen=True, eq=False)
class Cell:
    """One fit.

    Attributes
    ----------
    labels : dict
        Where it belongs in the tables; ``model``, its name, is among them.
    model : estimator
        It is cloned.
    X : pandas.DataFrame [shape=(n, n_features)]
        Features.
    y : pandas.Series [shape=(n,)]
        Scores of the same clips.
    groups : pandas.Series [shape=(n,)] or None
        What early stopping must keep whole.
    train, test : np.ndarray of int
        Rows.
    """

    labels: dict[str, Any]
    model: Any
    X: pd.DataFrame
    y: pd.Series
    groups: pd.Series | None
    train: np.ndarray
    test: np.ndarray


def group_parameters(model: Any, groups: Any) -> dict[str, Any]:
    """Name the groups to every step of a pipeline whose ``fit`` asks for them.

    Parameters
    ----------
    model : estimator or Pipeline
        Unfitted.
    groups : array-like [shape=(n,)] or None
        Group of each clip; None gives no parameters.

    Returns
    -------
    dict
        Keyword arguments for ``model.fit``.
    """
    if groups is None:
        return {}
    steps = model.steps if isinstance(model, Pipeline) else [("", model)]
    asking = [name for name, step in steps if has_fit_parameter(step, "groups")]
    return {f"{name}__groups" if name else "groups": groups for name in asking}


def one_matrix(table: pd.DataFrame) -> pd.DataFrame:
    """Copy a table into a matrix with a clip's features side by side, which processes map from memory.

    Parameters
    ----------
    table : pandas.DataFrame
        Features.

    Returns
    -------
    pandas.DataFrame
        The same, with its ``attrs``.
    """
    values = np.ascontiguousarray(table.to_numpy())
    copied = pd.DataFrame(values, index=table.index, columns=table.columns, copy=False)
    copied.attrs = dict(table.attrs)
    return copied


def run_cells(
    cells: Sequence[Cell], *, name: str, memory: Any = None, n_jobs: int | None = None, progress: bool | None
) -> pd.DataFrame:
    """Fit and predict all cells, and tell how far that is.

    Parameters
    ----------
    cells : sequence of Cell
        What to fit.
    name : str
        What is run, as progress names it.
    memory : str or Path, default=None
        Folder where predictions are kept, and looked up first: a JSON file a fit.
    n_jobs : int, default=None
        As of `joblib.Parallel`.
    progress : bool or None
        Whether to show progress on stderr; None only on a terminal.

    Returns
    -------
    pandas.DataFrame
        By clip id, in the order of the cells: ``truth``, ``prediction``, ``known`` (False where a look-up had no such label in
        training), ``training_mean``, ``on_scale`` (whether predictions are scores and not cosines), and the labels.

    Raises
    ------
    ValueError
        If a model cannot be fitted, or with ``memory`` not be written down.
    """
    places: list[Path | None] = [None] * len(cells)
    if memory is not None:
        Path(memory).mkdir(parents=True, exist_ok=True)
        places = [Path(memory) / f"{key}.json" for key in _keys(cells)]
    # Models that take long tend to stand last. Begun first, none of them keeps one core busy at the end while others wait.
    rank = {model: place for place, model in enumerate(dict.fromkeys(cell.labels["model"] for cell in cells))}
    order = sorted(range(len(cells)), key=lambda i: -rank[cells[i].labels["model"]])
    running = joblib.Parallel(n_jobs=n_jobs, return_as="generator")(
        joblib.delayed(_found_or_predicted)(places[i], cells[i]) for i in order
    )
    found = {}
    with _progress.progress(len(cells), name, "fit", progress) as shown:
        for i, predicted in zip(order, running, strict=True):
            found[i] = predicted
            shown.update()
    return pd.concat([found[i].assign(**cell.labels) for i, cell in enumerate(cells)])


def _found_or_predicted(place: Path | None, cell: Cell) -> pd.DataFrame:
    """Read what was predicted, or predict and keep it; a file that does not hold it is made anew."""
    if place is None:
        return predict_cell(cell)
    try:
        columns = parse_json(place.read_text())
        kept = pd.DataFrame(columns, index=cell.X.index[cell.test])
        return kept[list(_COLUMNS)].astype(_COLUMNS)
    except (FileNotFoundError, *MALFORMED):
        found = predict_cell(cell)
    with atomic_write(place) as aside:
        aside.write_text(json.dumps(found.to_dict("list")))
    return found


def predict_cell(cell: Cell) -> pd.DataFrame:
    """Fit on the training rows and predict the tested ones; the columns of `run_cells`, without the labels."""
    X, y, train = cell.X, cell.y, cell.train
    model = clone(cell.model)
    groups = None if cell.groups is None else cell.groups.iloc[train]
    with sklearn.config_context(enable_metadata_routing=False), warnings.catch_warnings():
        # The table shows what comes of it.
        warnings.filterwarnings("ignore", message="early stopping goes by")
        try:
            model.fit(X.iloc[train], y.iloc[train], **group_parameters(model, groups))
        except ValueError as error:
            name = type(model[-1] if isinstance(model, Pipeline) else model).__name__
            raise ValueError(f"{name} could not be fitted to {len(train)} clips: {error}") from error
    tested = X.iloc[cell.test]
    found = pd.DataFrame({"truth": y.iloc[cell.test], "prediction": np.ravel(model.predict(tested))})
    known = model.known(tested) if hasattr(model, "known") else True
    on_scale = getattr(model, "on_scale", True)
    return found.assign(known=known, training_mean=y.iloc[train].mean(), on_scale=on_scale)


def _keys(cells: Sequence[Cell]) -> list[str]:
    """Digest all that each cell's predictions depend on, versions of packages among it."""
    versions = made_with()["versions"]
    digests = {}
    for X in {id(cell.X): cell.X for cell in cells}.values():
        digests[id(X)] = joblib.hash((X.to_numpy(), list(X.index), list(X.columns), X.attrs))
    keys = []
    for cell in cells:
        groups = None if cell.groups is None else cell.groups.astype(str).tolist()
        parts = (cell.model, digests[id(cell.X)], cell.y.tolist(), groups, cell.train, cell.test, versions)
        try:
            keys.append(joblib.hash(parts))
        except Exception as error:
            words = f"model {cell.labels['model']!r} holds something that cannot be written to disk ({error})"
            words += "; define functions with def in a module, or leave out memory"
            raise ValueError(words) from error
    return keys
