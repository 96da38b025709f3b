"""How many systems and clips it takes to tell two predictors apart."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import require_known
from musiceval_sk.statistics.align import match_scores, require_confidence, require_whole
from musiceval_sk.statistics.comparison import swap_test
from musiceval_sk.statistics.metrics import METRICS
from musiceval_sk.statistics.resampling import generators, one_thread

_BY_SYSTEM = [name for name, metric in METRICS.items() if metric.by_system]


def power_of_comparison(
    y_true: Any,
    prediction_a: Any,
    prediction_b: Any,
    *,
    systems: Any,
    n_systems: int | Sequence[int] = (10, 20, 40, 80),
    n_clips: int | Sequence[int] = (10, 50),
    metric: str = "S_SRCC",
    alpha: float = 0.05,
    n_tests: int = 200,
    n_swaps: int = 199,
    random_state: Any = None,
) -> pd.DataFrame:
    """Simulate listening tests of several sizes and count in how many the predictors are told apart.

    Parameters
    ----------
    y_true : array-like [shape=(n,)]
        True mean opinion scores of a pilot test.
    prediction_a, prediction_b : array-like [shape=(n,)]
        Both predictors' predictions.
    systems : array-like [shape=(n,)] or pandas.Series
        The system of each clip, as for `evaluate`; at least four, some of them with two clips or more.
    n_systems : int or sequence of int, default=(10, 20, 40, 80)
        Numbers of systems to try; fewer than 6 can never differ at a level of 5 %, for they have too few swaps.
    n_clips : int or sequence of int, default=(10, 50)
        Numbers of clips a system to try.
    metric : {"S_MSE", "S_LCC", "S_SRCC", "S_KTAU"}, default="S_SRCC"
        The metric whose difference is tested, as by `compare_predictors`: by swapping predictors.
    alpha : float in (0, 1), default=0.05
        Level of the test.
    n_tests : int, default=200
        Simulated listening tests of each size.
    n_swaps : int, default=199
        Swaps of each test.
    random_state : int, RandomState, Generator or None, default=None
        Seed.

    Returns
    -------
    pandas.DataFrame
        One row a size: ``n_systems, n_clips, power`` (share of tests that tell them apart), its ``standard_error``, and
        ``difference``, the mean of metric a minus metric b.

    Raises
    ------
    ValueError
        If the metric does not compare systems, an option is no such number, a size is too small, truth or a prediction is constant, or the pilot is too
        small to know the variance between and within systems.

    Notes
    -----
    From the pilot, the covariance of truth and both predictions is estimated between systems and within them (by moments: the
    covariance of system means, less what clips contribute to it; negative variances become 0). Tests are drawn from normal
    distributions with these. So the answer is about predictors whose merit differs as the pilot's does, which is itself uncertain:
    see the interval of `compare_predictors`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> systems = np.repeat(np.arange(12), 8)
    >>> truth = rng.normal(size=12)[systems] + rng.normal(size=96)
    >>> good, poor = truth + 0.3 * rng.normal(size=96), truth + 2 * rng.normal(size=12)[systems]
    >>> table = power_of_comparison(truth, good, poor, systems=systems, n_systems=[6, 24], n_clips=[8], random_state=0)
    >>> bool(table["power"][0] < table["power"][1])
    True
    """
    require_known("metric", metric, _BY_SYSTEM)
    require_confidence(alpha, "alpha", 0.05)
    require_whole(n_tests=n_tests, n_swaps=n_swaps)
    # So many systems have 2 ** (systems - 1) different swaps, and no p-value is less than one of them.
    fewest_systems = 1 + int(np.ceil(np.log2(1 / alpha)))
    tried = [
        _at_least(fewest, name, given)
        for name, given, fewest in (("n_systems", n_systems, fewest_systems), ("n_clips", n_clips, 1))
    ]
    given = {"prediction_a": prediction_a, "prediction_b": prediction_b}
    scores = match_scores(y_true, given, systems=systems)
    if scores.systems is None:
        raise ValueError(f"{metric} compares systems: give the system of each clip as systems=")
    if len(scores.targets) > 1:
        raise ValueError(f"y_true must hold one target; it has shape {np.shape(y_true)}")
    pilot = pd.DataFrame(np.concatenate([scores.truth, *scores.predictions]).T, columns=["y_true", *given])
    centre, between, within = _components(pilot, scores.systems)
    for name in pilot:
        if np.ptp(pilot[name]) == 0:
            raise ValueError(f"{name} is constant: it ranks nothing, so there is no difference to find")
    sizes = list(product(*tried))
    rows = []
    for (n, n_of_each), rng in zip(sizes, generators(random_state, len(sizes)), strict=True):
        spread = between + within / n_of_each
        tests = []
        with one_thread():
            for _ in range(n_tests):
                test = pd.DataFrame(rng.multivariate_normal(centre, spread, size=n, method="eigh"))
                tests.append(swap_test(metric[2:], [test], n_swaps, rng))
        power = np.mean([test.p_value <= alpha for test in tests])
        row = {"n_systems": n, "n_clips": n_of_each, "power": power}
        row["standard_error"] = np.sqrt(power * (1 - power) / n_tests)
        rows.append(row | {"difference": np.mean([test.statistic for test in tests])})
    return pd.DataFrame(rows)


def _at_least(fewest: int, name: str, given: int | Sequence[int]) -> list[int]:
    sizes = np.atleast_1d(given).tolist()
    if not sizes:
        raise ValueError(f"{name} is empty; give at least one size")
    for size in sizes:
        require_whole(fewest, **{name: size})
    return sizes


def _components(scores: pd.DataFrame, systems: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, and covariance between and within systems, of truth and both predictions."""
    by_system = scores.groupby(systems)
    means, counts = by_system.mean(), by_system.size()
    freedom = len(scores) - len(means)
    if len(means) < 4 or freedom < 1:
        raise ValueError(
            f"the pilot has {len(scores)} clips of {len(means)} systems; at least four systems are needed, some of them with "
            "two clips or more"
        )
    residuals = (scores - by_system.transform("mean")).to_numpy()
    within = residuals.T @ residuals / freedom
    between = np.cov(means.to_numpy().T) - within * np.mean(1 / counts)
    values, vectors = np.linalg.eigh(between)
    return means.mean().to_numpy(), (vectors * np.maximum(values, 0)) @ vectors.T, within
