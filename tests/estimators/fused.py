"""What the tests of the fused searches share."""

import numpy as np

from musiceval_sk import MOSRegressor
from musiceval_sk.estimators.engine import jobs

# Scores of the two searches may differ by no more than this.
CLOSE = 1e-4


def small(**options):
    return MOSRegressor.from_protocol(
        "paper", **{"hidden_layer_sizes": (8, 4), "max_iter": 20, "random_state": 3} | options
    )


def same_scores(fused, plain, close=CLOSE):
    """The results of two searches agree in names, parameters and scores, and in ranks where scores tell them apart."""
    assert set(fused.cv_results_) == set(plain.cv_results_)
    assert fused.cv_results_["params"] == plain.cv_results_["params"]
    for name, values in plain.cv_results_.items():
        if "score" not in name or "time" in name:
            continue
        if not name.startswith("rank"):
            np.testing.assert_allclose(fused.cv_results_[name], values, rtol=0, atol=close, err_msg=name)
            continue
        means = plain.cv_results_[name.replace("rank", "mean")]
        for i, j in zip(*np.where(means[:, np.newaxis] > means + 2 * close), strict=True):
            assert fused.cv_results_[name][i] < fused.cv_results_[name][j], name


def spy_on_batches(monkeypatch):
    """Record for every call of the engine the number of rows and of tasks."""
    seen = []
    train = jobs.train

    def spy(inputs, targets, tasks, *rest):
        seen.append((len(inputs), len(tasks)))
        return train(inputs, targets, tasks, *rest)

    monkeypatch.setattr(jobs, "train", spy)
    return seen
