"""What a study or a learning curve starts from: targets, tables of features, and the clips that have both."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._ids import near_misses, under_ids_of
from musiceval_sk._text import counted, listed
from musiceval_sk.datasets.clips import TARGETS, check_clips
from musiceval_sk.datasets.readers import how_to_name, unused_scores
from musiceval_sk.estimators.preparation import default_columns
from musiceval_sk.exceptions import ClipsTableError, SkippedWarning
from musiceval_sk.studies.result import NO_FEATURES


def check_run(n_resamples: int, random_state: int | None, memory: Any) -> None:
    """Refuse settings of a study that would fail only after all models were fitted."""
    for name, value in {"n_resamples": n_resamples, "random_state": random_state or 0}.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{name}={value!r} must be 0 or more, and a whole number")
    if isinstance(memory, str | Path) and Path(memory).is_file():
        raise ValueError(f"{memory}: is a file; memory is a folder")


def targets_of(clips: pd.DataFrame, targets: str | Sequence[str] | None) -> list[str]:
    """Name the score columns to predict: those asked for, else those of impression and alignment that are there."""
    targets = [targets] if isinstance(targets, str) else targets
    chosen = list(targets or [name for name in TARGETS if name in clips])
    check_clips(clips, columns=chosen)
    if not chosen:
        raise ClipsTableError(
            f"the clips table has no scores; looked for {listed(TARGETS)}. Join the ratings first"
            f"{how_to_name(unused_scores(clips, []))}"
        )
    return chosen


def feature_tables(X: Any, clips: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Make tables by clip id of whatever features are given; the name is ``X`` where none is."""
    named = X if isinstance(X, Mapping) else {"X": X}
    if not named:
        raise ValueError("X is an empty mapping; give at least one table of features")
    if NO_FEATURES in named:
        raise ValueError(f"features cannot be called {NO_FEATURES!r}: it stands for models that hear nothing")
    tables = {}
    for name, table in named.items():
        if not isinstance(table, pd.DataFrame):
            matrix = np.asarray(table)
            if matrix.ndim != 2 or len(matrix) != len(clips):
                raise ValueError(
                    f"X has shape {matrix.shape}; expected a DataFrame by clip id, or one row for each of {len(clips)} clips"
                )
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
        warnings.warn(
            f"{target}: left out {counted(len(left_out), 'clip')} without features or score: {listed(left_out)}",
            SkippedWarning,
            stacklevel=3,
        )
    return clips[usable]


def columns_for(target: str, X: pd.DataFrame) -> list[str]:
    """List the columns that a target may use, see `default_columns`."""
    return list(X.columns[default_columns(target, X.columns)])
