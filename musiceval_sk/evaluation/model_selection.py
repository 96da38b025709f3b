"""Splits of clips into training and test, by what a predictor is supposed to have never met."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import BaseCrossValidator, GroupKFold, KFold, ShuffleSplit, check_cv
from sklearn.utils import check_random_state

from musiceval_sk._text import listed
from musiceval_sk.exceptions import ClipsTableError


class SystemPromptKFold(BaseCrossValidator):
    """Folds whose test clips share neither system nor prompt with the training clips.

    Systems and prompts are dealt into `n_splits` folds each; every pair of a system fold and a prompt fold is one
    test set, and the clips that are in neither are its training set. Every clip is tested once. Clips that share only
    one of the two are left out of that fold, so training sets are smaller than elsewhere.

    Parameters
    ----------
    n_splits : int, default=3
        Folds along each of the two; there are its square splits.
    random_state : int, default=0
        Deals systems and prompts.

    Examples
    --------
    >>> import pandas as pd
    >>> groups = pd.DataFrame({"system": list("aabb"), "prompt": list("xyxy")})
    >>> for train, test in SystemPromptKFold(2, random_state=0).split(groups, groups=groups):
    ...     print(train, test)
    [1] [2]
    [0] [3]
    [3] [0]
    [2] [1]
    """

    def __init__(self, n_splits: int = 3, *, random_state: int = 0):
        self.n_splits = n_splits
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Count the splits.

        Parameters
        ----------
        X, y : object, default=None
            Ignored.
        groups : pandas.DataFrame or array-like [shape=(n, 2)], default=None
            System and prompt of each row.

        Returns
        -------
        int
            The square of `n_splits`; with ``groups``, less the pairs of folds that no clip, or all clips, belong to.
        """
        return self.n_splits**2 if groups is None else sum(1 for _ in self.split(groups, groups=groups))

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield training and test rows.

        Parameters
        ----------
        X : array-like [shape=(n, ...)]
            Only its length is used.
        y : object, default=None
            Ignored.
        groups : pandas.DataFrame or array-like [shape=(n, 2)], default=None
            System and prompt of each row; they must be given.

        Yields
        ------
        train, test : np.ndarray of int
            Rows.

        Raises
        ------
        ValueError
            If groups are missing, or there are fewer systems or prompts than folds.
        """
        labels = np.asarray(groups, dtype=object)
        if labels.ndim != 2 or labels.shape[1] != 2:
            raise ValueError(
                "SystemPromptKFold needs groups with two columns, system and prompt, as clips[['system', 'prompt']]"
            )
        random_state = check_random_state(self.random_state)
        folds = np.stack([_deal(labels[:, i], self.n_splits, random_state) for i in (0, 1)])
        for system_fold in range(self.n_splits):
            for prompt_fold in range(self.n_splits):
                hit = folds == [[system_fold], [prompt_fold]]
                train, test = np.flatnonzero(~hit.any(axis=0)), np.flatnonzero(hit.all(axis=0))
                if len(train) and len(test):
                    yield train, test


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
}


def make_split(cv: Any, clips: pd.DataFrame, *, n_splits: int = 5, random_state: int | None = 0) -> Split:
    """Make a split of a clips table from its name.

    Parameters
    ----------
    cv : str or splitter
        A key of ``SPLITS`` (``"system"``, ``"prompt"``, ``"system+prompt"``, ``"random"``, ``"85/15"``), or any
        scikit-learn splitter or number of folds; a splitter that asks for groups is given the systems.
    clips : pandas.DataFrame
        Clips table with the columns that the split goes by.
    n_splits : int, default=5
        Number of folds, at most one a group; "system+prompt" deals 3 by 3, or fewer.
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
        If the name is unknown.
    """
    if n_splits < 2:
        raise ValueError(f"n_splits={n_splits} must be at least 2")
    if not isinstance(cv, str):
        given = check_cv(cv)
        groups = clips.get("system") if hasattr(given, "set_split_request") else None
        return Split(repr(cv), "as the given splitter says", given, groups)
    if cv not in SPLITS:
        raise ValueError(f"unknown split {cv!r}; choose from {', '.join(SPLITS)}")
    if cv == "random":
        return Split(
            cv, SPLITS[cv], KFold(min(n_splits, len(clips)), shuffle=True, random_state=random_state)
        )
    if cv == "85/15":
        return Split(cv, SPLITS[cv], ShuffleSplit(1, test_size=0.15, random_state=random_state))
    columns = cv.split("+")
    counts = [_count_groups(clips, column, cv) for column in columns]
    if len(columns) == 2:
        splitter: Any = SystemPromptKFold(min(3, n_splits, *counts), random_state=random_state or 0)
        return Split(cv, SPLITS[cv], splitter, clips[columns], clips[columns[0]])
    splitter = GroupKFold(min(n_splits, *counts), shuffle=True, random_state=random_state)
    return Split(cv, SPLITS[cv], splitter, clips[columns[0]], clips[columns[0]])


def leakage(clips: pd.DataFrame, folds: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Measure what training and test share.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table.
    folds : list of (np.ndarray, np.ndarray)
        Training and test rows.

    Returns
    -------
    dict of str to float in [0, 1]
        For ``system`` and ``prompt``, where present: the share of test clips whose label training had too.
    """
    shares = {}
    for column in ("system", "prompt"):
        if column in clips and (clips[column] != "").any():
            labels = clips[column].to_numpy()
            seen = [np.isin(labels[test], labels[train]) for train, test in folds]
            shares[column] = float(np.concatenate(seen).mean())
    return shares


def _count_groups(clips: pd.DataFrame, column: str, cv: str) -> int:
    if column not in clips:
        raise ClipsTableError(f"the split {cv!r} needs a column {column!r} in the clips table")
    blank = clips[column].isna() | (clips[column] == "")
    if blank.any():
        raise ClipsTableError(
            f"the split {cv!r} needs a {column} for every clip, but there is none for: {listed(clips.index[blank])}"
        )
    count = clips[column].nunique()
    if count < 2:
        raise ClipsTableError(
            f"the split {cv!r} needs at least two of {column!r}, the clips table has {count}"
        )
    return count


def _deal(labels: np.ndarray, n_folds: int, random_state: np.random.RandomState) -> np.ndarray:
    """Fold of each row, labels dealt evenly."""
    unique, codes = np.unique(labels.astype(str), return_inverse=True)
    if len(unique) < n_folds:
        raise ValueError(f"cannot deal {len(unique)} labels into {n_folds} folds")
    return random_state.permutation(len(unique))[codes] % n_folds
