"""How often a learning curve says that more data raised a score, where nothing can be learned at all.

    python examples/benchmarks/null_of_learning_curves.py [REPEATS]

Ridge on pure noise, ten clips a system, five folds by system, parts of the training clips and of the training systems. Nothing is
gained, so an honest 95 % interval of a step lies above 0 in 2.5 % of tests and below in as many.
"""

import sys

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from musiceval_sk import score_learning_curve

SIZES = [0.25, 0.5, 1.0]


def one(n_systems: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    systems = np.repeat([f"S{i:02d}" for i in range(n_systems)], 10)
    index = [f"clip{i}" for i in range(len(systems))]
    score = np.repeat(rng.normal(3, 0.7, n_systems), 10) + rng.normal(0, 0.5, len(systems))
    clips = pd.DataFrame({"path": "", "system": systems, "impression": score}, index=index)
    noise = pd.DataFrame(rng.normal(size=(len(systems), 20)), index=index)
    options = {"grows": ["clips", "systems"], "sizes": SIZES, "n_resamples": 500, "progress": False}
    curve = score_learning_curve(clips, noise, {"ridge": Ridge(100.0)}, random_state=seed, **options)
    return curve.table.assign(seed=seed), curve.steps.assign(seed=seed)


def main(repeats: int = 40) -> None:
    for n_systems in (12, 31):
        tables, steps = zip(*(one(n_systems, seed) for seed in range(repeats)), strict=True)
        table, steps = pd.concat(tables), pd.concat(steps)
        keys = ["kind", "metric", "grows"]
        means = table.groupby([*keys, "size"])["score"].mean().unstack(keys)
        steps["raised"], steps["lowered"] = steps["low"] > 0, steps["high"] < 0
        told = steps.groupby([*keys, "size_to"])[["gain", "raised", "lowered"]].mean()
        print(f"\n{n_systems} systems, {repeats} repeats: mean score by size\n{means.round(3).to_string()}")
        print(f"\nsteps: mean gain, and share of intervals above and below 0\n{told.round(3).to_string()}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
