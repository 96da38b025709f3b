"""Sixteen numbers with their distribution against the obvious loop over scipy's calls.

    python examples/benchmarks/bench_bootstrap.py

2,748 clips of 31 systems, two targets with scores in steps of 0.2, eight metrics each, systems drawn. The loop goes
over fewer resamples, whose indices it is given, and its time is scaled to all.

Measured: see docs/statistics.md.
"""

import argparse
import time

import numpy as np
from scipy import stats

from musiceval_sk import METRICS, bootstrap_metrics
from musiceval_sk.statistics.resampling import ClipMetrics, Resampling


def data(rng, n=2748, n_systems=31):
    systems = rng.integers(0, n_systems, n)
    merit = rng.normal(3, 0.7, (n_systems, 2))[systems]
    truth = np.round(np.clip(merit + rng.normal(0, 0.6, (n, 2)), 1, 5) * 5) / 5
    error = rng.normal(0, 0.4, (n_systems, 2))[systems] + rng.normal(0, 0.5, (n, 2))
    return systems, truth, truth + error


def four(truth, prediction):
    return [
        np.mean((truth - prediction) ** 2),
        stats.pearsonr(truth, prediction).statistic,
        stats.spearmanr(truth, prediction).statistic,
        stats.kendalltau(truth, prediction).statistic,
    ]


def loop(truth, prediction, draws):
    """One resample after another; draws hold clips system by system, so means are slices."""
    ends = np.cumsum(draws.sizes.sum(axis=1))
    scores = []
    for clips, sizes in zip(np.split(draws.clips, ends[:-1]), draws.sizes, strict=True):
        starts = np.cumsum(sizes) - sizes
        row = []
        for target in range(truth.shape[1]):
            x, y = truth[clips, target], prediction[clips, target]
            means = [np.round(np.add.reduceat(values, starts) / sizes, 11) for values in (x, y)]
            row.append(four(x, y) + four(*means))
        scores.append(row)
    return np.array(scores)


def best(call, repeats):
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - begin)
    return min(times), result


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--resamples", type=int, default=10_000)
    options.add_argument("--looped", type=int, default=300)
    options.add_argument("--repeats", type=int, default=3)
    options = options.parse_args()
    rng = np.random.default_rng(0)
    systems, truth, prediction = data(rng)
    resampling = Resampling(systems, "systems")
    draws = resampling.draw_clips(resampling.draw_systems(options.looped, rng), rng)
    pairs = list(zip(truth.T, prediction.T, strict=True))
    ours = ClipMetrics(pairs, resampling, list(METRICS)).score(draws)
    looped, theirs = best(lambda: loop(truth, prediction, draws), options.repeats)
    looped *= options.resamples / options.looped
    print(f"largest difference from the loop: {np.abs(ours - theirs).max():.1e}")
    print(f"loop: {looped:.1f} s for {options.resamples} resamples, scaled from {options.looped}")
    for n_jobs in (1, 2):
        seconds, _ = best(
            lambda n_jobs=n_jobs: bootstrap_metrics(
                truth,
                prediction,
                systems=systems,
                n_resamples=options.resamples,
                random_state=0,
                n_jobs=n_jobs,
            ),
            options.repeats,
        )
        print(f"bootstrap_metrics, {n_jobs} thread(s): {seconds:.2f} s, {looped / seconds:.1f} times faster")


if __name__ == "__main__":
    main()
