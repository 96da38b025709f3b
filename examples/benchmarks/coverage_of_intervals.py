"""How often 95 % intervals hold the figure that they are about, in simulated listening tests.

    python examples/benchmarks/coverage_of_intervals.py

A test has systems of 88 clips. Systems differ by a standard deviation of 0.7 in truth, clips within them by 0.6; truth is
rounded to steps of 0.2, as means of five raters are. The predictor errs by 0.4 a system (``--system-error``) and 0.5 a clip, all normal. The figure to hold is that of
20,000 such systems, each of 88 clips for the S metrics.

Measured: see docs/statistics.md.
"""

import argparse
import warnings

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import stats

from musiceval_sk import METRICS, bootstrap_metrics, evaluate

CLIPS = 88


def listening_test(n_systems, rng, system_error):
    systems = np.repeat(np.arange(n_systems), CLIPS)
    merit = np.repeat(rng.normal(3, 0.7, n_systems), CLIPS)
    clip = merit + rng.normal(0, 0.6, len(systems))
    error = np.repeat(rng.normal(0, system_error, n_systems), CLIPS) + rng.normal(0, 0.5, len(systems))
    return systems, np.round(clip * 5) / 5, clip + error


def of_all_systems(system_error):
    systems, truth, prediction = listening_test(20_000, np.random.default_rng(1), system_error)
    of_clips = np.arange(0, len(systems), 8)  # pairs of clips in one system are rare in either
    figures = evaluate(truth[of_clips], prediction[of_clips])
    means = [pd.Series(values).groupby(systems).mean() for values in (truth, prediction)]
    by_system = evaluate(*means)
    return np.concatenate([figures[:4], by_system[:4]])


def one(n_systems, seed, options):
    """Intervals of one test, by level and method."""
    systems, truth, prediction = listening_test(
        n_systems, np.random.default_rng([2, n_systems, seed]), options.system_error
    )
    found = {}
    for level in options.levels:
        boot = bootstrap_metrics(
            truth, prediction, systems=systems, level=level, n_resamples=options.resamples, random_state=seed
        )
        for method in ("basic", "bca", "percentile"):
            table = boot.table(method=method).set_index("metric")
            found[level, method] = table[["low", "high"]].to_numpy()
        found["formula", ""] = table[["analytic_low", "analytic_high"]].to_numpy()
    return found


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--tests", type=int, default=400)
    options.add_argument("--resamples", type=int, default=1000)
    options.add_argument("--system-error", type=float, default=0.4)
    options.add_argument("--levels", nargs="*", default=["both", "systems", "clips"])
    options.add_argument("--systems", type=int, nargs="*", default=[12, 31])
    options = options.parse_args()
    warnings.simplefilter("ignore", stats.ConstantInputWarning)
    truth = of_all_systems(options.system_error)
    print("figures of all systems:", dict(zip(METRICS, truth.round(3), strict=True)))
    for n_systems in options.systems:
        results = Parallel(n_jobs=2)(delayed(one)(n_systems, seed, options) for seed in range(options.tests))
        print(
            f"\n{n_systems} systems, {options.tests} tests of {options.resamples} resamples: % held, and mean width"
        )
        print(f"{'drawn':10s}{'method':12s}" + "".join(f"{name:>14s}" for name in METRICS))
        for key in results[0]:
            bounds = np.stack([result[key] for result in results])
            held = np.mean((bounds[:, :, 0] <= truth) & (truth <= bounds[:, :, 1]), axis=0)
            width = np.mean(bounds[:, :, 1] - bounds[:, :, 0], axis=0)
            cells = "".join(
                f"{100 * share:7.1f} {size:6.3f}" if np.isfinite(size) else f"{'-':>14s}"
                for share, size in zip(held, width, strict=True)
            )
            print(f"{key[0]:10s}{key[1]:12s}{cells}")
        worst = 100 * np.sqrt(0.05 * 0.95 / options.tests)
        print(f"standard error of a share near 95 %: {worst:.1f}", flush=True)


if __name__ == "__main__":
    main()
