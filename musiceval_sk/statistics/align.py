"""Truth, predictions and systems as users give them, brought into one order and held to the contract."""

import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from musiceval_sk._ids import id_texts, match_ids, near_misses
from musiceval_sk._text import counted, listed
from musiceval_sk.exceptions import FewSystemsWarning
from musiceval_sk.statistics.subsets import select_systems

ENOUGH_SYSTEMS = 5
_ROUNDING = 1e-13


class Clips(NamedTuple):
    """The clips that figures are about, by the first argument that carries an index."""

    argument: str
    index: pd.Index


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

    ``otherwise`` says what to do where they do not meet; by default, to give an array.
    """
    if clips is None or not isinstance(values, pd.Series | pd.DataFrame) or values.index.equals(clips.index):
        return values
    asked = [(argument, values.index), *([] if more else [clips])]
    for name, index in asked:
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


def matched(
    y_true: Any, y_pred: Any, systems: Any, clips: Clips | None = None, argument: str = "y_pred"
) -> tuple[list[tuple[Any, np.ndarray, np.ndarray]], np.ndarray | None]:
    """Bring truth, predictions and systems into one order, target by target."""
    clips = clips or clips_of(y_true=y_true, y_pred=y_pred, systems=systems)
    truth, prediction = _score_arrays(y_true, y_pred, clips, argument)
    if truth.shape != prediction.shape:
        raise ValueError(
            f"y_true has shape {truth.shape}, {argument} {prediction.shape}; they must be the same"
        )
    labels = None if systems is None else systems_in_order(clips, systems, len(truth))
    if truth.ndim == 1:
        return [(None, *_checked(truth, prediction))], labels
    names = list(getattr(y_true, "columns", range(truth.shape[1])))
    columns = enumerate(names)
    return [(name, *_checked(truth[:, i], prediction[:, i])) for i, name in columns], labels


def validate(y_true: Any, y_pred: Any) -> tuple[np.ndarray, np.ndarray]:
    """Hold the inputs of a metric to the contract."""
    return _checked(*_score_arrays(y_true, y_pred, clips_of(y_true=y_true, y_pred=y_pred)))


def systems_in_order(clips: Clips | None, systems: Any, n: int, otherwise: str | None = None) -> np.ndarray:
    """Find the system of each clip, as text."""
    labels = np.asarray(in_order_of(clips, systems, "systems", more=True, otherwise=otherwise), dtype=object)
    if labels.shape != (n,):
        raise ValueError(f"systems has shape {labels.shape} for {n} clips")
    labels = np.array(id_texts(labels), dtype=object)
    missing = labels == ""
    if missing.any():
        which = "the clips in rows" if clips is None else "clips"
        names = np.flatnonzero(missing) if clips is None else clips.index[missing]
        raise ValueError(f"no system is known for {which}: {listed(names)}")
    return labels


def _score_arrays(
    y_true: Any, y_pred: Any, clips: Clips | None, argument: str = "y_pred"
) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction as arrays, rows in the order of the clips and columns in that of y_true."""
    if isinstance(y_true, pd.DataFrame) and not y_true.columns.is_unique:
        raise ValueError(f"y_true repeats the names of targets: {listed(y_true.columns)}")
    if isinstance(y_true, pd.DataFrame) and isinstance(y_pred, pd.DataFrame):
        if set(y_true.columns) != set(y_pred.columns):
            raise ValueError(
                f"y_true has the targets {listed(y_true.columns)}, {argument} {listed(y_pred.columns)}: give both the same "
                f"names, or, where their columns are in one order, {argument}.to_numpy()"
            )
        y_pred = y_pred[list(y_true.columns)]
    truth, prediction = (
        np.asarray(in_order_of(clips, values, name), dtype=float)
        for values, name in ((y_true, "y_true"), (y_pred, argument))
    )
    return truth, prediction


def _checked(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if truth.ndim != 1 or truth.shape != prediction.shape or truth.size == 0:
        raise ValueError(
            f"y_true and y_pred must be non-empty, one-dimensional and of one length; got {truth.shape} and "
            f"{prediction.shape}. For several targets use evaluate"
        )
    for name, values in (("y_true", truth), ("y_pred", prediction)):
        broken = np.count_nonzero(~np.isfinite(values))
        if broken:
            raise ValueError(f"{name} holds {broken} values that are nan or infinite, of {values.size}")
    return truth, prediction


def kept_clips(systems: np.ndarray | None, n: int, **choice: Any) -> np.ndarray:
    """Apply a choice of systems where there are any."""
    made = {
        name: value
        for name, value in choice.items()
        if value is not None and not (name == "min_clips" and value == 1)
    }
    if systems is None:
        if made:
            raise ValueError(
                f"{listed(made)} was given, but no systems: give the system of each clip as systems="
            )
        return np.ones(n, dtype=bool)
    return select_systems(systems, **choice)


def folds_of(folds: Any, clips: Clips | None, kept: np.ndarray) -> np.ndarray | None:
    """Find the fold of each clip that is kept."""
    if folds is None:
        return None
    names = np.asarray(in_order_of(clips, folds, "folds", more=True))
    if names.shape != kept.shape:
        raise ValueError(f"folds has shape {names.shape}; expected one fold for each of {len(kept)} clips")
    numbers = pd.factorize(names)[0]
    if (numbers < 0).any():
        raise ValueError(f"{counted(np.count_nonzero(numbers < 0), 'clip has', 'clips have')} no fold")
    return numbers[kept]


def warn_of_few(systems: np.ndarray | None, stacklevel: int) -> None:
    """Warn where there are too few systems for S metrics to mean much."""
    n = ENOUGH_SYSTEMS if systems is None else pd.unique(pd.Series(systems)).size
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


def is_constant(values: np.ndarray) -> bool:
    """Whether values differ by no more than their rounding, which is no ranking."""
    return bool(np.ptp(values) <= _ROUNDING * np.abs(values).max())


def settled(means: Any) -> Any:
    """Round means so that equal ones are equal: a sum's last bits depend on the order of its clips."""
    largest = np.nanmax(np.abs(np.asarray(means)), initial=0)
    return np.round(means, 11 - int(np.floor(np.log10(largest)))) if largest > 0 else means
