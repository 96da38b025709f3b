"""How often a learning curve says that more data raised a score: where nothing can be learned, and where much can.

    python examples/benchmarks/steps_of_learning_curves.py [noise | learnable] [REPEATS]

Ten clips a system, five folds by system, parts of the training clips and of the training systems. "noise": ridge on 20 columns of pure
noise; nothing is gained, so an honest 95 % interval of a step lies above 0 in 2.5 % of tests and below in as many.
"learnable": scores are a linear function of 100 columns and noise of 0.4, so that every doubling of clips helps.
"""

import sys

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from musiceval_sk import score_learning_curve

SIZES = [0.25, 0.5, 1.0]


def listening_test(kind: str, n_systems: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scores of ten clips a system, systems differing by a standard deviation of 0.7 and clips by 0.5, and features."""
    if kind == "noise":
        score = np.repeat(rng.normal(3, 0.7, n_systems), 10) + rng.normal(0, 0.5, 10 * n_systems)
        return score, rng.normal(size=(len(score), 20))
    weights = rng.normal(size=100)
    X = np.repeat(rng.normal(0, 0.7, (n_systems, 100)), 10, axis=0) + rng.normal(
        0, 0.5, (10 * n_systems, 100)
    )
    return 3 + X @ weights / np.linalg.norm(weights) + rng.normal(0, 0.4, len(X)), X


def one(kind: str, n_systems: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    score, X = listening_test(kind, n_systems, np.random.default_rng(seed))
    systems = np.repeat([f"S{i:02d}" for i in range(n_systems)], 10)
    index = [f"clip{i}" for i in range(len(systems))]
    clips = pd.DataFrame({"path": "", "system": systems, "impression": score}, index=index)
    options = {"grows": ["clips", "systems"], "sizes": SIZES, "n_resamples": 500, "progress": False}
    models = {"ridge": Ridge(100.0 if kind == "noise" else 10.0)}
    curve = score_learning_curve(clips, pd.DataFrame(X, index=index), models, random_state=seed, **options)
    return curve.table, curve.steps


def main(kind: str = "noise", repeats: str = "40") -> None:
    for n_systems in (12, 31):
        tables, steps = zip(*(one(kind, n_systems, seed) for seed in range(int(repeats))), strict=True)
        table, steps = pd.concat(tables), pd.concat(steps)
        keys = ["kind", "metric", "grows"]
        means = table.groupby([*keys, "size"])["score"].mean()
        steps["raised"], steps["lowered"] = steps["low"] > 0, steps["high"] < 0
        steps["width"] = steps["high"] - steps["low"]
        by_step = steps.groupby([*keys, "size_from", "size_to"])
        told = by_step[["gain", "raised", "lowered", "width"]].mean().assign(sd=by_step["gain"].std())
        print(
            f"\n{kind}, {n_systems} systems, {repeats} repeats: mean score by size\n{means.round(3).to_string()}"
        )
        print(f"\ngain, share of intervals above and below 0, width; sd of gain\n{told.round(3).to_string()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
