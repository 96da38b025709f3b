"""The plan of a fused search: fits rehearsed ahead of their turn, trained together, handed out one by one."""

import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params

from musiceval_sk.estimators.engine.fused import room_needed, train_together
from musiceval_sk.estimators.engine.jobs import Job, OnEpoch, rehearse
from musiceval_sk.estimators.engine.train import Trained
from musiceval_sk.estimators.search_sameness import same


@dataclass(frozen=True)
class SearchData:
    """What all fits of a search share."""

    estimator: Any
    X: Any
    y: Any
    fit_params: dict[str, Any]


@dataclass(frozen=True)
class SearchFit:
    """One fit of a search: the candidate's parameters, and the rows that it trains on."""

    parameters: dict[str, Any]
    train: Any


@dataclass
class _Planned:
    fit: int
    job: Job
    trained: list[Trained]
    seconds: float = 0.0


class SearchPlan:
    """Answers the fits of a search, or of a part of it, in the order in which scikit-learn makes them.

    Whenever a fit asks for training and nothing is at hand, as many of the fits to come as there is room for are
    rehearsed and trained together. What was handed out is forgotten, so memory does not grow with the number of fits.

    Parameters
    ----------
    data : SearchData
        The estimator to clone for each candidate, and the data.
    fits : sequence of SearchFit
        In scikit-learn's order: candidate by candidate, within it fold by fold. Fits of one fold hold the same rows.
    room : float
        Bytes for the models in training, their results, and the tables they learn from.
    on_batch : callable
        Called with each batch before it is trained; returns what to call after each of its epochs.

    Attributes
    ----------
    charged, shares : np.ndarray [shape=(n_fits,)], seconds
        What each fit waited for an answer, and its share of the training by epochs trained.
    """

    def __init__(
        self,
        data: SearchData,
        fits: Sequence[SearchFit],
        room: float,
        on_batch: Callable[[Job], OnEpoch],
    ):
        self.data, self.fits, self.room, self.on_batch = data, fits, room, on_batch
        self.charged, self.shares = np.zeros(len(fits)), np.zeros(len(fits))
        self._to_come = iter(range(len(fits)))
        self._left_over: tuple[int, Job] | None = None
        self._planned: deque[_Planned] = deque()
        self._rows_of_folds: dict[int, tuple[Any, Any]] = {}

    def answer(self, job: Job) -> list[Trained] | None:
        """Hand out what was trained for this job; None if it was never planned, as where a step is not deterministic."""
        begin = time.perf_counter()
        if not self._planned:
            self._train_next()
        spent = time.perf_counter() - begin
        for place, planned in enumerate(self._planned):
            if same(planned.job, job):
                for _ in range(place + 1):
                    self._planned.popleft()
                self.charged[planned.fit] += spent
                self.shares[planned.fit] += planned.seconds
                return planned.trained
        if self._planned:
            self._planned.popleft()  # it was planned for this fit and will not be asked for again
        return None

    def _train_next(self) -> None:
        begin = time.perf_counter()
        chosen = self._next_jobs()
        results = train_together([job for _, job in chosen], self.room, self.on_batch)
        self._planned = deque(
            _Planned(fit, job, trained) for (fit, job), trained in zip(chosen, results, strict=True)
        )
        work = [sum(len(result.loss_curve) for result in trained) for trained in results]
        seconds = time.perf_counter() - begin
        for planned, part in zip(self._planned, work, strict=True):
            planned.seconds = seconds * part / sum(work)

    def _next_jobs(self) -> list[tuple[int, Job]]:
        """Rehearse fits to come until their models, results and tables fill the room; at least one."""
        chosen: list[tuple[int, Job]] = []
        tables: dict[int, list[Job]] = {}
        taken = 0
        while (found := self._next_job()) is not None:
            fit, job = found
            held = tables.setdefault(id(self.fits[fit].train), [])
            job, is_new = _share_table(job, held)
            # A new table is kept itself, within the union of all, and as the union's keys.
            need = room_needed(job) + 3 * is_new * (job.inputs.nbytes + job.targets.nbytes)
            if chosen and taken + need > self.room:
                self._left_over = fit, job
                break
            if is_new:
                held.append(job)
            taken += need
            chosen.append((fit, job))
        self._rows_of_folds.clear()
        return chosen

    def _next_job(self) -> tuple[int, Job] | None:
        if self._left_over is not None:
            found, self._left_over = self._left_over, None
            return found
        for fit in self._to_come:
            job = self._rehearse(self.fits[fit])
            if job is not None:
                return fit, job
        return None

    def _rehearse(self, fit: SearchFit) -> Job | None:
        """Job of one fit; None if it fails, for the fit proper fails likewise and error_score deals with it."""
        data = self.data
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the fit proper gives them
            try:
                model = clone(data.estimator).set_params(**clone(fit.parameters, safe=False))
                if not can_be_rehearsed(model):
                    return None
                X, y = self._rows(model, fit.train)
                fit_params = _check_method_params(data.X, params=data.fit_params, indices=fit.train)
                return rehearse(lambda: model.fit(X, y, **fit_params))
            except Exception:
                return None

    def _rows(self, model: Any, train: Any) -> tuple[Any, Any]:
        """Rows of a fold, taken once a portion where the fits learn from them as they are."""
        data = self.data
        if hasattr(model, "steps") or not isinstance(data.X, np.ndarray):
            return _safe_split(model, data.X, data.y, train)
        if id(train) not in self._rows_of_folds:
            self._rows_of_folds[id(train)] = _safe_split(model, data.X, data.y, train)
        return self._rows_of_folds[id(train)]


def last_step(estimator: Any) -> Any:
    """Estimator at the end of a pipeline, of pipelines within pipelines, or the estimator itself."""
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return estimator


def can_be_rehearsed(estimator: Any) -> bool:
    """Tell whether a fit asks the engine for training, and for the same each time."""
    from musiceval_sk.estimators.regressor import MOSRegressor

    last = last_step(estimator)
    return isinstance(last, MOSRegressor) and last.random_state is not None


def _share_table(job: Job, held: Sequence[Job]) -> tuple[Job, bool]:
    """Let a job point to an equal table that is held already; tell whether its table is a new one."""
    for other in held:
        if same(other.inputs, job.inputs) and same(other.targets, job.targets):
            return replace(job, inputs=other.inputs, targets=other.targets), False
    return job, True
