"""Grid search over `MOSRegressor` that trains the candidates of a fold together."""

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, ParameterGrid, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import _check_method_params

from musiceval_sk.estimators._jobs import Job, trained_together
from musiceval_sk.estimators.regressor import MOSRegressor

_MOST_MODELS = 32
_LARGEST_SEED = np.iinfo(np.int32).max


class FusedGridSearchCV(GridSearchCV):  # numpydoc ignore=PR02
    """`GridSearchCV` for `MOSRegressor`, alone or as the last step of a pipeline, with candidates trained together.

    Takes the parameters of `sklearn.model_selection.GridSearchCV` and leaves the same attributes. Candidates of one
    fold that agree in the shape of the network and in what all tasks of a batch share (loss, batch size, patience and
    so on) become one batch of matrices; learning rate, momentum, penalty and seed may differ within it. Scores
    are those of `GridSearchCV` on the same estimator, to float tolerance.

    Parameters
    ----------
    estimator : MOSRegressor or Pipeline
        A regressor, or a pipeline that ends in one.
    param_grid : dict or list of dict
        See `GridSearchCV`.
    **options
        All other parameters of `GridSearchCV`. `n_jobs` is not used while training: the engine's matrix products use
        torch's threads.

    Notes
    -----
    With `random_state=None` a seed is drawn once for the whole search, so that candidates differ in their parameters
    only.

    Examples
    --------
    >>> import numpy as np
    >>> from musiceval_sk import FusedGridSearchCV, MOSRegressor
    >>> X = np.random.default_rng(0).normal(size=(80, 4))
    >>> search = FusedGridSearchCV(
    ...     MOSRegressor(hidden_layer_sizes=(8, 4), max_iter=5000, random_state=0),
    ...     {"learning_rate_init": [0.002, 0.02]},
    ...     cv=3,
    ... )
    >>> search.fit(X, 3 + X[:, 0]).best_params_
    {'learning_rate_init': 0.002}
    """

    def fit(self, X: Any, y: Any = None, **params: Any) -> "FusedGridSearchCV":
        """Train every candidate on every fold, then score as `GridSearchCV` does.

        Parameters
        ----------
        X : array-like [shape=(n, n_features)]
            Features.
        y : array-like [shape=(n,) or (n, n_targets)], default=None
            Mean opinion scores; they must be given.
        **params : dict
            As in `GridSearchCV`: ``groups`` for the splitter, parameters of ``fit``.

        Returns
        -------
        FusedGridSearchCV
            Itself.

        Raises
        ------
        ValueError
            If y is missing.
        TypeError
            If the estimator does not end in a `MOSRegressor`.
        """
        if y is None:
            raise ValueError("FusedGridSearchCV needs y, the scores to learn")
        search = clone(self)
        search.n_jobs = None
        _fix_seed(search.estimator)
        with trained_together(search._jobs(X, y, params), _MOST_MODELS):
            super(FusedGridSearchCV, search).fit(X, y, **params)
        self.__dict__.update({name: value for name, value in vars(search).items() if name.endswith("_")})
        return self

    def _jobs(self, X: Any, y: Any, params: dict[str, Any]) -> list[Job]:
        """Lay out the training of every candidate on every fold; candidates that cannot be are left to `fit`."""
        from sklearn.utils import _safe_indexing

        groups = params.get("groups")
        fit_params = {name: value for name, value in params.items() if name != "groups"}
        jobs: list[Job] = []
        for train, _ in check_cv(self.cv, y).split(X, y, groups):
            data = _safe_indexing(X, train), _safe_indexing(y, train)
            extra = _check_method_params(X, fit_params, indices=train)
            prepared: dict[str, Any] = {}
            for candidate in ParameterGrid(self.param_grid):
                model = clone(self.estimator).set_params(**clone(candidate, safe=False))
                try:
                    jobs += _plan(model, *data, extra, prepared)
                except ValueError:
                    continue  # the search proper meets the same error and deals with it by error_score
        return jobs


def _fix_seed(estimator: Any) -> None:
    regressor = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if not isinstance(regressor, MOSRegressor):
        raise TypeError(
            f"FusedGridSearchCV trains MOSRegressor, alone or at the end of a pipeline, not {type(regressor).__name__}; "
            "use GridSearchCV"
        )
    if regressor.random_state is None:
        regressor.random_state = int(np.random.randint(_LARGEST_SEED))  # noqa: NPY002


def _plan(model: Any, X: Any, y: Any, extra: dict[str, Any], prepared: dict[str, Any]) -> list[Job]:
    """Jobs of one candidate on one fold; preprocessing with equal parameters is fitted once."""
    if not isinstance(model, Pipeline):
        return [job for _, job in model._plan(X, y, extra.get("groups"))]
    prefix = f"{model.steps[-1][0]}__"
    before = model[:-1]
    key = repr(sorted((name, repr(value)) for name, value in before.get_params().items()))
    if key not in prepared:
        prepared[key] = before.fit_transform(X, y) if len(before) else X
    return [job for _, job in model[-1]._plan(prepared[key], y, extra.get(f"{prefix}groups"))]
