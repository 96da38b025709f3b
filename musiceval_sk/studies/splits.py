"""Splits of clips into training and test, by what a predictor is supposed to have never met."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit, check_cv

from musiceval_sk._ids import id_texts
from musiceval_sk._text import listed
from musiceval_sk.datasets.readers import require_columns
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.studies.splitters import OfficialSplit, SystemPromptKFold

_FOLDS = 5


@dataclass(frozen=True)
class Split:
    """A named way to split a clips table.

    Attributes
    ----------
    name : str
        As in `SPLITS`, or the splitter's repr.
    meaning : str
        What the test clips have that training never met, in words.
    splitter : object
        scikit-learn splitter.
    groups : pandas.Series, pandas.DataFrame or None
        What the splitter goes by.
    inner : pandas.Series or None
        Groups that early stopping must keep whole within training.
    """

    name: str
    meaning: str
    splitter: Any
    groups: Any = None
    inner: pd.Series | None = None

    def folds(self, clips: pd.DataFrame) -> list[tuple[np.ndarray, np.ndarray]]:
        """List training and test rows.

        Parameters
        ----------
        clips : pandas.DataFrame
            Clips table, all of whose rows are split.

        Returns
        -------
        list of (np.ndarray, np.ndarray)
            Rows of each fold.
        """
        groups = None if self.groups is None else self.groups.loc[clips.index]
        return list(self.splitter.split(clips, groups=groups))


SPLITS = {
    "system": "systems never heard in training",
    "prompt": "prompts never met in training",
    "system+prompt": "neither systems nor prompts met in training",
    "random": "clips at random; systems and prompts are shared with training",
    "85/15": "one random 15 % of the clips, as in the MusicEval paper; systems and prompts are shared with training",
    "official": "the official lists, train against test, or dev where there is no test; systems and prompts are shared",
}


def make_split(
    cv: Any, clips: pd.DataFrame, *, n_splits: int | None = None, random_state: int | None = 0
) -> Split:
    """Make a split of a clips table from its name.

    Parameters
    ----------
    cv : str or splitter
        A key of ``SPLITS`` (``"system"``, ``"prompt"``, ``"system+prompt"``, ``"random"``, ``"85/15"``, ``"official"``),
        or any scikit-learn splitter or number of folds; a splitter that asks for groups is given the systems,
        `OfficialSplit` the column ``split`` and `SystemPromptKFold` systems and prompts.
    clips : pandas.DataFrame
        Clips table with the columns that the split goes by.
    n_splits : int, default=None
        Number of folds; by default 5, or one a group where there are fewer. "system+prompt" deals 3 by 3, or fewer.
    random_state : int or None, default=0
        Deals clips or groups into folds.

    Returns
    -------
    Split
        With `folds`.

    Raises
    ------
    ClipsTableError
        If the table lacks a column, or has fewer than two groups.
    ValueError
        If the name is unknown, or there are more folds than groups or clips to deal.
    """
    if n_splits is not None and n_splits < 2:
        raise ValueError(f"n_splits={n_splits} must be at least 2")
    if not isinstance(cv, str):
        given = check_cv(cv)
        groups = _groups_for(given, clips)
        name = f"{given.get_n_splits()} given folds" if isinstance(cv, Iterable) else repr(cv)
        return Split(name, "as the given splitter says", given, groups)
    if cv not in SPLITS:
        raise ValueError(f"unknown split {cv!r}; choose from {', '.join(SPLITS)}")
    if cv == "random":
        return Split(
            cv,
            SPLITS[cv],
            KFold(_folds(n_splits, len(clips), "clip"), shuffle=True, random_state=random_state),
        )
    if cv == "85/15":
        return Split(cv, SPLITS[cv], ShuffleSplit(1, test_size=0.15, random_state=random_state))
    if cv == "official":
        lists = _official_lists(clips)
        test = "test" if (lists == "test").any() else "dev"
        return Split(cv, SPLITS[cv], OfficialSplit(test=test), lists)
    columns = cv.split("+")
    groups = pd.concat([_groups(clips, column, cv) for column in columns], axis=1)
    counts = groups.nunique().tolist()
    if len(columns) == 2:
        splitter: Any = SystemPromptKFold(min(3, n_splits or 3, *counts), random_state=random_state or 0)
        return Split(cv, SPLITS[cv], splitter, groups, groups[columns[0]])
    splitter = GroupKFold(_folds(n_splits, counts[0], cv), shuffle=True, random_state=random_state)
    return Split(cv, SPLITS[cv], splitter, groups[cv], groups[cv])


def _folds(n_splits: int | None, count: int, unit: str) -> int:
    """Choose how many folds so many units are dealt into."""
    if n_splits is None:
        return min(_FOLDS, count)
    if n_splits > count:
        raise ValueError(
            f"n_splits={n_splits}, but there are {count} {unit}s to deal; give at most {count}, or none for the default"
        )
    return n_splits


def _groups_for(splitter: Any, clips: pd.DataFrame) -> Any:
    """Find what a given splitter goes by."""
    if isinstance(splitter, OfficialSplit):
        return _official_lists(clips)
    if isinstance(splitter, SystemPromptKFold):
        require_columns(clips, ["system", "prompt"])
        return pd.concat([_labels(clips, name, repr(splitter)) for name in ("system", "prompt")], axis=1)
    if not hasattr(splitter, "set_split_request") or "system" not in clips:
        return None
    return _labels(clips, "system", repr(splitter))


def _official_lists(clips: pd.DataFrame) -> pd.Series:
    if "split" not in clips:
        raise ClipsTableError(
            "the official split needs a column 'split' in the clips table (train, dev, test), as load_musiceval gives"
        )
    return clips["split"].fillna("")


def _groups(clips: pd.DataFrame, column: str, cv: str) -> pd.Series:
    if column not in clips:
        raise ClipsTableError(f"the split {cv!r} needs a column {column!r} in the clips table")
    labels = _labels(clips, column, repr(cv))
    if (count := labels.nunique()) < 2:
        raise ClipsTableError(
            f"the split {cv!r} needs at least two of {column!r}, the clips table has {count}"
        )
    return labels


def _labels(clips: pd.DataFrame, column: str, split: str) -> pd.Series:
    """Labels as text; refused where a clip has none."""
    labels = pd.Series(id_texts(clips[column]), index=clips.index, name=column)
    blank = labels == ""
    if blank.any():
        raise ClipsTableError(
            f"the split {split} needs a {column} for every clip, but there is none for: {listed(clips.index[blank])}"
        )
    return labels
