"""One fit of a study: a model meets the training part of a fold and is asked about the tested part.

What was predicted can be kept on disk, each fit under a digest of all that it depends on: so a study that was killed goes on
where it was, and a study with one more model fits that one only.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import pandas as pd
import sklearn
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_memory, has_fit_parameter

from musiceval_sk.studies.result import provenance


@dataclass(frozen=True)
class Inputs:
    """A table of features in parts: between processes the matrix is mapped from memory, not copied."""

    values: np.ndarray
    index: pd.Index
    columns: pd.Index
    attrs: dict[str, Any]

    @classmethod
    def of(cls, table: pd.DataFrame) -> "Inputs":
        """Take a table apart."""
        return cls(np.ascontiguousarray(table.to_numpy()), table.index, table.columns, dict(table.attrs))

    def table(self) -> pd.DataFrame:
        """Put it together again."""
        table = pd.DataFrame(self.values, index=self.index, columns=self.columns, copy=False)
        table.attrs = dict(self.attrs)
        return table

    def digest(self) -> str:
        """Digest all of it: any other number, clip id or column gives another name."""
        return joblib.hash((self.values, list(self.index), list(self.columns), self.attrs))


@dataclass(frozen=True)
class Part:
    """The scores of a target, and the groups that early stopping must keep whole, if any, by clip id."""

    scores: pd.Series
    groups: pd.Series | None


def run_fits(
    fits: Sequence[tuple[dict[str, Any], tuple[Any, ...]]],
    memory: Any,
    n_jobs: int | None,
    progress: bool | None,
    name: str,
) -> pd.DataFrame:
    """Predict all folds, with a bar.

    Parameters
    ----------
    fits : sequence of (dict, tuple)
        Where each fit belongs, ``model`` among it, and what `predict_fold` takes.
    memory : str, Path, joblib.Memory or None
        Where predictions are kept under their keys, and looked up first.
    n_jobs : int or None
        As of `joblib.Parallel`.
    progress : bool or None
        Whether to show a bar; None only on a terminal.
    name : str
        What is run, for the bar.

    Returns
    -------
    pandas.DataFrame
        What `predict_fold` gave, in the order of the fits, with a column for each key of where they belong.
    """
    from joblib import Parallel, delayed
    from tqdm import tqdm

    kept = check_memory(None if memory is None else memory if hasattr(memory, "cache") else str(memory))
    predict = kept.cache(predict_fold, ignore=["model", "inputs", "part", "train", "test"])
    # Models that take long tend to stand last. Begun first, none of them keeps one core busy at the end while others wait.
    names = [labels["model"] for labels, _ in fits]
    rank = {name: place for place, name in enumerate(dict.fromkeys(names))}
    order = sorted(range(len(fits)), key=lambda place: -rank[names[place]])
    running = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(predict)(*fits[i][1]) for i in order)
    hidden = None if progress is None else not progress
    found = dict(
        zip(order, tqdm(running, total=len(fits), desc=name, unit="fit", disable=hidden), strict=True)
    )
    return pd.concat([found[place].assign(**labels) for place, (labels, _) in enumerate(fits)])


@functools.cache
def _versions() -> dict[str, str]:
    return provenance()["versions"]


def key_of(name: str, model: Any, digest: str, part: Part, train: np.ndarray, test: np.ndarray) -> str:
    """Digest all that the predictions of a fold depend on, versions of packages among it.

    Parameters
    ----------
    name : str
        What the study calls the model, for the error.
    model : estimator
        Not fitted; with ``random_state=None`` a second run finds the predictions of the first.
    digest : str
        That of the inputs.
    part : Part
        Scores and groups of all clips.
    train, test : np.ndarray of int
        Rows of the fold.

    Returns
    -------
    str
        A key.

    Raises
    ------
    ValueError
        If a parameter cannot be written down, such as a lambda.
    """
    groups = None if part.groups is None else part.groups.astype(str).tolist()
    parts = (model, digest, part.scores.tolist(), groups, train, test, _versions())
    try:
        return joblib.hash(parts)
    except Exception as error:
        raise ValueError(
            f"model {name!r} holds something that cannot be written to disk ({error}), so its fits cannot be kept; "
            "define functions with def in a module, or leave out memory"
        ) from error


def predict_fold(
    key: str, model: Any, inputs: Inputs, part: Part, train: np.ndarray, test: np.ndarray
) -> pd.DataFrame:
    """Fit on the training rows and predict the tested ones.

    Parameters
    ----------
    key : str
        Under which the answer may be kept.
    model : estimator
        It is cloned.
    inputs : Inputs
        Features of all clips.
    part : Part
        Scores and groups of the same clips.
    train, test : np.ndarray of int
        Rows of the fold.

    Returns
    -------
    pandas.DataFrame
        By clip id: ``truth``, ``prediction``, ``known`` (False where a look-up had no such label in training) and
        ``training_mean``.
    """
    X, y = inputs.table(), part.scores
    fitted = clone(model)
    extra = {}
    final, prefix = (
        (fitted.steps[-1][1], f"{fitted.steps[-1][0]}__") if isinstance(fitted, Pipeline) else (fitted, "")
    )
    if part.groups is not None and has_fit_parameter(final, "groups"):
        extra[f"{prefix}groups"] = part.groups.iloc[train]
    with sklearn.config_context(enable_metadata_routing=False):
        try:
            fitted.fit(X.iloc[train], y.iloc[train], **extra)
        except ValueError as error:
            raise ValueError(
                f"{type(final).__name__} could not be fitted to {len(train)} clips: {error}"
            ) from error
    tested = X.iloc[test]
    known = fitted.known(tested) if hasattr(fitted, "known") else np.ones(len(test), dtype=bool)
    return pd.DataFrame(
        {
            "truth": y.iloc[test],
            "prediction": np.ravel(fitted.predict(tested)),
            "known": known,
            "training_mean": y.iloc[train].mean(),
        },
        index=tested.index,
    )
