"""Training jobs: what one regressor asks of the engine, and who else may answer.

Training is a pure function of a job. So a fit can be rehearsed up to the point where it asks for training, jobs of many
fits can be trained as one batch, and each fit gets its own part when it comes to ask. That is all that a fused search
adds to scikit-learn's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch

from musiceval_sk._progress import progress
from musiceval_sk.estimators.engine.task import Job, Trained
from musiceval_sk.estimators.engine.train import train

_ANSWER: ContextVar[Callable[[Job], list[Trained] | None] | None] = ContextVar("answer", default=None)


def train_job(job: Job, on_epoch: Callable[[int, float], None]) -> list[Trained]:
    """Train a job, or take the answer of who answers here, in the order of its tasks."""
    answer = _ANSWER.get()
    trained = None if answer is None else answer(job)
    return run_job(job, on_epoch) if trained is None else trained


def run_job(job: Job, on_epoch: Callable[[int, float], None]) -> list[Trained]:
    """Train a job here and now."""
    device, dtype = torch.device(job.device), getattr(torch, job.dtype)
    inputs = torch.from_numpy(np.ascontiguousarray(job.inputs)).to(device, dtype)
    return train(inputs, torch.from_numpy(job.targets).to(device, dtype), job.tasks, job.schedule, on_epoch)


def run_told(job: Job, run: Callable[..., list[Trained]], title: str, verbose: bool) -> list[Trained]:
    """Train a job by one of the two, and tell how far that is where it is asked for."""
    with progress(job.schedule.max_iter, title, "epoch", verbose) as shown:

        def on_epoch(epoch: int, loss: float) -> None:
            shown.set_postfix_str(f"loss {loss:.4f}", refresh=False)
            shown.update()

        return run(job, on_epoch)


@contextmanager
def answered_by(answer: Callable[[Job], list[Trained] | None]) -> Iterator[None]:
    """Let ``answer`` answer `train_job` within the block; where it returns None the job is trained."""
    token = _ANSWER.set(answer)
    try:
        yield
    finally:
        _ANSWER.reset(token)


class _Rehearsed(Exception):
    """Ends a fit at the point where it asks for training."""


def rehearse(fit: Callable[[], Any]) -> Job | None:
    """Call a fit up to the point where it asks for training, and return what it asks for; None if it never does."""
    asked: list[Job] = []

    def stop(job: Job) -> None:
        asked.append(job)
        raise _Rehearsed

    with answered_by(stop):
        try:
            fit()
        except _Rehearsed:
            return asked[0]
    return None


def same_job(first: Job, second: Job) -> bool:
    """Tell whether two jobs ask for the same training."""
    if (first.schedule, first.device, first.dtype) != (second.schedule, second.device, second.dtype):
        return False
    if len(first.tasks) != len(second.tasks):
        return False
    tasks = zip(first.tasks, second.tasks, strict=True)
    values = [
        pair for one, other in tasks for pair in zip(vars(one).values(), vars(other).values(), strict=True)
    ]
    return same_table(first, second) and all(
        one is other or np.array_equal(one, other) for one, other in values
    )


def same_table(first: Job, second: Job) -> bool:
    """Tell whether two jobs have equal data."""
    pairs = [(first.targets, second.targets), (first.inputs, second.inputs)]
    return all(one is other or np.array_equal(one, other) for one, other in pairs)
