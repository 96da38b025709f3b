"""How often do the intervals of `predict` hold what raters say of systems that the model has never heard?

    python examples/benchmarks/coverage_of_predictions.py [--repeats 20]

A simulated listening test (31 systems, 12 prompts, 1 s a clip, encoder 'spectral'). In each repeat 16 systems train a model
and its assessment, and the raters' mean of each of the other 15 is looked for in its interval of 95 %. The repeats share
clips, so that they are no independent trials.
"""

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2]))

from musiceval_sk import ClipEmbedder, MOSRegressor, aggregate_ratings, assess_error, make_listening_test
from musiceval_sk.estimators.lookup import scaled
from musiceval_sk.scoring.result import summarise
from musiceval_sk.studies.cell import group_parameters

TARGETS = ["impression", "alignment"]


def covered(truth, systems, target, kind):
    low, high = systems[f"{target}_{kind}_low"], systems[f"{target}_{kind}_high"]
    return ((low <= truth[target]) & (truth[target] <= high)).mean(), (high - low).mean()


def main(repeats):
    with tempfile.TemporaryDirectory() as folder:
        test = make_listening_test(folder, n_systems=31, n_prompts=12, n_raters=12, seconds=1.0)
        X = ClipEmbedder(cache=f"{folder}/e.h5").set_output(transform="pandas").fit_transform(test.clips)
    Y, systems = aggregate_ratings(test.ratings).loc[X.index, TARGETS], test.clips["system"]
    rng, rows = np.random.default_rng(0), []
    warnings.simplefilter("ignore")
    for seed in range(repeats):
        new = systems.isin(rng.choice(systems.unique(), 15, replace=False))
        share = max(0.1, 3 / systems[~new].nunique())  # three systems at least stop the training
        model = scaled(MOSRegressor.from_protocol("paper", validation_fraction=share, random_state=seed))
        assessment = assess_error(model, X[~new], Y[~new], systems[~new])
        model.fit(X[~new], Y[~new], **group_parameters(model, systems[~new]))
        clips = pd.DataFrame(model.predict(X[new]), columns=TARGETS, index=X.index[new]).assign(
            system=systems[new]
        )
        found = summarise(clips, TARGETS, assessment=assessment).systems
        truth = Y[new].groupby(systems[new]).mean().loc[found.index]
        for target in TARGETS:
            for kind in ("raters", "sampling"):
                rows.append((target, kind, *covered(truth, found, target, kind)))
    table = pd.DataFrame(rows, columns=["target", "interval", "holds raters' mean", "width"])
    print(f"{repeats} repeats of 15 new systems")
    print(table.groupby(["target", "interval"], sort=False).mean().round(3).to_string())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=20)
    main(parser.parse_args().repeats)
