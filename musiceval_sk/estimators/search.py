"""Searches over `MOSRegressor` that train candidates and folds together."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import sklearn
from joblib import effective_n_jobs, parallel_config
from joblib.parallel import get_active_backend
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import check_random_state, indexable

from musiceval_sk.estimators.regressor import MOSRegressor
from musiceval_sk.estimators.step_memory import StepMemory

_LARGEST_SEED = np.iinfo(np.int32).max
_MIB = 2**20
_SHARE_OF_STEPS = 0.25


class _FusedSearch(BaseSearchCV):
    """What turns a search of scikit-learn's into one that trains together.

    scikit-learn's own code runs the search. Only where a regressor asks the engine for training, a `SearchPlan` answers
    that has trained this fit along with others.
    """

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Train every candidate on every fold, together, then score and refit as scikit-learn does.

        Parameters
        ----------
        X : array-like [shape=(n, n_features)]
            Features, or what the pipeline's first step takes.
        y : array-like [shape=(n,) or (n, n_targets)], default=None
            Mean opinion scores; they must be given.
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
            If y is missing, or scikit-learn's search raises it.
        TypeError
            If the estimator does not end in a `MOSRegressor`.
        """
        from musiceval_sk.estimators.search_plan import last_step

        self._validate_params()
        name = type(self).__name__
        if y is None:
            raise ValueError(f"{name} needs y, the scores to learn, but y is None")
        last = last_step(self.estimator)
        if not isinstance(last, MOSRegressor):
            raise TypeError(
                f"{name} trains MOSRegressor, alone or at the end of a pipeline, not {type(last).__name__}; "
                f"use {name.removeprefix('Fused')}"
            )
        working = copy.copy(self)
        working.n_jobs = _processes(self.n_jobs, last)
        working.pre_dispatch = "all"
        working.estimator = _prepared(self.estimator, working.n_jobs)
        working.cv = check_cv(self.cv, y)  # a generator is read once
        working._data = indexable(X, y)
        with working._sharing_out():
            super(_FusedSearch, working).fit(X, y, **params)
        if hasattr(working, "best_estimator_"):
            _forget_steps(working.best_estimator_)
        self.__dict__.update({name: value for name, value in vars(working).items() if name.endswith("_")})
        return self

    def _get_routed_params_for_fit(self, params: dict[str, Any]) -> Any:
        self._routed = super()._get_routed_params_for_fit(params)
        return self._routed

    @contextmanager
    def _sharing_out(self) -> Iterator[None]:
        """Let scikit-learn run on processes that train their portions together, if there is to be more than this one."""
        if self.n_jobs == 1:
            yield
            return
        from musiceval_sk.estimators.search_processes import PortionsBackend

        portions = PortionsBackend(self.n_jobs, _working_memory(), partial(_show, self.verbose))
        with parallel_config(backend=portions, n_jobs=self.n_jobs):
            yield

    def _run_search(self, evaluate_candidates: Any, *, callback_ctx: Any = None) -> None:
        """Let scikit-learn evaluate all candidates while plans answer what they ask of the engine."""
        # Drawn once: a splitter without a seed would draw others when asked again.
        splits = list(self.cv.split(*self._data, **self._routed.splitter.split))
        evaluate_all = _evaluate_in_processes if self.n_jobs > 1 else self._evaluate_here

        def evaluate(candidates: Any, **options: Any) -> Any:
            return evaluate_all(
                partial(evaluate_candidates, cv=check_cv(splits), **options), list(candidates), splits
            )

        # scikit-learn before 1.9 has no callbacks.
        context = {} if callback_ctx is None else {"callback_ctx": callback_ctx}
        super()._run_search(evaluate, **context)

    def _evaluate_here(self, evaluate: Any, candidates: Any, splits: Any) -> Any:
        from musiceval_sk.estimators.engine.jobs import answered_by
        from musiceval_sk.estimators.search_plan import SearchData, SearchFit, SearchPlan

        X, y = self._data
        data = SearchData(self.estimator, X, y, self._routed.estimator.fit)
        fits = [SearchFit(parameters, train) for parameters in candidates for train, _ in splits]
        plan = SearchPlan(data, fits, _working_memory(), partial(_show, self.verbose))
        with answered_by(plan.answer):
            results = evaluate(candidates)
        shape = len(candidates), len(splits)
        _share_time(results, plan.charged.reshape(shape), plan.shares.reshape(shape))
        return results


class FusedGridSearchCV(_FusedSearch, GridSearchCV):  # numpydoc ignore=PR02
    """`GridSearchCV` for `MOSRegressor`, alone or at the end of a pipeline, with candidates and folds trained together.

    Takes the parameters of `sklearn.model_selection.GridSearchCV` and leaves the same attributes. All fits that agree
    in the shape of the network and in what a batch shares (loss, batch size, patience, device and so on) become one
    batch of matrices, whatever their candidate, fold, target or ensemble member; learning rate, momentum, penalty,
    seed and the rows differ within it. Scores are those of `GridSearchCV` on the same estimator, see Notes.

    Parameters
    ----------
    estimator : MOSRegressor or Pipeline
        A regressor, or a pipeline that ends in one.
    param_grid : dict or list of dict
        See `GridSearchCV`.
    **options
        All other parameters of `GridSearchCV`, with its defaults. With ``n_jobs=1`` all is trained in this process, on
        torch's threads; with more, joblib's processes take portions of the fits, each with its share of the cores and of
        the memory, whatever backend joblib is set to. Where a GPU trains, `n_jobs` is not used. `pre_dispatch` never is.
        From ``verbose=1`` on, a bar on stderr shows each batch.

    See Also
    --------
    FusedRandomizedSearchCV : The same with candidates drawn at random.

    Notes
    -----
    It helps where many candidates or folds share one shape. A GPU gains most, for its time goes into launching steps,
    which a batch shares. On a CPU the matrix products themselves take the time: with `n_jobs` set to the number of cores
    it is about as fast as `GridSearchCV` with as many, see ``examples/benchmarks/bench_fit.py``. Parameters that change
    the shape (hidden layers, batch size, loss) make a batch for each of their values.

    Steps before the regressor are fitted once for each fold and each setting of theirs, as long as their results fit
    a quarter of ``sklearn.get_config()["working_memory"]``, unless the pipeline has a ``memory`` of its own; with
    `n_jobs`, once in each portion. A fitted transformer is then shared between candidates; it must not change when it
    transforms.

    Memory is bounded: fits are planned, trained, scored and forgotten in portions whose models, weights and tables
    fit ``working_memory`` (1024 MiB by default), of at least one fit. On a CUDA device batches are split to fit the
    card's free memory as well. Raise it for larger batches: ``sklearn.set_config(working_memory=4096)``.

    ``mean_fit_time`` is a share of the portion's time, by epochs trained, for no fit has a time of its own.

    In float32 on a CPU, a fit gets the same bits in company as alone where the widths of its hidden layers are multiples
    of 16, as by default: scores then equal those of `GridSearchCV` exactly, at any learning rate. (Measured with MKL on
    x86, AVX2, 1 and 2 threads: 24 candidates with rates from 1e-4 to 0.05, momenta from 0.5 to 0.95, with and without
    `alpha`, 1,200 rows of 512 columns.) Otherwise rounding may differ with the number of fits in a batch: for other
    widths, "gelu", very small matrices shared by threads (5 columns, or batches of 7), float64, and CUDA. Well-behaved
    fits then agree to 1e-4 in float32 and to 1e-8 in float64, but steps so large that training is unstable amplify
    rounding, and where two epochs are equally good early stopping may keep the other one.

    With `random_state=None` a seed is drawn once for the whole search, so that candidates differ in their parameters
    only; ``best_estimator_`` bears it. A candidate that sets `random_state` to None, or that ends in another
    estimator, is fitted on its own.

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
    """`RandomizedSearchCV` for `MOSRegressor`, alone or at the end of a pipeline, with fits trained together.

    Takes the parameters of `sklearn.model_selection.RandomizedSearchCV` and leaves the same attributes; for the same
    `random_state` it draws the same candidates. See `FusedGridSearchCV` for what is trained together, when it helps,
    and its limits.

    Parameters
    ----------
    estimator : MOSRegressor or Pipeline
        A regressor, or a pipeline that ends in one.
    param_distributions : dict or list of dict
        See `RandomizedSearchCV`.
    **options
        All other parameters of `RandomizedSearchCV`, with its defaults; `n_jobs` and `pre_dispatch` as in
        `FusedGridSearchCV`.

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


def _evaluate_in_processes(evaluate: Any, candidates: Any, splits: Any) -> Any:
    portions, _ = get_active_backend()
    portions.n_fits_to_come = len(candidates) * len(splits)
    return evaluate(candidates)


def _processes(n_jobs: int | None, regressor: Any) -> int:
    """How many processes to use: one where a GPU trains, for it gains by large batches."""
    from musiceval_sk._device import resolve_device

    return effective_n_jobs(n_jobs) if resolve_device(regressor.device).type == "cpu" else 1


def _show(verbose: int, batch: Any) -> Any:
    """Show a bar for a batch where `verbose` asks for words."""
    from tqdm import tqdm

    bar = tqdm(
        total=batch.schedule.max_iter,
        unit="epoch",
        desc=f"{len(batch.tasks)} models",
        disable=verbose < 1,
    )

    def on_epoch(epoch: int, loss: float) -> None:
        bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        bar.update()

    return on_epoch


def _prepared(estimator: Any, n_processes: int) -> Any:
    """Clone with a seed, and pipelines that fit equal steps once."""
    from musiceval_sk.estimators.search_plan import last_step

    prepared = clone(estimator)
    regressor = last_step(prepared)
    if regressor.random_state is None:
        regressor.random_state = int(check_random_state(None).randint(_LARGEST_SEED))
    memory = StepMemory(_SHARE_OF_STEPS * _working_memory() / n_processes)
    for pipeline in _pipelines(prepared):
        if pipeline.memory is None:
            pipeline.memory = memory
    return prepared


def _forget_steps(estimator: Any) -> None:
    for pipeline in _pipelines(estimator):
        if isinstance(pipeline.memory, StepMemory):
            pipeline.memory = None


def _pipelines(estimator: Any) -> Any:
    while hasattr(estimator, "steps"):
        yield estimator
        estimator = estimator.steps[-1][1]


def _working_memory() -> float:
    return sklearn.get_config()["working_memory"] * _MIB


def _share_time(results: dict[str, Any], charged: np.ndarray, shares: np.ndarray) -> None:
    """Book the time of a portion to its fits instead of the one that set it off."""
    results["mean_fit_time"] += (shares - charged).mean(axis=1)
    results["std_fit_time"] = shares.std(axis=1)
