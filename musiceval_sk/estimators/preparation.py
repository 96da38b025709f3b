"""What `MOSRegressor` checks and sorts out before it trains: parameters, data, the columns of each head, and rows.

Training depends on the weighted set of clips and on nothing else: rows of weight 0 are left out, equal rows are one row
of their summed weight, and the rest have an order of their own, whatever order they came in.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, GroupShuffleSplit
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.validation import validate_data

from musiceval_sk._device import resolve_device
from musiceval_sk._ids import require_names
from musiceval_sk._text import listed, require_known
from musiceval_sk.exceptions import ModelFileError

# So many folds at least, whose members leave out a fifth of the groups.
LEAST_FOLDS = 5
HeadInput = str | slice | Sequence[int] | Callable[[np.ndarray], Any] | None


@contextmanager
def kept_on_failure(estimator: Any) -> Iterator[None]:
    """Leave an estimator as it was, fitted or not, if the block fails: no mixture of an old and a new fit."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def check_parameters(regressor: Any) -> None:
    """Check what no constraint of scikit-learn's can say, and what depends on other parameters or on this machine."""
    widths = np.asarray(regressor.hidden_layer_sizes)
    if widths.ndim > 1 or (widths.size and (widths.dtype.kind not in "iu" or widths.min() < 1)):
        raise InvalidParameterError(
            f"hidden_layer_sizes={regressor.hidden_layer_sizes!r} must be whole numbers, each at least 1"
        )
    if regressor.early_stopping and not 0 < regressor.validation_fraction < 1:
        raise InvalidParameterError(
            f"validation_fraction={regressor.validation_fraction!r} must lie in (0, 1)"
        )
    for name in ("scale", "clip"):
        interval = getattr(regressor, name)
        ends = np.ravel((0, 1) if interval is None else interval)
        if len(ends) != 2 or ends.dtype.kind not in "iuf" or not -np.inf < ends[0] < ends[1] < np.inf:
            raise InvalidParameterError(
                f"{name}={interval!r} must be two finite numbers, the lower first, or None"
            )
    if regressor.loss == "soft_bins" and regressor.scale is None:
        raise InvalidParameterError(
            "loss='soft_bins' lays its bins over the scale, but scale=None; set it to (lowest, highest) score"
        )
    if regressor.linear is not None and not regressor.early_stopping:
        raise InvalidParameterError(
            f"linear={regressor.linear!r} is weighed by the rows that early_stopping holds out, but "
            "early_stopping=False; set linear=None, or early_stopping=True"
        )
    resolve_device(regressor.device)


def encoder_fingerprint(X: Any) -> str | None:
    """Read which encoder made X and how it was pooled, where X knows: `ClipEmbedder`'s tables note it in ``attrs``."""
    found = getattr(X, "attrs", {}).get("encoder_fingerprint")
    return None if found is None else str(found)


def check_fingerprint(
    known: str | None, X: Any, what: str = "this regressor was trained on", name: str = "X"
) -> None:
    """Raise if X is known to come from another encoder."""
    found = encoder_fingerprint(X)
    if known is not None and found is not None and found != known:
        raise ModelFileError(
            f"{what} embeddings of encoder {known}, but {name} holds embeddings of encoder {found}: embed the clips "
            "with the first encoder and pooling, or train anew on the second's"
        )


def check_validation(
    regressor: Any, X: Any, X_val: Any, y_val: Any, sample_weight_val: Any, name: str = "X_val"
) -> None:
    """Raise unless data to judge by are given whole, are of use, and come from the encoder of X."""
    if (X_val is None) != (y_val is None):
        missing = name if X_val is None else "y_val"
        raise ValueError(f"{name} and y_val go together, but {missing} is missing")
    if X_val is None and sample_weight_val is not None:
        raise ValueError("sample_weight_val weighs the rows of X_val, but X_val is missing")
    if X_val is not None and not regressor.early_stopping:
        raise ValueError(
            f"{name} tells when to stop early, but early_stopping=False; set early_stopping=True"
        )
    check_fingerprint(encoder_fingerprint(X), X_val, "X holds", "X_val")


def check_data(
    regressor: Any, X: Any, y: Any, targets: Sequence[str] | None = None, *, reset: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Check data as scikit-learn does.

    Parameters
    ----------
    regressor : MOSRegressor
        Its ``n_features_in_`` and ``feature_names_in_`` are set or, without `reset`, compared.
    X : array-like [shape=(n, n_features)]
        Embeddings.
    y : array-like [shape=(n,) or (n, n_targets)]
        Mean opinion scores.
    targets : sequence of str, default=None
        For data to judge by, the targets trained on; y must have as many columns.
    reset : bool, default=False
        Whether these are the first data that the regressor sees.

    Returns
    -------
    X : np.ndarray [shape=(n, n_features)]
        In float32 if it was, else in float64.
    Y : np.ndarray [shape=(n, n_targets)], float64
        Scores.
    """
    X, y = validate_data(
        regressor, X, y, multi_output=True, y_numeric=True, dtype=[np.float64, np.float32], reset=reset
    )
    Y = y.reshape(len(y), -1).astype(np.float64)
    if targets is not None and Y.shape[1] != len(targets):
        raise ValueError(
            f"y_val has {Y.shape[1]} columns, but y has {len(targets)}: {listed(targets)}; give the same targets"
        )
    return np.require(X, requirements="W"), Y  # torch warns of memory that it may not write to


def names_of(y: Any) -> list[str] | None:
    """Names of targets, where y bears any."""
    if hasattr(y, "columns"):
        return [str(name) for name in y.columns]
    return [str(y.name)] if getattr(y, "name", None) is not None else None


def range_of(Y: np.ndarray) -> np.ndarray:
    """Lowest and highest score of each target, [shape=(n_targets, 2)]."""
    return np.column_stack([Y.min(axis=0), Y.max(axis=0)])


def warn_of_scores(
    Y: np.ndarray, names: Sequence[str], scale: tuple[float, float] | None, stacklevel: int
) -> None:
    """Warn of targets that leave the scale, and of those that never vary."""
    ranges = dict(zip(names, range_of(Y), strict=True))
    lowest, highest = scale or (-np.inf, np.inf)
    outside = [
        f"{name} spans {low:g} to {high:g}"
        for name, (low, high) in ranges.items()
        if low < lowest or high > highest
    ]
    if outside:
        warnings.warn(
            f"y leaves the scale from {lowest:g} to {highest:g}: {listed(outside)}; if these are scores on another "
            "scale, set scale=(lowest, highest), or scale=None for none",
            stacklevel=stacklevel,
        )
    constant = [name for name, (low, high) in ranges.items() if low == high]
    if constant and len(Y) > 1:
        warnings.warn(
            f"y is constant for {listed(constant)}: there is no difference to learn, and correlations with these "
            "predictions mean nothing",
            stacklevel=stacklevel,
        )


def default_columns(target: str, names: Iterable[object]) -> np.ndarray:
    """Tell by their names which columns a target is predicted from: impression from sound alone, all else from all.

    Parameters
    ----------
    target : str
        The score.
    names : iterable
        Names of columns; where they do not tell ``audio`` from ``text``, impression is predicted from all.

    Returns
    -------
    np.ndarray of bool [shape=(n_columns,)]
        Whether a column is used.
    """
    texts = [str(name) for name in names]
    if target == "impression" and {"audio", "text"} <= {text.partition("_")[0] for text in texts}:
        return np.array([text.startswith("audio") for text in texts])
    return np.ones(len(texts), dtype=bool)


def head_columns(
    head_inputs: HeadInput | Mapping[str, HeadInput],
    targets: Sequence[str],
    names: np.ndarray | None,
    n_features: int,
) -> list[np.ndarray]:
    """Resolve ``head_inputs`` to the column indices of each target's head; what it leaves out, by `default_columns`."""
    if not isinstance(head_inputs, Mapping):
        head_inputs = {} if head_inputs is None else dict.fromkeys(targets, head_inputs)
    for name in head_inputs:
        require_known("target of head_inputs", name, targets)
    of_columns = range(n_features) if names is None else names
    return [
        _columns(head_inputs[target], target, names, n_features)
        if target in head_inputs
        else np.flatnonzero(default_columns(target, of_columns))
        for target in targets
    ]


def _columns(spec: HeadInput, target: str, names: np.ndarray | None, n_features: int) -> np.ndarray:
    chosen: Any = slice(None) if spec is None or (isinstance(spec, str) and spec == "all") else spec
    if isinstance(chosen, str) or callable(chosen):
        if names is None:
            raise ValueError(
                f"head_inputs={spec!r} for {target!r} goes by column names, but X has none: give X as a DataFrame, "
                "or say the columns as a slice"
            )
        chosen = chosen(names) if callable(chosen) else [str(name).startswith(chosen) for name in names]
    try:
        columns = np.unique(
            np.arange(n_features)[chosen if isinstance(chosen, slice) else np.asarray(chosen)]
        )
    except IndexError as error:
        raise ValueError(
            f"head_inputs={spec!r} for {target!r} does not choose among {n_features} columns: {error}"
        ) from error
    if columns.size == 0:
        raise ValueError(f"head_inputs={spec!r} leaves the head of {target!r} no column out of {n_features}")
    return columns


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
    complaint = "groups must name a group for every row, but has None, nan or an empty text in rows"
    names = require_names(labels, "group", complaint=complaint)
    numeric = pd.api.types.infer_dtype(labels) in ("integer", "floating", "mixed-integer-float")
    return pd.factorize(labels if numeric else names, sort=True)[0]


def distinct_rows(
    X: np.ndarray, Y: np.ndarray, sample_weight: Any, groups: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows that differ in X, Y or group, in an order that does not depend on theirs.

    Parameters
    ----------
    X, Y : np.ndarray [shape=(n, d)], [shape=(n, n_targets)]
        The clips.
    sample_weight : array-like [shape=(n,)] or None
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
    weights = check_weights(sample_weight, len(X))
    # Weights are summed from the smallest on, so that their sum does not depend on the order of rows either.
    kept = np.flatnonzero(weights > 0)
    kept = kept[np.argsort(weights[kept], kind="stable")]
    # Where the first column tells all rows apart, as it does but for ties, its bytes order them as the whole rows' do.
    keys = _sortable(X[kept, :1])
    if len(np.unique(keys)) < len(kept):
        labels = np.zeros(len(X)) if groups is None else groups
        keys = _sortable(np.column_stack([X[kept], Y[kept], labels[kept]]))
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    merged = np.zeros(len(X))
    merged[kept[first]] = np.bincount(place.ravel(), weights=weights[kept])
    return kept[first], merged


def take_pairs(
    pairs: Any, X: Any, inputs: np.ndarray, Y: np.ndarray, groups: np.ndarray | None, rows: np.ndarray
) -> np.ndarray:
    """Turn pairs into distinct rows, [shape=(m, 2)], in an order that does not depend on theirs.

    Labels are those of X's index, if it has one, and pairs with others are left out; else they are numbers of rows.
    """
    labels = np.asarray(pairs)
    if labels.ndim != 2 or labels.shape[1] != 2:
        raise ValueError(f"pairs has shape {labels.shape}; expected (n_pairs, 2), the preferred clip first")
    index = pd.Index(X.index) if hasattr(X, "index") else pd.RangeIndex(len(inputs))
    if not index.is_unique:
        raise ValueError(
            f"pairs name rows of X by its index, which has {index.duplicated().sum()} labels twice"
        )
    places = index.get_indexer(labels.ravel()).reshape(-1, 2)
    if not hasattr(X, "index") and (places < 0).any():
        raise ValueError(
            f"pairs must be numbers of rows of X, 0 to {len(inputs) - 1}; got {listed(labels[places < 0])}"
        )
    of_groups = np.zeros(len(inputs)) if groups is None else groups
    codes = np.unique(_sortable(np.column_stack([inputs, Y, of_groups])), return_inverse=True)[1].ravel()
    owners = np.full(len(inputs), -1)
    owners[codes[rows]] = rows
    found = owners[codes[places[(places >= 0).all(axis=1)]]]
    found = found[(found >= 0).all(axis=1) & (found[:, 0] != found[:, 1])]
    if not len(found):
        raise ValueError("no pair is of two clips of X, so there is nothing to learn from them")
    rank = np.empty(len(inputs), dtype=int)
    rank[rows] = np.arange(len(rows))
    return found[np.lexsort(rank[found].T)]


def require_pairs(
    pairs: np.ndarray | None, Y: np.ndarray, parts: Sequence[tuple[np.ndarray, np.ndarray]], scored: bool
) -> None:
    """Raise unless the pairs are of one target, and some can be learned from and, without scores, judged by."""
    if pairs is None:
        return
    if Y.shape[1] > 1:
        raise ValueError(f"pairs tell of one target, but y has {Y.shape[1]}; fit one regressor each")
    for place, purpose in enumerate(("learn from", "judge by")):
        rows = [part[place] for part in parts]
        few = any if place == 0 else all
        if few(len(some) and not np.isin(pairs, some).all(axis=1).any() for some in rows) and (
            place == 0 or not scored
        ):
            raise ValueError(
                f"what is held out leaves no whole pair to {purpose}; give groups that keep both clips of a pair together, such as "
                "prompts, more pairs, or early_stopping=False"
            )


def blank_scores(y: Any, n: int) -> Any:
    """Give zeros in the place of scores of which there are none, None or all nan; None where there are some."""
    if y is None:
        return np.zeros(n)
    values = np.asarray(y)
    if values.dtype.kind != "f" or not np.isnan(values).all():
        return None
    zeros = np.zeros(values.shape)
    return pd.Series(zeros, name=y.name) if isinstance(y, pd.Series) else zeros


def _sortable(values: np.ndarray) -> np.ndarray:
    """Make each row one value; -0.0 equals 0.0, but its bytes would not."""
    big_endian = np.array(values, dtype=">f8", order="C")
    big_endian += 0.0
    return big_endian.view(f"V{big_endian.shape[1] * 8}").ravel()


def hold_out(
    regressor: Any, rows: np.ndarray, groups: np.ndarray | None, random_state: np.random.RandomState
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split rows, for each member, into those to learn from and those to judge by, whole groups where there are groups."""
    n_members = regressor.n_ensemble
    if not regressor.early_stopping:
        return [(rows, rows[:0])] * n_members
    labels = np.arange(len(rows)) if groups is None else groups[rows]
    n_units = len(np.unique(labels))
    if n_units < 2:
        found = "1 sample (1 distinct row)" if groups is None else f"1 group ({len(rows)} distinct rows)"
        raise ValueError(
            f"early_stopping holds out a part of the training data, but there is only {found}; set "
            "early_stopping=False, or give X_val and y_val"
        )
    if regressor.hold_out == "folds":
        n_folds = min(max(LEAST_FOLDS, -(-n_members // 2)), n_units)
        folds = list(GroupKFold(n_folds, shuffle=True, random_state=random_state).split(rows, groups=labels))
        splits = [folds[member // 2 % n_folds] for member in range(n_members)]
    else:
        held = max(1, int(np.ceil(regressor.validation_fraction * n_units)))
        split = GroupShuffleSplit(1, test_size=min(held, n_units - 1), random_state=random_state)
        splits = list(split.split(rows, groups=labels)) * n_members
    n_held = len(np.unique(np.concatenate([labels[held] for _, held in splits])))
    if groups is not None and n_held < 3:
        more = {"folds": "raise n_ensemble", "random": "set hold_out='folds', or raise validation_fraction"}
        warnings.warn(
            f"early stopping goes by {n_held} of {n_units} groups, and so by chance: {more[regressor.hold_out]}, or give "
            "more groups",
            stacklevel=3,
        )
    return [(rows[learned], rows[held]) for learned, held in splits]
