"""Searches of scikit-learn's that train the fits of a `MOSRegressor` together, and a regressor that tunes itself by groups.

scikit-learn's own code runs the search. Where a fit of its loop asks the engine for training, `Batches` answers, which
has trained it along with the fits to come. What they did not foresee is trained as always; fits in other processes ask
nobody here.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import sklearn
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.model_selection import GridSearchCV, GroupKFold, RandomizedSearchCV, check_cv
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import check_is_fitted, validate_data

from musiceval_sk.estimators.preparation import check_groups
from musiceval_sk.estimators.regressor import MOSRegressor

_LARGEST_SEED = np.iinfo(np.int32).max


class _FusedSearch:
    """Mixin in front of one of scikit-learn's searches."""

    estimator: Any
    cv: Any

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit and score every candidate on every fold, and refit the best, as scikit-learn does.

        Parameters
        ----------
        X : array-like [shape=(n, n_features)]
            Features.
        y : array-like [shape=(n,) or (n, n_targets)], default=None
            Mean opinion scores.
        **params : dict
            As in scikit-learn: ``groups`` for the splitter and parameters of ``fit``; with metadata routing
            enabled, all that is requested.

        Returns
        -------
        FusedGridSearchCV or FusedRandomizedSearchCV
            Itself.

        Raises
        ------
        ValueError
            If a `MOSRegressor` is given no y, or scikit-learn's search raises it.
        """
        search: Any = super()
        if not _is_foreseen(self.estimator):
            return search.fit(X, y, **params)
        if y is None:
            raise ValueError(f"{type(self).__name__} needs y, the scores to learn, but y is None")
        given = {"estimator": self.estimator, "cv": self.cv}
        if self.estimator.random_state is None:
            seed = int(check_random_state(None).randint(_LARGEST_SEED))
            self.estimator = clone(self.estimator).set_params(random_state=seed)
        if isinstance(self.cv, Iterator):  # it gives its splits once
            self.cv = list(self.cv)
        self._fit_params = params
        try:
            return search.fit(X, y, **params)
        finally:
            vars(self).update(given)
            del self._fit_params

    def _run_search(self, evaluate_candidates: Any, *, callback_ctx: Any = None) -> None:
        """Let scikit-learn evaluate all candidates while batches answer what their fits ask of the engine."""
        search: Any = super()
        # scikit-learn before 1.9 has no callbacks.
        context = {} if callback_ctx is None else {"callback_ctx": callback_ctx}
        if not _is_foreseen(self.estimator):
            search._run_search(evaluate_candidates, **context)
            return
        from musiceval_sk.estimators.engine.batches import Batches
        from musiceval_sk.estimators.engine.jobs import answered_by

        def evaluate(candidates: Any, cv: Any = None, **options: Any) -> Any:
            batches = Batches(self, list(candidates), cv or check_cv(self.cv), self._routed_to_fit())
            with answered_by(batches.answer):
                results = evaluate_candidates(batches.candidates, cv=batches, **options)
            batches.share_time(results)
            return results

        search._run_search(evaluate, **context)

    def _routed_to_fit(self) -> dict[str, Any]:
        """Choose what the regressor's `fit` is given of what the search's was."""
        if sklearn.get_config()["enable_metadata_routing"]:
            return process_routing(self, "fit", **self._fit_params).estimator.fit
        return {name: value for name, value in self._fit_params.items() if name != "groups"}


def _is_foreseen(estimator: Any) -> bool:
    """Tell whether all candidates of a search learn from the very rows of a fold, by `MOSRegressor.fit` itself."""
    return getattr(type(estimator), "fit", None) is MOSRegressor.fit


class FusedGridSearchCV(_FusedSearch, GridSearchCV):  # numpydoc ignore=PR02
    """`GridSearchCV` that trains the candidates and folds of a `MOSRegressor` together.

    Takes the parameters of `sklearn.model_selection.GridSearchCV`, leaves the same attributes and runs its code. What
    it adds: all fits of a `MOSRegressor` that agree in the shape of the network and in what a batch shares (loss, batch
    size, patience, device and so on) become one batch of matrices, whatever their candidate, fold, target or ensemble
    member; learning rate, momentum, penalty, seed and the rows differ within it. Scores are those of `GridSearchCV` on
    the same estimator, see Notes. With any other estimator, a pipeline among them, or with more than one job it is
    `GridSearchCV`.

    Parameters
    ----------
    estimator : estimator
        A `MOSRegressor`, or any other that `GridSearchCV` takes.
    param_grid : dict or list of dict
        See `GridSearchCV`.
    **options
        All other parameters of `GridSearchCV`, with its defaults. From ``verbose=1`` on, stderr shows how far
        each batch is.

    See Also
    --------
    FusedRandomizedSearchCV : The same with candidates drawn at random.

    Notes
    -----
    It helps where many candidates or folds share one shape. A GPU gains most, for its time goes into launching steps,
    which a batch shares. On a CPU the matrix products themselves take the time: `n_jobs` set to the number of cores,
    which is `GridSearchCV` alone, is about as fast, see ``examples/benchmarks/bench_fit.py``. Parameters that change the
    shape (hidden layers, batch size, loss) make a batch for each of their values. To search over what comes before the
    regressor as well, transform X first and give the regressor alone, or let scikit-learn fit the pipelines one by one.

    Memory is bounded: fits are foreseen, trained, scored and forgotten in portions whose models, weights and tables
    fill ``sklearn.get_config()["working_memory"]`` (1024 MiB by default), on a GPU too. Raise it for larger batches:
    ``sklearn.set_config(working_memory=4096)``.

    ``mean_fit_time`` is a share of the portion's time, by epochs trained, for no fit has a time of its own.

    In float32 on a CPU, a fit gets the same bits in company as alone where the widths of its hidden layers are multiples
    of 16, as by default: scores then equal those of `GridSearchCV` exactly, at any learning rate. (Measured with MKL on
    x86, AVX2, 1 and 2 threads: 24 candidates with rates from 1e-4 to 0.05, momenta from 0.5 to 0.95, with and without
    `alpha`, 1,200 rows of 512 columns.) Otherwise rounding may differ with the number of fits in a batch: for other
    widths, "gelu", very small matrices shared by threads (5 columns, or batches of 7), float64, and CUDA. Well-behaved
    fits then agree to 1e-4 in float32 and to 1e-8 in float64, but steps so large that training is unstable amplify
    rounding, and where two epochs are equally good early stopping may keep the other one.

    With `random_state=None` in a `MOSRegressor` a seed is drawn once for the whole search, so that candidates differ in
    their parameters only; ``best_estimator_`` bears it. A candidate that sets `random_state` to None is fitted on its own.

    Examples
    --------
    >>> import numpy as np
    >>> from musiceval_sk import FusedGridSearchCV, MOSRegressor
    >>> X = np.random.default_rng(0).normal(size=(80, 4))
    >>> search = FusedGridSearchCV(
    ...     MOSRegressor(hidden_layer_sizes=(8, 4), max_iter=5000, random_state=0),
    ...     {"learning_rate_init": [0.005, 0.05]},
    ...     cv=3,
    ... )
    >>> search.fit(X, 3 + np.tanh(X[:, 0])).best_params_
    {'learning_rate_init': 0.05}
    """


class FusedRandomizedSearchCV(_FusedSearch, RandomizedSearchCV):  # numpydoc ignore=PR02
    """`RandomizedSearchCV` that trains the candidates and folds of a `MOSRegressor` together.

    Takes the parameters of `sklearn.model_selection.RandomizedSearchCV` and leaves the same attributes; for the same
    `random_state` it draws the same candidates. See `FusedGridSearchCV` for what is trained together, when it helps,
    and its limits.

    Parameters
    ----------
    estimator : estimator
        A `MOSRegressor`, or any other that `RandomizedSearchCV` takes.
    param_distributions : dict or list of dict
        See `RandomizedSearchCV`.
    **options
        All other parameters of `RandomizedSearchCV`, with its defaults.

    See Also
    --------
    FusedGridSearchCV : The same over a grid.

    Notes
    -----
    Draw from continuous distributions what one batch may mix: learning rate, momentum, penalty. Each value drawn of a
    parameter that changes the shape would be a batch of its own.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import loguniform
    >>> from musiceval_sk import FusedRandomizedSearchCV, MOSRegressor
    >>> X = np.random.default_rng(0).normal(size=(80, 4))
    >>> search = FusedRandomizedSearchCV(
    ...     MOSRegressor(hidden_layer_sizes=(8, 4), max_iter=5000, random_state=0),
    ...     {"learning_rate_init": loguniform(1e-3, 1e-1), "alpha": [0.0, 1e-3]},
    ...     n_iter=4,
    ...     cv=3,
    ...     random_state=0,
    ... )
    >>> bool(search.fit(X, 3 + np.tanh(X[:, 0])).best_score_ > 0.5)
    True
    """


class TunedRegressor(MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    """Fit a regressor with those of some parameters that predict left-out groups best, by squared error.

    It is `GridSearchCV` whose `fit` takes ``groups`` as `MOSRegressor` does, so that a study tunes within its folds without mixing
    systems, and which keeps the best regressor alone, so that it can be saved.

    Parameters
    ----------
    regressor : estimator
        It is cloned.
    grid : mapping of str to sequence
        Values to try of each parameter, as of `GridSearchCV`.
    n_splits : int, default=3
        Folds of the search; at most as many as there are groups.

    Attributes
    ----------
    regressor_ : estimator
        Fitted to all rows with the best parameters.
    best_params_ : dict
        These.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> X = np.arange(12.0)[:, None]
    >>> TunedRegressor(Ridge(), {"alpha": [0.1, 1000.0]}).fit(X, X[:, 0], groups=list("aaabbbcccddd")).best_params_
    {'alpha': 0.1}
    """

    def __init__(self, regressor: Any, grid: Mapping[str, Sequence[Any]], *, n_splits: int = 3):
        self.regressor = regressor
        self.grid = grid
        self.n_splits = n_splits

    def fit(self, X: Any, y: Any, groups: Any = None) -> "TunedRegressor":
        """Search, then fit to all rows.

        Parameters
        ----------
        X : array-like [shape=(n, n_features)]
            Features.
        y : array-like [shape=(n,)]
            Mean opinion scores.
        groups : array-like [shape=(n,)], default=None
            Rows of one group are left out together; without it, or with a single one, rows are.

        Returns
        -------
        TunedRegressor
            Itself.

        Raises
        ------
        ValueError
            If a row has no group, or scikit-learn's search raises it.
        """
        # Arrays from here on: the search would have every column of a table checked again for each fit.
        X, y = validate_data(self, X, y, y_numeric=True)
        labels = check_groups(groups, len(y))
        if labels is None or len(np.unique(labels)) < 2:
            labels = np.arange(len(y))
        folds = GroupKFold(min(self.n_splits, len(np.unique(labels)))).split(X, groups=labels)
        search = GridSearchCV(self.regressor, dict(self.grid), scoring="neg_mean_squared_error", cv=folds)
        self.regressor_, self.best_params_ = search.fit(X, y).best_estimator_, search.best_params_
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict with the best.

        Parameters
        ----------
        X : array-like [shape=(n, n_features)]
            Features.

        Returns
        -------
        np.ndarray [shape=(n,)]
            Scores.
        """
        check_is_fitted(self)
        return self.regressor_.predict(validate_data(self, X, reset=False))
