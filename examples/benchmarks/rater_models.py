"""How far models of raters are from what was simulated, where panels share no clips.

    python examples/benchmarks/rater_models.py [--tests 200]

Clips differ by a standard deviation of 0.7, raters' biases by 0.6, ratings by 0.8 (raters' own spreads from 0.5 to 1.1). The table in
docs/raters.md is this script's.
"""

import argparse
import warnings

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from musiceval_sk.ratings.bias import FITS

# Panels, raters of a panel, clips of a panel, ratings of a clip.
DESIGNS = [(4, 8, 30, 8), (4, 8, 30, 4), (20, 8, 180, 8), (1, 14, 200, 5)]


def made_ratings(n_panels, n_raters, n_clips, n_ratings, rng):
    quality, bias = rng.normal(3, 0.7, n_panels * n_clips), rng.normal(0, 0.6, n_panels * n_raters)
    clips = np.repeat(np.arange(n_panels * n_clips), n_ratings)
    drawn = [rng.permutation(n_raters)[:n_ratings] for _ in range(n_panels * n_clips)]
    raters = np.concatenate(drawn) + clips // n_clips * n_raters
    spread = rng.uniform(0.5, 1.1, len(bias))
    return clips, raters, quality[clips] + bias[raters] + rng.normal(0, spread[raters]), quality, bias


def errors_of(design, method, seed):
    clips, raters, scores, quality, bias = made_ratings(*design, np.random.default_rng([7, *design, seed]))
    if method == "mean":
        located, biases = np.bincount(clips, scores) / np.bincount(clips), np.full(len(bias), np.nan)
    else:
        fit = FITS[method](clips, raters, scores, pd.Index(range(len(bias))))
        located, biases = fit.scores, fit.biases
    error = np.sqrt(np.mean((located - quality) ** 2))
    return error, spearmanr(located, quality)[0], np.corrcoef(biases, bias)[0, 1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", type=int, default=200)
    tests = parser.parse_args().tests
    warnings.simplefilter("ignore", UserWarning)
    print("panels x raters, clips, ratings a clip | method | RMSE | SRCC | correlation of biases | tests")
    for design in DESIGNS:
        n = max(1, tests // 10) if design[0] == 20 else tests
        for method in ("mean", "random_effects") if design[0] > 1 else ("mean", *FITS):
            found = np.mean([errors_of(design, method, seed) for seed in range(n)], axis=0)
            print(design, "|", method, "|", " | ".join(f"{value:.3f}" for value in found), "|", n, flush=True)


if __name__ == "__main__":
    main()
