"""How often 95 % intervals hold the figure that they are about, in simulated listening tests.

    python examples/benchmarks/coverage_of_intervals.py
    python examples/benchmarks/coverage_of_intervals.py --against 0.4    # differences between two predictors

Systems differ by a standard deviation of 0.7 in truth, clips within them by 0.6; truth is rounded to steps of 0.2, as means of
five raters are. The predictor errs by 0.4 a system (``--system-error``) and 0.5 a clip, all normal; a second predictor
(``--against``) by as much as it is given. The figure to hold is that of 100,000 such systems with as many clips each.

Measured: see docs/statistics.md.
"""

import argparse
import warnings

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import stats

from musiceval_sk import METRICS, bootstrap_metrics, compare_predictors, evaluate

# Name in the table: the method.
WAYS = {"default": "auto", "systems, percentile": "percentile"}


def listening_test(n_systems, n_clips, rng, errors):
    """Systems, truth, and what predictors with these errors a system say."""
    systems = np.repeat(np.arange(n_systems), n_clips)
    clip = np.repeat(rng.normal(3, 0.7, n_systems), n_clips) + rng.normal(0, 0.6, len(systems))
    said = [
        clip + np.repeat(rng.normal(0, error, n_systems), n_clips) + rng.normal(0, 0.5, len(systems))
        for error in errors
    ]
    return systems, np.round(clip * 5) / 5, said


def of_all_systems(n_clips, errors):
    """Figures of 100,000 systems; of two predictors the difference."""
    systems, truth, said = listening_test(100_000, n_clips, np.random.default_rng(1), errors)
    some = np.random.default_rng(2).choice(len(truth), 200_000, replace=False)
    figures = []
    for prediction in said:
        means = [pd.Series(values).groupby(systems).mean() for values in (truth, prediction)]
        of_clips, of_systems = evaluate(truth[some], prediction[some]), evaluate(*means)
        figures.append(np.concatenate([of_clips[:4], of_systems[:4]]))
    if len(said) == 1:
        return figures[0]
    return (figures[0] - figures[1]) * (errors[0] != errors[1])


def one(n_systems, n_clips, seed, errors, options):
    """Intervals of one test, in each way."""
    rng = np.random.default_rng([2, n_systems, n_clips, seed])
    systems, truth, said = listening_test(n_systems, n_clips, rng, errors)
    common = {"systems": systems, "n_resamples": options.resamples, "random_state": seed}
    if len(said) == 2:
        pair = dict(zip("ab", said, strict=True))
        return {
            way: compare_predictors(truth, pair, metrics=list(METRICS), method=method, **common)
            for way, method in WAYS.items()
            if way in options.ways
        }
    found = bootstrap_metrics(truth, *said, **common)
    return {way: found.to_frame(method=WAYS[way]) for way in options.ways}


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--tests", type=int, default=400)
    options.add_argument("--resamples", type=int, default=1000)
    options.add_argument("--system-error", type=float, default=0.4)
    options.add_argument("--against", type=float)
    options.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    options.add_argument("--systems", type=int, nargs="*", default=[12, 31])
    options.add_argument("--clips", type=int, nargs="*", default=[5, 13, 20, 88])
    options.add_argument("--jobs", type=int, default=2)
    options = options.parse_args()
    warnings.simplefilter("ignore", stats.ConstantInputWarning)
    errors = [options.system_error] + ([] if options.against is None else [options.against])
    print(f"| systems x clips | interval | {' | '.join(METRICS)} |\n|---|---|{'---|' * len(METRICS)}")
    for n_systems in options.systems:
        for n_clips in options.clips:
            figures = of_all_systems(n_clips, errors)
            tests = Parallel(n_jobs=options.jobs)(
                delayed(one)(n_systems, n_clips, seed, errors, options) for seed in range(options.tests)
            )
            for way in tests[0]:
                low, high = (np.stack([test[way][end] for test in tests]) for end in ("low", "high"))
                held = 100 * np.mean((low <= figures) & (figures <= high), axis=0)
                width = np.mean(high - low, axis=0)
                cells = [
                    f"{share:.1f} ({size:.3f})" if np.isfinite(size) else "-"
                    for share, size in zip(held, width, strict=True)
                ]
                print(f"| {n_systems} x {n_clips} | {way} | {' | '.join(cells)} |", flush=True)
    print(f"standard error of a share near 95 %: {100 * np.sqrt(0.05 * 0.95 / options.tests):.1f}")


if __name__ == "__main__":
    main()
