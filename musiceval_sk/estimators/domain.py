"""Where training's clips lay, so that clips unlike them are told apart when a model meets them later."""

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.metrics import pairwise_distances
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from musiceval_sk.estimators.preparation import check_groups, kept_on_failure

_FEWEST_CLIPS = 3


class TrainingDomain(  # type: ignore[call-arg]
    OneToOneFeatureMixin, TransformerMixin, BaseEstimator, auto_wrap_output_keys=None
):
    """Remember where the training clips lie, and tell how far new ones are from them.

    A step of a pipeline that lets vectors through unchanged. Distance is the mean Euclidean one to the `n_neighbors`
    nearest training clips, every column scaled to unit variance; sound (``audio`` columns) and prompts (``text``) are
    measured apart. What counts as far is read off the training clips themselves: each is measured against those of all
    other groups, so that with systems as groups the yardstick is how far a system lies that was left out.

    Parameters
    ----------
    n_neighbors : int, default=10
        Nearest training clips to average over; fewer where the groups left in hold fewer.
    level : float in (0, 1), default=0.05
        Share of clips that would be called far if they were of the same kind as the training clips.
    max_clips : int, default=2000
        Most training clips to keep; of more, that many are drawn.
    random_state : int, RandomState instance or None, default=0
        Seeds that draw.

    Attributes
    ----------
    reference_ : dict of str to dict
        Per part of the columns, ``columns``, ``center``, ``scale``, the scaled training ``rows`` (distinct ones, float32),
        ``n_neighbors`` as used, their sorted left-out ``distances`` and, given groups, for sound the sorted ``medians`` of
        these by group.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : np.ndarray of str
        Their names, where X has string names.

    Notes
    -----
    A clip's p-value is the conformal one, ``(1 + #{training distances >= its own}) / (1 + n)``: at most `level` of the
    clips of a new system are called far on average, if that system is as exchangeable with the training systems as they
    are with each other. Clips of a *known* system lie nearer than that. Distance to nearest neighbours as a detector of what
    training did not have is from [1]_, the calibration from [2]_.

    References
    ----------
    .. [1] Y. Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022.
    .. [2] R. Laxhammar and G. Falkman, "Conformal prediction for distribution-independent anomaly detection in
       streaming vessel data", StreamKDD 2010.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> domain = TrainingDomain().fit(X)
    >>> domain.measure([[0.0, 0.0, 0.0], [9.0, 9.0, 9.0]])["features_far"].tolist()
    [False, True]
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "level": [Interval(Real, 0, 1, closed="neither")],
        "max_clips": [Interval(Integral, _FEWEST_CLIPS, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self, n_neighbors: int = 10, *, level: float = 0.05, max_clips: int = 2000, random_state: Any = 0
    ):
        self.n_neighbors = n_neighbors
        self.level = level
        self.max_clips = max_clips
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> "TrainingDomain":
        """Keep the training clips and measure each against those of other groups.

        Parameters
        ----------
        X : array-like [shape=(n, n_features)]
            Embeddings.
        y : object, default=None
            Ignored.
        groups : array-like [shape=(n,)], default=None
            System of each clip; without, or with one only, every clip is measured against all others.

        Returns
        -------
        TrainingDomain
            Itself.

        Raises
        ------
        ValueError
            If a parameter is of the wrong type or out of range, clips have no group, or there are too few different clips.
            An earlier fit is then left as it was.
        """
        self._validate_params()
        with kept_on_failure(self):
            values = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=_FEWEST_CLIPS)
            labels = check_groups(groups, len(values))
            if labels is None or labels.max() == 0:
                labels = np.arange(len(values))
            drawn = np.arange(len(values))
            if len(drawn) > self.max_clips:
                random_state = check_random_state(self.random_state)
                drawn = np.sort(random_state.choice(len(drawn), self.max_clips, replace=False))
            names = pd.Series(getattr(self, "feature_names_in_", [""] * self.n_features_in_), dtype=str)
            parts = names.str.split("_").str[0].map({"audio": "sound", "text": "prompt"}).fillna("features")
            self.reference_ = {
                part: self._remember(part, np.flatnonzero(parts == part), values, labels, drawn)
                for part in parts.unique()
            }
        return self

    def transform(self, X: Any) -> Any:
        """Let vectors through.

        Parameters
        ----------
        X : array-like [shape=(n, n_features)]
            Embeddings.

        Returns
        -------
        array-like [shape=(n, n_features)]
            X itself.
        """
        check_is_fitted(self)
        validate_data(self, X, reset=False, skip_check_array=isinstance(X, pd.DataFrame))
        return X if hasattr(X, "shape") else np.asarray(X)

    def measure(self, X: Any) -> pd.DataFrame:
        """Measure how far clips lie from the training clips.

        Parameters
        ----------
        X : array-like [shape=(n, n_features)]
            Embeddings.

        Returns
        -------
        pandas.DataFrame
            One row a clip; per part (``sound``, ``prompt``; ``features`` for columns of other or no names) the
            ``_distance``, the ``_percentile`` in [0, 100] of training clips that lay nearer when their group was left
            out, and whether it is ``_far``.
        """
        check_is_fitted(self)
        values = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        found: dict[str, np.ndarray] = {}
        for part, known in self.reference_.items():
            scaled = (values[:, known["columns"]] - known["center"]) / known["scale"]
            distances = _nearest(scaled, known["rows"], known["n_neighbors"])
            n = len(known["distances"])
            nearer = np.searchsorted(known["distances"], distances)
            found[f"{part}_distance"] = distances
            found[f"{part}_percentile"] = 100 * nearer / n if n else np.full(len(values), np.nan)
            found[f"{part}_far"] = (1 + n - nearer) / (1 + n) <= self.level
        return pd.DataFrame(found, index=X.index if isinstance(X, pd.DataFrame) else None)

    def set_output(self, *, transform: Any = None) -> "TrainingDomain":
        """Do nothing: what comes out is what goes in.

        Parameters
        ----------
        transform : object, default=None
            Ignored.

        Returns
        -------
        TrainingDomain
            Itself.
        """
        return self

    def _remember(
        self, part: str, columns: np.ndarray, values: np.ndarray, labels: np.ndarray, drawn: np.ndarray
    ) -> dict[str, Any]:
        """Keep the distinct clips of those drawn, and how far each lies from those of other groups."""
        values = values[:, columns]
        center, scale = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
        # A column that training never saw vary still tells: any other value of it is news.
        scale[scale < np.finfo(np.float32).eps * (1 + np.abs(values).max(axis=0))] = 1.0
        rows, first = np.unique(values[drawn], axis=0, return_index=True)
        # One prompt serves many systems: prompts are left out one by one.
        groups = np.arange(len(rows)) if part == "prompt" else labels[drawn][first]
        if len(rows) < _FEWEST_CLIPS and part != "prompt":
            raise ValueError(
                f"found {len(rows)} different clips, but it takes at least {_FEWEST_CLIPS} to tell what is far"
            )
        rows = ((rows - center) / scale).astype(np.float32)
        _, sizes = np.unique(groups, return_counts=True)
        n_neighbors = int(min(self.n_neighbors, len(rows) - sizes.max()))
        # A single prompt has no other to be measured against.
        distances = _nearest(rows, rows, n_neighbors, groups) if n_neighbors else np.zeros(0)
        reference = {"columns": columns, "center": center, "scale": scale, "rows": rows}
        reference |= {"n_neighbors": n_neighbors, "distances": np.sort(distances)}
        if part != "prompt" and len(sizes) < len(rows):
            reference["medians"] = np.sort(pd.Series(distances).groupby(groups).median().to_numpy())
        return reference


def _nearest(
    values: np.ndarray, rows: np.ndarray, n_neighbors: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Mean distance of each value from the nearest rows; given the groups of both, from those of other groups."""
    distances = pairwise_distances(values.astype(np.float64), rows.astype(np.float64))
    if groups is not None:
        distances[groups[:, np.newaxis] == groups] = np.inf
    n_neighbors = max(1, n_neighbors)
    return np.partition(distances, n_neighbors - 1, axis=1)[:, :n_neighbors].mean(axis=1)
