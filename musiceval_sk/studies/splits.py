"""Splits of clips into training and test, by what a predictor is supposed to have never met.

Below the named splits stand two splitters in scikit-learn's manner, for what scikit-learn has none: two groups at once, and lists drawn by
others.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import BaseCrossValidator, GroupKFold, KFold, ShuffleSplit, check_cv
from sklearn.utils import check_random_state
from sklearn.utils.validation import _num_samples

from musiceval_sk._ids import require_names
from musiceval_sk._text import listed, require_known
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.statistics.align import require_whole

_FOLDS = 5
Fold = tuple[np.ndarray, np.ndarray]


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

    def folds(self, clips: pd.DataFrame) -> list[Fold]:
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
    require_whole(2, n_splits=2 if n_splits is None else n_splits)
    if not isinstance(cv, str):
        given = check_cv(cv)
        name = f"{given.get_n_splits()} given folds" if isinstance(cv, Iterable) else repr(cv)
        return Split(name, "as the given splitter says", given, _groups_for(given, clips))
    require_known("split", cv, SPLITS)
    splitter: Any
    if cv == "random":
        splitter = KFold(_folds(n_splits, len(clips), "clip"), shuffle=True, random_state=random_state)
        return Split(cv, SPLITS[cv], splitter)
    if cv == "85/15":
        return Split(cv, SPLITS[cv], ShuffleSplit(1, test_size=0.15, random_state=random_state))
    if cv == "official":
        lists = _official_lists(clips)
        return Split(cv, SPLITS[cv], OfficialSplit(test="test" if (lists == "test").any() else "dev"), lists)
    columns = cv.split("+")
    groups = _labels(clips, columns, repr(cv))
    counts = groups.nunique()
    for column, count in counts[counts < 2].items():
        words = f"the split {cv!r} needs at least two of {column!r}, the clips table has {count}"
        raise ClipsTableError(words)
    if len(columns) == 2:
        splitter = SystemPromptKFold(min(3, n_splits or 3, *counts), random_state=random_state or 0)
        return Split(cv, SPLITS[cv], splitter, groups, groups["system"])
    splitter = GroupKFold(_folds(n_splits, counts[cv], cv), shuffle=True, random_state=random_state)
    return Split(cv, SPLITS[cv], splitter, groups[cv], groups[cv])


def _folds(n_splits: int | None, count: int, unit: str) -> int:
    """Choose how many folds so many units are dealt into."""
    if n_splits is not None and n_splits > count:
        raise ValueError(f"n_splits={n_splits}, but there are {count} {unit}s to deal; give at most {count}")
    return n_splits or min(_FOLDS, count)


def _groups_for(splitter: Any, clips: pd.DataFrame) -> Any:
    """Find what a given splitter goes by."""
    if isinstance(splitter, OfficialSplit):
        return _official_lists(clips)
    if isinstance(splitter, SystemPromptKFold):
        return _labels(clips, ["system", "prompt"], repr(splitter))
    if not hasattr(splitter, "set_split_request") or "system" not in clips:
        return None
    return _labels(clips, ["system"], repr(splitter))["system"]


def _official_lists(clips: pd.DataFrame) -> pd.Series:
    if "split" not in clips:
        raise ClipsTableError("the official split needs a column 'split' of lists, as load_musiceval gives")
    return clips["split"].fillna("")


def _labels(clips: pd.DataFrame, columns: list[str], split: str) -> pd.DataFrame:
    """Labels as text; refused where a clip has none."""
    labels = pd.DataFrame(index=clips.index)
    for column in columns:
        if column not in clips:
            raise ClipsTableError(f"the split {split} needs a column {column!r} in the clips table")
        complaint = f"the split {split} needs a {column} for every clip, but there is none for"
        told: dict[str, Any] = {"complaint": complaint, "error": ClipsTableError}
        labels[column] = require_names(clips[column], column, clips.index, **told)
    return labels


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

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Fold]:
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
            If groups are missing or of another length, a clip has no system or prompt, there are fewer systems or prompts than folds, or less than two folds.
        """
        require_whole(2, n_splits=self.n_splits)
        labels = np.asarray(groups, dtype=object)
        if labels.ndim != 2 or labels.shape[1] != 2:
            raise ValueError("SystemPromptKFold needs two columns of groups, as clips[['system', 'prompt']]")
        if len(labels) != _num_samples(X):
            raise ValueError(f"groups has {len(labels)} rows, X has {_num_samples(X)}")
        random_state = check_random_state(self.random_state)
        index = getattr(groups, "index", None)
        names = [require_names(labels[:, i], what, index) for i, what in enumerate(("system", "prompt"))]
        folds = np.stack([_deal(of_clips, self.n_splits, random_state) for of_clips in names])
        for pair in product(range(self.n_splits), repeat=2):
            hit = folds == np.reshape(pair, (2, 1))
            train, test = np.flatnonzero(~hit.any(axis=0)), np.flatnonzero(hit.all(axis=0))
            if len(train) and len(test):
                yield train, test


class OfficialSplit(BaseCrossValidator):
    """One split by lists that somebody else drew: MusicEval's train, dev and test.

    Parameters
    ----------
    train : sequence of str, default=("train",)
        Names of the lists to train on.
    test : str, default="test"
        Name of the list to test on. Clips of other lists are left out: dev is neither trained nor tested on.

    Examples
    --------
    >>> lists = ["train", "dev", "train", "test"]
    >>> for train, test in OfficialSplit().split(lists, groups=lists):
    ...     print(train, test)
    [0 2] [3]
    """

    def __init__(self, train: Sequence[str] = ("train",), test: str = "test"):
        self.train = train
        self.test = test

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Count the splits.

        Parameters
        ----------
        X, y, groups : object, default=None
            Ignored.

        Returns
        -------
        int
            One.
        """
        return 1

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Fold]:
        """Yield training and test rows, once.

        Parameters
        ----------
        X : object
            Ignored.
        y : object, default=None
            Ignored.
        groups : array-like [shape=(n,)], default=None
            The list of each row, as the column ``split`` of `load_musiceval`; they must be given.

        Yields
        ------
        train, test : np.ndarray of int
            Rows.

        Raises
        ------
        ValueError
            If groups are missing, or no row belongs to one of the two.
        """
        if groups is None:
            raise ValueError("OfficialSplit needs the list of each row as groups, as clips['split']")
        if isinstance(self.train, str):
            raise ValueError(f"train={self.train!r} must be a sequence of names, as ({self.train!r},)")
        lists = np.asarray(groups, dtype=object)
        train, test = np.flatnonzero(np.isin(lists, list(self.train))), np.flatnonzero(lists == self.test)
        there = listed(sorted(set(map(str, lists)))) or "empty"
        for names, rows in ((listed(self.train), train), (self.test, test)):
            if not len(rows):
                raise ValueError(f"no clip is in {names}; the lists are: {there}")
        yield train, test


def _deal(labels: np.ndarray, n_folds: int, random_state: np.random.RandomState) -> np.ndarray:
    """Fold of each row, labels dealt evenly."""
    unique, codes = np.unique(labels, return_inverse=True)
    if len(unique) < n_folds:
        raise ValueError(f"cannot deal {len(unique)} labels into {n_folds} folds")
    return random_state.permutation(len(unique))[codes] % n_folds
