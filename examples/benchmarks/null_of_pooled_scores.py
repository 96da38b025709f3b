"""What a predictor that uses no audio scores when folds hold out whole systems: below 0, not at 0.

    python examples/benchmarks/null_of_pooled_scores.py

Ridge on pure noise, ten clips a system, systems that differ by a standard deviation of 0.7 and clips within them by 0.5, five
folds by system. The mean of the training scores is low where the held-out systems are good, so pooled correlations lean below 0.

Measured over 60 repeats, mean (standard deviation):

 systems    pooled S_SRCC     pooled U_LCC   U_LCC, mean of folds
       5     -0.89 (0.13)     -0.54 (0.16)           +0.03 (0.18)
      12     -0.36 (0.26)     -0.18 (0.16)           +0.05 (0.12)
      31     -0.22 (0.20)     -0.10 (0.09)           +0.01 (0.07)
"""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from musiceval_sk import run_study


def main(repeats=60):
    print(f"{'systems':>8s} {'pooled S_SRCC':>16s} {'pooled U_LCC':>16s} {'U_LCC, mean of folds':>22s}")
    for n_systems in (5, 12, 31):
        rows = []
        for seed in range(repeats):
            rng = np.random.default_rng(seed)
            systems = np.repeat([f"S{i}" for i in range(n_systems)], 10)
            index = [f"clip{i}" for i in range(len(systems))]
            score = np.repeat(rng.normal(3, 0.7, n_systems), 10) + rng.normal(0, 0.5, len(systems))
            clips = pd.DataFrame({"path": "", "system": systems, "impression": score}, index=index)
            noise = pd.DataFrame(rng.normal(size=(len(systems), 20)), index=index)
            study = run_study(clips, noise, {"ridge": Ridge(100.0)}, "system", random_state=seed)
            pooled, folds = (
                study.table("impression", kind).loc["ridge"] for kind in ("pooled", "mean of folds")
            )
            rows.append((pooled["S_SRCC"], pooled["U_LCC"], folds["U_LCC"]))
        means, spreads = np.mean(rows, axis=0), np.std(rows, axis=0)
        cells = [f"{mean:+.2f} ({spread:.2f})" for mean, spread in zip(means, spreads, strict=True)]
        print(f"{n_systems:8d} {cells[0]:>16s} {cells[1]:>16s} {cells[2]:>22s}")


if __name__ == "__main__":
    main()
