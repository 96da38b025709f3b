"""The eight metrics as scikit-learn scorers.

A scorer of system-level agreement must know each clip's system. There are two ways: the index of y, which carries
the clip ids through every splitter, or scikit-learn's metadata routing.
"""

import multiprocessing
import weakref
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from sklearn.metrics._scorer import _Scorer

from musiceval_sk._ids import match_ids, near_misses
from musiceval_sk._text import listed, require_known
from musiceval_sk.statistics import align
from musiceval_sk.statistics.metrics import METRICS, agreement_of

# Scorers that warned of few systems. It is no state of theirs, by which a cache would tell them apart.
_warned: weakref.WeakSet = weakref.WeakSet()
_warned_in_worker: set[str] = set()
_PREDICT = "predict must give an array, or the index of X"


def mos_scorer(name: str, *, systems: Any = None, target: str | None = None) -> Any:
    """Make a scorer for `cross_val_score`, `cross_validate`, `GridSearchCV` and the like.

    Parameters
    ----------
    name : {"U_MSE", "U_LCC", "U_SRCC", "U_KTAU", "S_MSE", "S_LCC", "S_SRCC", "S_KTAU"}
        The metric. As everywhere in scikit-learn, greater is better: the errors are negated.
    systems : pandas.Series, default=None
        For an S metric, the system by clip id; y must then be a Series or DataFrame indexed by clip id. Without it
        the scorer asks for ``systems`` by metadata routing, which must be enabled:
        ``sklearn.set_config(enable_metadata_routing=True)`` and ``params={"systems": ...}``.
    target : str, default=None
        For a DataFrame y, the column to judge; by default the average over all columns.

    Returns
    -------
    callable
        ``scorer(estimator, X, y)`` -> float; picklable.

    Raises
    ------
    ValueError
        If the metric is unknown, or an S metric is asked for with neither way open; by the scorer, if X and y have indices
        that do not agree.

    Warns
    -----
    FewSystemsWarning
        Once a scorer, if an S metric rests on fewer than five systems, as in a fold.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.dummy import DummyRegressor
    >>> y = pd.Series([1.0, 2.0, 4.0], index=["a", "b", "c"])
    >>> systems = pd.Series({"a": "S1", "b": "S1", "c": "S2"})
    >>> scorer = mos_scorer("S_MSE", systems=systems)
    >>> round(scorer(DummyRegressor(strategy="constant", constant=3.0).fit(y.to_frame(), y), y.to_frame(), y), 3)
    -1.625
    """
    require_known("metric", name, METRICS)
    metric = METRICS[name]
    if isinstance(systems, pd.Series) and not systems.index.is_unique:
        raise ValueError(
            f"systems repeats clip ids: {listed(systems.index[systems.index.duplicated()].unique())}"
        )
    if systems is not None and not isinstance(systems, pd.Series):
        raise ValueError(
            "systems must be a pandas Series with one system a clip id, such as clips['system']: rows alone do not survive "
            f"splitting; got {type(systems).__name__}"
        )
    by_routing = metric.by_system and systems is None
    routing = sklearn.get_config()["enable_metadata_routing"]
    if by_routing and not routing:
        raise ValueError(
            f"{name} must know each clip's system. Either give systems=clips['system'] and a y indexed by clip id, or "
            "call sklearn.set_config(enable_metadata_routing=True) and pass params={'systems': ...} to the search"
        )
    score = _Score(name, systems if metric.by_system else None, target)
    scorer = _MOSScorer(score, 1 if metric.greater_is_better else -1, {}, "predict")
    # Where nothing is asked for, that is told, so that systems routed to another scorer of the same search are not an error here.
    return scorer.set_score_request(systems=by_routing) if routing else scorer


class _MOSScorer(_Scorer):
    """A scorer that looks whether X and y are about the same clips, for scikit-learn goes by position."""

    def _score(self, method_caller: Any, estimator: Any, X: Any, y_true: Any, **options: Any) -> float:
        labelled = pd.Series | pd.DataFrame
        if isinstance(X, labelled) and isinstance(y_true, labelled) and not X.index.equals(y_true.index):
            unique = X.index.is_unique
            if not (unique and np.array_equal(match_ids(y_true.index, X.index), np.arange(len(X)))):
                raise ValueError(
                    f"X and y are not about the same clips in the same order: the index of X is {listed(X.index)}, of y "
                    f"{listed(y_true.index)}{near_misses(y_true.index, X.index)}. Give y = y.loc[X.index], or, where their rows "
                    "are in one order, X.to_numpy()"
                )
        return super()._score(method_caller, estimator, X, y_true, **options)


class _Score:
    """A metric over one or several targets, with the systems it was given or is passed."""

    def __init__(self, name: str, systems: Any, target: str | None):
        self.name, self.systems, self.target = name, systems, target

    @property
    def __name__(self) -> str:
        return self.name if self.target is None else f"{self.name}[{self.target}]"

    def __call__(self, y_true: Any, y_pred: Any, systems: Any = None) -> float:
        by_system = METRICS[self.name].by_system
        if np.ndim(y_pred) != np.ndim(y_true) and np.size(y_pred) == np.size(y_true):
            y_pred = align.in_order_of(
                align.clips_of(y=y_true), y_pred, "the predictions", otherwise=_PREDICT
            )
            y_pred = np.reshape(np.asarray(y_pred), np.shape(y_true))
        scores = align.match_scores(y_true, {"y_pred": y_pred})
        names = scores.targets
        if names == [None]:
            named = getattr(y_true, "name", None)
            names = [self.target if named is None else named]
        if self.target is not None:
            require_known("target", self.target, names)
        pairs = [
            (truth, prediction)
            for name, truth, prediction in zip(names, scores.truth, scores.predictions[0], strict=True)
            if self.target in (None, name)
        ]
        if by_system:
            labels = self._labels(y_true, systems)
            pairs = [
                tuple(align.system_means(values, labels).to_numpy() for values in pair) for pair in pairs
            ]
            self._warn_of_few(labels)
        found = [agreement_of(self.name, *pair) for pair in pairs]
        return float(np.mean(found))

    def _warn_of_few(self, labels: np.ndarray) -> None:
        """Warn at the first fold of few systems; a worker process gets a new copy for each fold, which goes by its name."""
        in_worker = multiprocessing.parent_process() is not None
        known: Any = _warned_in_worker if in_worker else _warned
        key: Any = self.__name__ if in_worker else self
        if key not in known and len(set(labels)) < align.ENOUGH_SYSTEMS:
            known.add(key)
            align.warn_of_few(labels, stacklevel=3)

    def _labels(self, y_true: Any, systems: Any) -> np.ndarray:
        """Find the system of each clip, by position where they come by routing, else by the index of y."""
        if systems is not None:
            return align.systems_in_order(align.clips_of(y=y_true), systems, len(y_true))
        if self.systems is None:
            raise ValueError(
                f"{self.name} was not given the systems: pass params={{'systems': clips['system']}}"
            )
        if not isinstance(y_true, pd.Series | pd.DataFrame):
            raise ValueError(
                f"{self.name} finds systems by y's index, but y is a {type(y_true).__name__} without one: give y as a "
                "pandas Series indexed by clip id"
            )
        advice = "Index y and the systems by the same clip ids"
        systems = align.in_order_of(
            align.clips_of(y=y_true), self.systems, "systems", more=True, otherwise=advice
        )
        return align.systems_in_order(align.clips_of(y=y_true), systems, len(y_true))
