"""Splitters in scikit-learn's manner for what scikit-learn has none: two groups at once, and lists drawn by others."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _num_samples

from musiceval_sk._ids import id_texts
from musiceval_sk._text import counted, listed


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
            If groups are missing or of another length, a clip has no system or prompt, there are fewer systems or prompts than folds, or less than two folds.
        """
        if self.n_splits < 2:
            raise ValueError(
                f"n_splits must be at least 2, or nothing is left to train on; got {self.n_splits}"
            )
        labels = np.asarray(groups, dtype=object)
        if labels.ndim != 2 or labels.shape[1] != 2:
            raise ValueError(
                "SystemPromptKFold needs groups with two columns, system and prompt, as clips[['system', 'prompt']]"
            )
        if len(labels) != _num_samples(X):
            raise ValueError(f"groups has {len(labels)} rows, X has {_num_samples(X)}")
        random_state = check_random_state(self.random_state)
        labels = np.array([id_texts(column) for column in labels.T], dtype=object)
        for names, what in zip(labels, ("system", "prompt"), strict=True):
            missing = names == ""
            if missing.any():
                named = hasattr(groups, "iloc")
                rows = groups.index[missing] if named else np.flatnonzero(missing)
                raise ValueError(
                    f"{counted(missing.sum(), 'clip has', 'clips have')} no {what}: {listed(rows)}"
                )
        folds = np.stack([_deal(names, self.n_splits, random_state) for names in labels])
        for system_fold in range(self.n_splits):
            for prompt_fold in range(self.n_splits):
                hit = folds == [[system_fold], [prompt_fold]]
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

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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
        for names, rows in ((listed(self.train), train), (self.test, test)):
            if not len(rows):
                raise ValueError(
                    f"no clip is in {names}; the lists are: {listed(sorted(set(map(str, lists)))) or 'empty'}"
                )
        yield train, test


def _deal(labels: np.ndarray, n_folds: int, random_state: np.random.RandomState) -> np.ndarray:
    """Fold of each row, labels dealt evenly."""
    unique, codes = np.unique(labels, return_inverse=True)
    if len(unique) < n_folds:
        raise ValueError(f"cannot deal {len(unique)} labels into {n_folds} folds")
    return random_state.permutation(len(unique))[codes] % n_folds
