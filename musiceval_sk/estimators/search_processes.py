"""A fused search shared out to processes: each takes portions of the fits and trains those of a portion together."""

from collections.abc import Callable
from typing import Any

from joblib.parallel import LokyBackend
from sklearn.model_selection._validation import _fit_and_score

from musiceval_sk.estimators.engine.jobs import Job, OnEpoch, answered_by
from musiceval_sk.estimators.search_plan import SearchData, SearchFit, SearchPlan


class PortionsBackend(LokyBackend):
    """What `joblib.Parallel` runs scikit-learn's search on: loky's processes, with whole portions as their batches.

    Parameters
    ----------
    n_processes : int
        How many.
    room : float
        Bytes for all of them together, see `SearchPlan`.
    on_batch : callable
        See `SearchPlan`; must be picklable.
    """

    def __init__(self, n_processes: int, room: float, on_batch: Callable[[Job], OnEpoch], **options: Any):
        super().__init__(**options)
        self.n_processes, self.room, self.on_batch = n_processes, room, on_batch
        self.n_fits_to_come = 0

    def compute_batch_size(self) -> int:
        """Fits of a portion: half of a process's part of those to come, so that all processes end at about one time."""
        size = max(1, self.n_fits_to_come // (2 * self.n_processes))
        self.n_fits_to_come -= size * self.n_processes  # as many portions are made of this size
        return size

    def submit(self, func: Any, callback: Any = None) -> Any:
        """Send a portion."""
        return super().submit(_Portion(func, self.room / self.n_processes, self.on_batch), callback)


class _Portion:
    """Calls that a process makes one after another, answered by a plan of its own where they are fits of a search."""

    def __init__(self, calls: Any, room: float, on_batch: Callable[[Job], OnEpoch]):
        self.calls, self.room, self.on_batch = calls, room, on_batch

    def __call__(self) -> list[Any]:
        if not all(
            getattr(function, "function", None) is _fit_and_score for function, _, _ in self.calls.items
        ):
            return self.calls()
        _, (estimator, X, y), options = self.calls.items[0]
        fits = [SearchFit(named["parameters"], named["train"]) for _, _, named in self.calls.items]
        plan = SearchPlan(SearchData(estimator, X, y, options["fit_params"]), fits, self.room, self.on_batch)
        with answered_by(plan.answer):
            results = self.calls()
        for result, waited, share in zip(results, plan.charged, plan.shares, strict=True):
            result["fit_time"] += share - waited
        return results
