"""How often 95 % intervals of reliability hold the known figure, with and without knowing the systems of clips.

    python examples/benchmarks/coverage_of_reliability.py [--tests 400]

Systems differ by a standard deviation of 0.7, clips of a system by 0.6, five ratings of a clip by 0.8; figures are those of ratings
of other systems by the same kind of panel. The table in docs/raters.md is this script's.
"""

import argparse

import numpy as np
import pandas as pd

from musiceval_sk import intraclass_correlation, krippendorff_alpha, split_half

SYSTEMS, CLIPS, RATINGS, RATERS = 0.7, 0.6, 0.8, 5
DESIGNS = [(12, 10), (20, 10), (20, 30), (31, 20)]


def made_ratings(n_systems, n_clips, seed):
    rng = np.random.default_rng([5, n_systems, n_clips, seed])
    truth = np.repeat(rng.normal(0, SYSTEMS, n_systems), n_clips) + rng.normal(0, CLIPS, n_systems * n_clips)
    scores = 3 + truth[:, None] + rng.normal(0, RATINGS, (len(truth), RATERS))
    clips = np.repeat([f"c{i}" for i in range(len(truth))], RATERS)
    return pd.DataFrame({"clip_id": clips, "impression": scores.ravel()})


def figures(table):
    options = {"n_bootstrap": 400}
    return [
        krippendorff_alpha(table, **options),
        intraclass_correlation(table, **options),
        intraclass_correlation(table, k=RATERS, **options),
        split_half(table, n_splits=10, **options).panel,
    ]


def coverage(n_systems, n_clips, tests):
    signal = SYSTEMS**2 + CLIPS**2
    one = signal / (signal + RATINGS**2)
    panel = RATERS * one / (1 + (RATERS - 1) * one)
    systems = np.repeat([f"s{i}" for i in range(n_systems)], n_clips * RATERS)
    held = np.zeros((2, 4))
    for seed in range(tests):
        table = made_ratings(n_systems, n_clips, seed)
        for row, known in enumerate((table, table.assign(system=systems))):
            held[row] += [
                figure.low <= true <= figure.high
                for figure, true in zip(figures(known), (one, one, panel, panel), strict=True)
            ]
    return 100 * held / tests


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tests", type=int, default=400)
    tests = parser.parse_args().tests
    print("systems x clips, intervals over: alpha, ICC(1,1), ICC(1,5), U_LCC of another panel")
    for design in DESIGNS:
        for unit, shares in zip(("clips", "systems"), coverage(*design, tests), strict=True):
            print("{} x {}".format(*design), f"{unit:8}", *(f"{share:.1f}" for share in shares), flush=True)
