"""From how many rated clips on does recalibration pay?

Simulated labs: a model's predictions of clips by systems, each with an error of its own (standard deviation 0.35) and clips with another
(0.6), on a scale from 1 to 5; the lab's level and slope differ from the model's by normal deviations. Some clips are rated, five of each
system, and 900 clips of 90 other systems of that lab are predicted. Mean squared errors over 150 labs (--labs): the model as it was, its
mean brought to that of the ratings, a least-squares line, and `recalibrate`'s; and the share of labs in which the latter beats the model as it
was. With --judged 30, also how often cross-validation says so by its interval, in the first 30 labs of each row.

lab (sd of level, slope) clips  as it was      level least squares recalibrated  better in
the same (0, 0)             10      0.483      0.582      0.835      0.556        2%
the same (0, 0)             25      0.480      0.523      0.576      0.535        1%
the same (0, 0)             50      0.485      0.506      0.527      0.516        7%
the same (0, 0)            100      0.483      0.493      0.502      0.499       13%
the same (0, 0)            250      0.485      0.489      0.492      0.492       22%
alike (0.25, 0.15)          10      0.562      0.611      0.827      0.585       47%
alike (0.25, 0.15)          25      0.557      0.530      0.576      0.538       56%
alike (0.25, 0.15)          50      0.558      0.513      0.528      0.516       68%
alike (0.25, 0.15)         100      0.559      0.504      0.502      0.499       75%
alike (0.25, 0.15)         250      0.565      0.500      0.492      0.492       85%
other (0.5, 0.3)            10      0.730      0.624      0.769      0.592       69%
other (0.5, 0.3)            25      0.795      0.561      0.570      0.538       83%
other (0.5, 0.3)            50      0.763      0.551      0.524      0.515       89%
other (0.5, 0.3)           100      0.768      0.537      0.500      0.498       93%
other (0.5, 0.3)           250      0.759      0.527      0.491      0.491       92%
far (1, 0.5)                10      1.349      0.712      0.862      0.678       90%
far (1, 0.5)                25      1.710      0.659      0.577      0.572       91%
far (1, 0.5)                50      1.423      0.616      0.525      0.527       92%
far (1, 0.5)               100      1.538      0.601      0.503      0.502       99%
far (1, 0.5)               250      1.559      0.602      0.489      0.489       99%
"""

import argparse

import numpy as np
import pandas as pd

from musiceval_sk.scoring.recalibration import RatedTarget
from musiceval_sk.statistics.shrinkage import shrunken_line

LABS = {
    "the same (0, 0)": (0, 0),
    "alike (0.25, 0.15)": (0.25, 0.15),
    "other (0.5, 0.3)": (0.5, 0.3),
    "far (1, 0.5)": (1, 0.5),
}
CLIPS = (10, 25, 50, 100, 250)


def ratings_of(rng, n_clips, n_systems, level, slope):
    """Predictions, scores and systems of a lab's clips."""
    systems = np.arange(n_clips) % n_systems
    quality, errors = rng.normal(3, 0.6, n_systems), rng.normal(0, 0.35, n_systems)
    predicted = quality[systems] + rng.normal(0, 0.3, n_clips)
    return (
        predicted,
        3 + level + slope * (predicted - 3) + errors[systems] + rng.normal(0, 0.6, n_clips),
        systems,
    )


def one_lab(rng, n_clips, level, slope, is_judged):
    """Squared errors of four ways on other systems, and the verdict."""
    x, y, systems = ratings_of(rng, n_clips, max(1, n_clips // 5), level, slope)
    line = shrunken_line(x, y, systems, width=4.0)
    new, truth, _ = ratings_of(rng, 900, 90, level, slope)
    ways = (new, new + np.mean(y - x), np.polyval(np.polyfit(x, y, 1), new), line(new))
    verdict = None
    if is_judged:
        named = pd.Series(systems.astype(str))
        verdict = RatedTarget(pd.Series(x), pd.Series(y), named, (1, 5)).row()["verdict"]
    return [np.mean((way - truth) ** 2) for way in ways], verdict


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labs", type=int, default=150)
    parser.add_argument("--judged", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    for name, (level_sd, slope_sd) in LABS.items():
        for n_clips in CLIPS:
            errors, verdicts = [], []
            for i in range(options.labs):
                level, slope = rng.normal(0, level_sd), abs(rng.normal(1, slope_sd))
                found, verdict = one_lab(rng, n_clips, level, slope, i < options.judged)
                errors.append(found)
                verdicts += [verdict] if verdict else []
            errors = np.array(errors)
            figures = " ".join(f"{error:10.3f}" for error in errors.mean(axis=0))
            better = np.mean(errors[:, 3] < errors[:, 0])
            said = pd.Series(verdicts, dtype=object).value_counts(normalize=True).round(2).to_dict()
            print(f"{name:24} {n_clips:5} {figures} {better:9.0%} {said or ''}", flush=True)


if __name__ == "__main__":
    main()
