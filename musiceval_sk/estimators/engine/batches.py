"""The fits of a search, foreseen and trained together in batches before scikit-learn's loop asks for them."""

import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import sklearn
from sklearn.base import clone

from musiceval_sk.estimators.engine.jobs import rehearse, run_job, run_told, same_job, same_table
from musiceval_sk.estimators.engine.task import Job, Task, Trained

_MIB = 2**20


class _Fit(NamedTuple):
    """A fit that was foreseen: its place among all, and what it asks for."""

    place: int
    job: Job


class Batches:
    """Answers the fits of a search in the order in which scikit-learn makes them.

    To learn of them it takes the place of the splitter. Whenever a fit asks for training and nothing is at hand, as many
    of the fits to come as there is room for are rehearsed and trained together. What was handed out is forgotten, so
    memory does not grow with the number of fits. What was not foreseen is not answered: a mistake here costs time only.
    """

    def __init__(self, search: Any, candidates: list[dict[str, Any]], cv: Any, fit_params: dict[str, Any]):
        self.candidates, self._cv, self._fit_params = candidates, cv, fit_params
        self._estimator, self._verbose = search.estimator, search.verbose
        self._room = sklearn.get_config()["working_memory"] * _MIB
        self._trained: deque[tuple[_Fit, list[Trained]]] = deque()

    def split(self, X: Any, y: Any = None, **params: Any) -> list[tuple[Any, Any]]:
        """Split as the splitter does, and note the fits to come: candidate by candidate, in it fold by fold."""
        splits = list(self._cv.split(X, y, **params))
        self._X, self._y = X, y
        self._folds = [np.arange(len(y))[train] for train, _ in splits]
        self._to_come = enumerate(product(self.candidates, range(len(splits))))
        self._waited, self._shares = np.zeros((2, len(self.candidates), len(splits)))
        return splits

    def answer(self, job: Job) -> list[Trained] | None:
        """Hand out what was trained for this job; None if it was not foreseen."""
        begin = time.perf_counter()
        if not self._trained:
            self._train_next()
        if not self._trained or not same_job(self._trained[0][0].job, job):
            return None
        fit, trained = self._trained.popleft()
        self._waited.flat[fit.place] = time.perf_counter() - begin
        return trained

    def share_time(self, results: dict[str, Any]) -> None:
        """Book the time of a batch to its fits, by epochs trained, instead of the one that set it off."""
        last = slice(-len(self.candidates), None)
        results["mean_fit_time"][last] += (self._shares - self._waited).mean(axis=1)
        foreseen = self._shares.all(axis=1)
        results["std_fit_time"][last][foreseen] = self._shares[foreseen].std(axis=1)

    def _train_next(self) -> None:
        begin = time.perf_counter()
        fits = self._next_fits()
        trained = _trained_together(fits, self._run)
        self._trained.extend(zip(fits, trained, strict=True))
        epochs = np.array([sum(len(one.loss_curve) for one in results) for results in trained])
        seconds = time.perf_counter() - begin
        self._shares.flat[[fit.place for fit in fits]] = seconds * epochs / max(epochs.sum(), 1)

    def _next_fits(self) -> list[_Fit]:
        """Rehearse fits to come until their models, results and tables fill the room."""
        fits: list[_Fit] = []
        tables: dict[int, list[Job]] = {}
        part_of = cache(self._part)
        taken = 0
        for place, (parameters, fold) in self._to_come:
            job = self._rehearsed(parameters, partial(part_of, fold))
            if job is None:
                continue
            taken += job.bytes_needed()
            known = tables.setdefault(fold, [])
            like = next((other for other in known if same_table(job, other)), None)
            if like is None:
                known.append(job)
                taken += 2 * (job.inputs.nbytes + job.targets.nbytes)  # kept here, and within the batch
            else:
                job = replace(job, inputs=like.inputs, targets=like.targets)
            fits.append(_Fit(place, job))
            if taken >= self._room:
                break
        return fits

    def _part(self, fold: int) -> tuple[Any, Any, dict[str, Any]]:
        """Take what scikit-learn gives the fits of one fold."""
        rows = self._folds[fold]
        params = {name: _rows_of(value, rows, len(self._y)) for name, value in self._fit_params.items()}
        return _rows_of(self._X, rows, len(self._y)), _rows_of(self._y, rows, len(self._y)), params

    def _rehearsed(self, parameters: dict[str, Any], part: Callable[[], Any]) -> Job | None:
        """Find what one fit asks for; None if it fails, as the fit proper does likewise, or has no seed."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the fit proper gives them
            try:
                model = clone(self._estimator).set_params(**clone(parameters, safe=False))
                if model.random_state is None:
                    return None
                X, y, params = part()
                return rehearse(lambda: model.fit(X, y, **params))
            except Exception:
                return None

    def _run(self, batch: Job) -> list[Trained]:
        return run_told(batch, run_job, f"{len(batch.tasks)} models", self._verbose >= 1)


def _rows_of(values: Any, rows: np.ndarray, n_rows: int) -> Any:
    """Rows of an array or table, where it has one for each of X; else all of it, as scikit-learn has it."""
    if not hasattr(values, "__len__") or len(values) != n_rows:
        return values
    return values.iloc[rows] if hasattr(values, "iloc") else np.asarray(values)[rows]


def _trained_together(fits: Sequence[_Fit], run: Callable[[Job], list[Trained]]) -> list[list[Trained]]:
    """Train fits, those of one schedule as one batch; for each fit its tasks' results."""
    alike: dict[tuple, list[int]] = {}
    for i, fit in enumerate(fits):
        alike.setdefault((fit.job.schedule, fit.job.device, fit.job.dtype), []).append(i)
    results: list[list[Trained]] = [[] for _ in fits]
    for members in alike.values():
        trained = iter(run(_joined([fits[i] for i in members])))
        for i in members:
            results[i] = [next(trained) for _ in fits[i].job.tasks]
    return results


def _joined(fits: Sequence[_Fit]) -> Job:
    """One job for all fits, whose tables stand one below the other."""
    jobs = {_table_of(fit.job): fit.job for fit in fits}
    ends = np.cumsum([len(job.inputs) for job in jobs.values()])
    begins = dict(zip(jobs, [0, *ends], strict=False))
    n_targets = max(job.targets.shape[1] for job in jobs.values())
    targets = [np.pad(job.targets, ((0, 0), (0, n_targets - job.targets.shape[1]))) for job in jobs.values()]
    tasks = [
        _moved(task, begins[_table_of(fit.job)], ends[-1], fit.place)
        for fit in fits
        for task in fit.job.tasks
    ]
    inputs = np.concatenate([job.inputs for job in jobs.values()])
    return replace(fits[0].job, inputs=inputs, targets=np.concatenate(targets), tasks=tasks)


def _table_of(job: Job) -> tuple[int, int]:
    return id(job.inputs), id(job.targets)


def _moved(task: Task, begin: int, n_rows: int, fit: int) -> Task:
    """Give a task its rows where its table begins."""
    given = weights = task.row_weights
    if given is not None:
        weights = np.ones(n_rows)
        weights[begin : begin + len(given)] = given
    return replace(
        task,
        pairs=None if task.pairs is None else begin + task.pairs,
        held_pairs=None if task.held_pairs is None else begin + task.held_pairs,
        rows=begin + task.rows,
        validation_rows=begin + task.validation_rows,
        row_weights=weights,
        # Jobs number the tasks that stop together each for itself.
        stops_with=None if task.stops_with is None else (fit, task.stops_with),
    )
