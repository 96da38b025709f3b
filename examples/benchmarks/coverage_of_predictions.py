"""How often do the intervals of `predict` hold what raters say of systems that the model has never heard?

    python examples/benchmarks/coverage_of_predictions.py [--tests 10] [--repeats 2] [--paper]

Simulated listening tests of different seeds (31 systems, 12 prompts, 1 s a clip, encoder 'spectral'). In each repeat 16 systems of
one train MOSRegressor, or with --paper the paper's heads, and its assessment, and the raters' mean of each of the other 15 is looked
for in its interval of 95 %. Repeats share the clips of their test, so that the standard error is that of the means of tests.
"""

import argparse
import sys
import tempfile
import warnings
from itertools import product
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


def made_test(seed):
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"n_systems": 31, "n_prompts": 12, "n_raters": 12, "seconds": 1.0}
        test = make_listening_test(folder, **sizes, random_state=seed)
        X = ClipEmbedder(cache=f"{folder}/e.h5").set_output(transform="pandas").fit_transform(test.clips)
    return X, aggregate_ratings(test.ratings).loc[X.index, TARGETS], test.clips["system"]


def regressor(n_systems, seed, paper):
    if not paper:
        return MOSRegressor(random_state=seed)
    share = max(0.1, 3 / n_systems)  # three systems at least stop the training
    return MOSRegressor.from_protocol("paper", validation_fraction=share, random_state=seed)


def main(tests, repeats, paper):
    warnings.simplefilter("ignore")
    rows = []
    for test, repeat in product(range(tests), range(repeats)):
        if not repeat:
            X, Y, systems = made_test(test)
        rng = np.random.default_rng([test, repeat])
        new = systems.isin(rng.choice(systems.unique(), 15, replace=False))
        model = scaled(regressor(systems[~new].nunique(), repeat, paper))
        assessment = assess_error(model, X[~new], Y[~new], systems[~new])
        model.fit(X[~new], Y[~new], **group_parameters(model, systems[~new]))
        clips = pd.DataFrame(model.predict(X[new]), columns=TARGETS, index=X.index[new]).assign(
            system=systems[new]
        )
        found = summarise(clips, TARGETS, assessment=assessment).systems
        truth = Y[new].groupby(systems[new]).mean().loc[found.index]
        for target, kind in product(TARGETS, ("raters", "sampling")):
            rows.append((target, kind, test, *covered(truth, found, target, kind)))
    table = pd.DataFrame(rows, columns=["target", "interval", "test", "holds raters' mean", "width"])
    by_test = table.groupby(["target", "interval", "test"], sort=False).mean()
    found = by_test.groupby(["target", "interval"], sort=False).agg(["mean", "sem"])
    print(f"{tests} simulated tests, {repeats} repeats of 15 new systems each")
    print(found.round(3).to_string())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tests", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--paper", action="store_true")
    main(**vars(parser.parse_args()))
