"""Which rows of X a fit learns from, how much each counts, and which it holds out.

Training depends on the weighted set of clips and on nothing else: rows of weight 0 are left out, equal rows are one row
of their summed weight, and the rest have an order of their own, whatever order they came in.
"""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit

from musiceval_sk._ids import id_texts
from musiceval_sk._text import listed


def check_weights(sample_weight: Any, n_rows: int, name: str = "sample_weight") -> np.ndarray:
    """Turn weights into a float64 array, [shape=(n_rows,)]; ones where none are given."""
    if sample_weight is None:
        return np.ones(n_rows)
    try:
        weights = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers: {error}") from error
    if weights.shape != (n_rows,):
        raise ValueError(f"{name} has shape {weights.shape}; expected ({n_rows},), one weight a row of X")
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        shown = listed(f"{weights[i]} in row {i}" for i in wrong)
        raise ValueError(f"{name} must be finite and not negative, got {shown}")
    if not weights.any():
        raise ValueError(f"{name} is zero in every row, which leaves nothing to learn from")
    return weights


def check_groups(groups: Any, n_rows: int) -> np.ndarray | None:
    """Turn groups into numbers in the order of their labels: numbers by size, all else by text."""
    if groups is None:
        return None
    # Of a list of tuples each is a name, not a row of a table.
    labels = np.asarray(pd.Series(groups) if isinstance(groups, list | tuple) else groups, dtype=object)
    if labels.shape != (n_rows,):
        raise ValueError(f"groups has shape {labels.shape}; expected ({n_rows},), one group a row of X")
    names = np.array(id_texts(labels), dtype=object)
    missing = np.flatnonzero(names == "")
    if len(missing):
        raise ValueError(
            f"groups must name a group for every row, but has None, nan or an empty text in rows {listed(missing)}"
        )
    numeric = pd.api.types.infer_dtype(labels) in ("integer", "floating", "mixed-integer-float")
    return pd.factorize(labels if numeric else names, sort=True)[0]


def distinct_rows(
    X: np.ndarray, Y: np.ndarray, weights: np.ndarray, groups: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows that differ in X, Y or group, in an order that does not depend on theirs.

    Parameters
    ----------
    X, Y : np.ndarray [shape=(n, d)], [shape=(n, n_targets)]
        The clips.
    weights : np.ndarray [shape=(n,)]
        Rows of weight 0 are left out.
    groups : np.ndarray of int [shape=(n,)] or None
        Rows of different groups are never one; see `check_groups`.

    Returns
    -------
    rows : np.ndarray of int [shape=(n_distinct,)]
        The first of each, ordered by their values read as big-endian bytes: a rounding error in X moves hardly any.
    merged : np.ndarray [shape=(n,)]
        Summed weight at those rows, 0 elsewhere.
    """
    # Weights are summed from the smallest on, so that their sum does not depend on the order of rows either.
    kept = np.flatnonzero(weights > 0)
    kept = kept[np.argsort(weights[kept], kind="stable")]
    # Where the first column tells all rows apart, as it does but for ties, its bytes order them as the whole rows' do.
    leading = (X[kept, 0].astype(np.float64) + 0.0).view(np.uint64)
    if len(np.unique(leading)) == len(kept):
        rows = kept[np.argsort(leading)]
        merged = np.zeros(len(X))
        merged[rows] = weights[rows]
        return rows, merged
    parts = [X[kept], Y[kept]]
    if groups is not None:
        parts.append(groups[kept].reshape(-1, 1))
    values = np.hstack(parts).astype(">f8")
    values += 0.0  # -0.0 equals 0.0, but its bytes do not
    keys = np.ascontiguousarray(values).view(np.dtype((np.void, values.shape[1] * 8))).ravel()
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    rows = kept[first]
    merged = np.zeros(len(X))
    merged[rows] = np.bincount(place.ravel(), weights=weights[kept])
    return rows, merged


def hold_out(
    regressor: Any, rows: np.ndarray, groups: np.ndarray | None, random_state: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into those to learn from and those to judge by, whole groups where there are groups."""
    if not regressor.early_stopping:
        return rows, rows[:0]
    labels = None if groups is None else groups[rows]
    units, n_units, splitter = "distinct rows", len(rows), ShuffleSplit
    if labels is not None:
        units, n_units, splitter = "groups", len(np.unique(labels)), GroupShuffleSplit
    if n_units < 2:
        raise ValueError(
            f"early_stopping holds out a part of the training data, but there is only 1 sample ({n_units} {units}); "
            "set early_stopping=False, or give X_val and y_val"
        )
    held = max(1, int(np.ceil(regressor.validation_fraction * n_units)))
    split = splitter(n_splits=1, test_size=min(held, n_units - 1), random_state=random_state)
    learning, judging = next(split.split(rows, groups=labels))
    return rows[np.sort(learning)], rows[np.sort(judging)]
