"""Training jobs: what one regressor asks of the engine, and who else may answer.

Training is a pure function of a job. So a fit can be rehearsed up to the point where it asks for training, jobs of many
fits can be trained as one batch, and each fit gets its own part when it comes to ask. That is all that a fused search
adds to scikit-learn's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from musiceval_sk.estimators.engine.train import Schedule, Task, Trained, train

OnEpoch = Callable[[int, float], None]


@dataclass(frozen=True)
class Job:
    """Perceptrons to train on one table.

    Attributes
    ----------
    inputs, targets : np.ndarray [shape=(n, d)], [shape=(n, n_targets)]
        The data; a task names its column of the targets and its rows.
    tasks : list of Task
        One a perceptron.
    schedule : Schedule
        What they share.
    device, dtype : str
        Where and in which precision to train.
    """

    inputs: np.ndarray
    targets: np.ndarray
    tasks: list[Task]
    schedule: Schedule
    device: str
    dtype: str


_ANSWER: ContextVar[Callable[[Job], list[Trained] | None] | None] = ContextVar("answer", default=None)


def train_job(job: Job, on_epoch: OnEpoch) -> list[Trained]:
    """Train a job, or take the answer of who answers here, in the order of its tasks."""
    answer = _ANSWER.get()
    trained = None if answer is None else answer(job)
    return run_job(job, on_epoch) if trained is None else trained


def run_job(job: Job, on_epoch: OnEpoch) -> list[Trained]:
    """Train a job here and now."""
    import torch

    device, dtype = torch.device(job.device), getattr(torch, job.dtype)
    inputs = torch.from_numpy(np.ascontiguousarray(job.inputs)).to(device, dtype)
    return train(inputs, torch.from_numpy(job.targets).to(device, dtype), job.tasks, job.schedule, on_epoch)


@contextmanager
def answered_by(answer: Callable[[Job], list[Trained] | None]) -> Iterator[None]:
    """Let ``answer`` answer `train_job` within the block; where it returns None the job is trained."""
    token = _ANSWER.set(answer)
    try:
        yield
    finally:
        _ANSWER.reset(token)


class _Rehearsed(BaseException):
    """Ends a fit at the point where it asks for training; no error, so `except Exception` lets it pass."""

    def __init__(self, job: Job):
        super().__init__()
        self.job = job


def rehearse(fit: Callable[[], Any]) -> Job | None:
    """Call a fit up to the point where it asks for training, and return what it asks for; None if it never does."""

    def stop(job: Job) -> None:
        raise _Rehearsed(job)

    with answered_by(stop):
        try:
            fit()
        except _Rehearsed as rehearsed:
            return rehearsed.job
    return None
