"""Truth, predictions, systems and options as users give them: brought into one order and held to the contract."""

import warnings
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from musiceval_sk._ids import id_texts, match_ids, near_misses, require_names
from musiceval_sk._text import counted, listed
from musiceval_sk.exceptions import FewSystemsWarning

ENOUGH_SYSTEMS = 5
_ROUNDING = 1e-13
_LARGEST = 1e70


class Clips(NamedTuple):
    """The clips that figures are about, by the first argument that carries an index."""

    argument: str
    index: pd.Index


class Scores(NamedTuple):
    """Truth and predictions of the clips that are kept, in one order.

    Attributes
    ----------
    targets : list
        Names of the targets; None for the only one of one-dimensional scores.
    truth : np.ndarray [shape=(n_targets, n)]
        True scores.
    predictions : np.ndarray [shape=(n_predictors, n_targets, n)]
        Predicted scores.
    systems, folds : np.ndarray [shape=(n,)] or None
        The system of each clip, as text, and the number of its fold.
    """

    targets: list[Any]
    truth: np.ndarray
    predictions: np.ndarray
    systems: np.ndarray | None
    folds: np.ndarray | None


def match_scores(
    y_true: Any, predictions: Mapping[str, Any], *, systems: Any = None, folds: Any = None, **choice: Any
) -> Scores:
    """Bring truth, predictions by the name of their argument, systems and folds into one order.

    ``choice`` holds options of `select_systems`.
    """
    clips = clips_of(y_true=y_true, **predictions, systems=systems)
    truth, *others = _score_arrays(clips, y_true, predictions)
    for argument, values in zip(predictions, others, strict=True):
        if values.shape != truth.shape:
            raise ValueError(
                f"y_true has shape {truth.shape}, {argument} {values.shape}; they must be the same"
            )
    labels = None if systems is None else systems_in_order(clips, systems, len(truth))
    if truth.ndim not in (1, 2) or not truth.size:
        raise ValueError(
            f"y_true must be non-empty, with a row a clip and a column a target; got {truth.shape}"
        )
    names = list(getattr(y_true, "columns", range(truth.shape[1]))) if truth.ndim == 2 else [None]
    stacked = np.stack([np.reshape(values, (len(truth), -1)).T for values in (truth, *others)])
    for argument, values in zip(("y_true", *predictions), stacked, strict=True):
        for of_target in values:
            _require_finite(argument, of_target)
    kept = _kept_clips(labels, len(truth), **choice)
    stacked = np.ascontiguousarray(stacked[..., kept])
    return Scores(
        names,
        stacked[0],
        stacked[1:],
        None if labels is None else labels[kept],
        None if folds is None else _fold_numbers(clips, folds, len(truth))[kept],
    )


def validate(y_true: Any, y_pred: Any) -> tuple[np.ndarray, np.ndarray]:
    """Hold the inputs of a metric to the contract."""
    truth, prediction = _score_arrays(clips_of(y_true=y_true), y_true, {"y_pred": y_pred})
    if truth.ndim != 1 or truth.shape != prediction.shape or truth.size == 0:
        raise ValueError(
            f"y_true and y_pred must be non-empty, one-dimensional and of one length; got {truth.shape} and "
            f"{prediction.shape}. For several targets use evaluate"
        )
    _require_finite("y_true", truth)
    _require_finite("y_pred", prediction)
    return truth, prediction


def clips_of(**arguments: Any) -> Clips | None:
    """Find the clips that arguments are about."""
    for name, values in arguments.items():
        if isinstance(values, pd.Series | pd.DataFrame):
            return Clips(name, values.index)
    return None


def in_order_of(
    clips: Clips | None, values: Any, argument: str, *, more: bool = False, otherwise: str | None = None
) -> Any:
    """Bring labelled values into the order of the clips; those without labels stay in theirs.

    ``more`` allows for values of other clips. ``otherwise`` says what to do where they do not meet; by default, to give an array.
    """
    if clips is None or not isinstance(values, pd.Series | pd.DataFrame) or values.index.equals(clips.index):
        return values
    for name, index in [(argument, values.index), *([] if more else [clips])]:
        if not index.is_unique:
            raise ValueError(f"{name} repeats clip ids: {listed(index[index.duplicated()].unique())}")
    places = match_ids(clips.index, values.index)
    lacking = clips.index[places < 0]
    foreign = values.index.delete(places[places >= 0])
    otherwise = otherwise or f"Where rows are in one order, give {argument}.to_numpy()"
    what_to_do = f"{near_misses(lacking, foreign)}. {otherwise}"
    if len(lacking) and more:
        noun = argument.removesuffix("s").replace("_", " ")
        raise ValueError(f"no {noun} is known for clips: {listed(lacking)}{what_to_do}")
    if len(lacking) or (len(foreign) and not more):
        alone = {clips.argument: lacking, argument: foreign}
        only = "; ".join(f"{name} alone has {listed(ids)}" for name, ids in alone.items() if len(ids))
        raise ValueError(
            f"{clips.argument} and {argument} are about different clips by their index: {only}{what_to_do}"
        )
    return values.iloc[places].set_axis(clips.index)


def of_each_clip(clips: Clips | None, values: Any, argument: str, n: int, dtype: Any = None) -> np.ndarray:
    """Bring what is known of each of n clips, and maybe of more, into their order."""
    found = np.asarray(in_order_of(clips, values, argument, more=True), dtype=dtype)
    if found.shape != (n,):
        raise ValueError(f"{argument} has shape {found.shape} for {n} clips")
    return found


def systems_in_order(clips: Clips | None, systems: Any, n: int) -> np.ndarray:
    """Find the system of each clip, as text."""
    labels = of_each_clip(clips, systems, "systems", n, object)
    return require_names(labels, "system", None if clips is None else clips.index)


def select_systems(
    systems: Any,
    *,
    min_clips: int = 1,
    only: Iterable[Any] | None = None,
    leave_out: Iterable[Any] | None = None,
) -> np.ndarray:
    """Find the clips of the systems to judge.

    Parameters
    ----------
    systems : array-like [shape=(n,)]
        The system of each clip; they are told apart by their text, so that numbers match it.
    min_clips : int, default=1
        Leave out systems with fewer clips: one clip moves their mean a lot.
    only : iterable, default=None
        Keep these systems alone.
    leave_out : iterable, default=None
        Leave out these systems.

    Returns
    -------
    np.ndarray of bool [shape=(n,)]
        True for the clips to keep.

    Raises
    ------
    ValueError
        If a clip has no system, a named system has no clip, or nothing is left.

    Examples
    --------
    >>> select_systems(["a", "a", "b", "c", "c"], min_clips=2, leave_out=["c"])
    array([ True,  True, False, False, False])
    """
    require_whole(0, min_clips=min_clips)
    labels = pd.Series(systems_in_order(clips_of(systems=systems), systems, len(systems)))
    sizes = labels.value_counts(sort=False)
    kept = labels.map(sizes) >= min_clips
    for argument, names in (("only", only), ("leave_out", leave_out)):
        if names is not None:
            kept &= labels.isin(_named_systems(argument, names, sizes.index)) == (argument == "only")
    if not kept.any():
        raise ValueError(
            f"no system is left of {len(sizes)}: min_clips={min_clips}, and the largest system has {sizes.max()} clips"
        )
    return kept.to_numpy(dtype=bool)


def warn_of_few(systems: np.ndarray | None, stacklevel: int) -> None:
    """Warn where there are too few systems for S metrics to mean much."""
    n = ENOUGH_SYSTEMS if systems is None else len(set(systems))
    if n < ENOUGH_SYSTEMS:
        warnings.warn(
            f"S metrics over {n} systems: chance alone ranks so few well; read them with their interval, or collect clips of "
            f"at least {ENOUGH_SYSTEMS} systems",
            FewSystemsWarning,
            stacklevel=stacklevel + 1,
        )


def system_means(values: Any, systems: Any) -> pd.Series:
    """Average clips over their system."""
    return pd.Series(np.asarray(values, dtype=float)).groupby(np.asarray(systems)).mean()


def is_constant(values: Any) -> bool:
    """Whether values differ by no more than their rounding, which is no ranking."""
    return bool(np.ptp(values) <= _ROUNDING * np.abs(values).max())


def settled(means: Any) -> Any:
    """Round means so that equal ones are equal: a sum's last bits depend on the order of its clips."""
    unit = np.exp2(np.frexp(np.nanmax(np.abs(np.asarray(means)), initial=0))[1] - 1.0)
    return np.round(means / unit, 11) * unit


def require_confidence(confidence: float, name: str = "confidence", example: float = 0.95) -> None:
    """Raise ValueError unless a nominal coverage, or another probability, lies between 0 and 1."""
    if not isinstance(confidence, Real) or not 0 < confidence < 1:
        raise ValueError(f"{name} must lie between 0 and 1, such as {example}; got {confidence!r}")


def require_whole(least: int = 1, **given: int) -> None:
    """Raise ValueError unless each argument is a whole number, and not too small."""
    for name, value in given.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name}={value!r} must be a whole number and at least {least}")


def _score_arrays(clips: Clips | None, y_true: Any, predictions: Mapping[str, Any]) -> list[np.ndarray]:
    """Truth and predictions as arrays, rows in the order of the clips and columns in that of y_true."""
    arrays = {"y_true": y_true, **predictions}
    if isinstance(y_true, pd.DataFrame):
        targets = y_true.columns
        if not targets.is_unique:
            raise ValueError(f"y_true repeats the names of targets: {listed(targets)}")
        for argument, values in predictions.items():
            if isinstance(values, pd.DataFrame):
                if set(values.columns) != set(targets):
                    raise ValueError(
                        f"y_true has the targets {listed(targets)}, {argument} {listed(values.columns)}: give both the "
                        f"same names, or, where their columns are in one order, {argument}.to_numpy()"
                    )
                arrays[argument] = values[list(targets)]
    return [np.asarray(in_order_of(clips, values, name), dtype=float) for name, values in arrays.items()]


def _require_finite(argument: str, values: np.ndarray) -> None:
    broken = np.count_nonzero(~np.isfinite(values))
    if broken:
        raise ValueError(f"{argument} holds {broken} values that are nan or infinite, of {values.size}")
    largest = np.abs(values).max()
    if largest > _LARGEST:
        raise ValueError(
            f"{argument} holds {largest:.3g}: scores beyond {_LARGEST:g} are too large to be squared"
        )


def _kept_clips(
    systems: np.ndarray | None, n: int, *, min_clips: int = 1, only: Any = None, leave_out: Any = None
) -> np.ndarray:
    if systems is not None:
        return select_systems(systems, min_clips=min_clips, only=only, leave_out=leave_out)
    chosen = {"min_clips": min_clips != 1, "only": only is not None, "leave_out": leave_out is not None}
    if any(chosen.values()):
        named = listed(name for name, given in chosen.items() if given)
        raise ValueError(f"{named} was given, but no systems: give the system of each clip as systems=")
    return np.ones(n, dtype=bool)


def _named_systems(argument: str, names: Any, known: pd.Index) -> pd.Index:
    """Find systems among those known."""
    if isinstance(names, str):
        raise ValueError(f"{argument} must be a list of systems, such as [{names!r}]; got {names!r}")
    texts = pd.Index(id_texts(list(names)), dtype=object)
    places = match_ids(texts, known)
    strangers = texts[places < 0]
    if len(strangers):
        raise ValueError(
            f"{argument} names systems without clips: {listed(strangers)}; systems are {listed(known)}"
            f"{near_misses(strangers, known)}"
        )
    return known[places]


def _fold_numbers(clips: Clips | None, folds: Any, n: int) -> np.ndarray:
    numbers = pd.factorize(of_each_clip(clips, folds, "folds", n))[0]
    if (numbers < 0).any():
        raise ValueError(f"{counted(np.count_nonzero(numbers < 0), 'clip has', 'clips have')} no fold")
    return numbers
